"""A recogniser with known output: each 0.1 s of sound is a word, `w1 w2 w3`; silence is none.

Use it as `ModelSpec(name="asr", factory="word_recognizer:WordRecognizer", recognizes=True, ...)`.
Files that its options name make it misbehave:

    fuse    holds a number N: the file is removed and the process exits before word N is told
    gate    while it does not exist, nothing is listened to
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.base import ModelError, Samples
from models.recognition import (
    RecognitionRequest,
    RecognizerCapabilities,
    SpeechRecognizer,
    Transcript,
)

WORD_S = 0.1
_LOUD = 0.01


def sound(words: float, sample_rate_hz: int = 1000) -> Samples:
    """Audio in which so many words are heard."""
    return np.full(round(words * WORD_S * sample_rate_hz), 0.5, np.float32)


def words(count: int) -> str:
    """What is understood of `sound(count)`."""
    return " ".join(f"w{number + 1}" for number in range(count))


class WordRecognizer(SpeechRecognizer):
    """Counts sounds.

    Args:
        sample_rate_hz: what it listens at.
        slots: as in `RecognizerCapabilities`.
        parked: as in `RecognizerCapabilities`.
        word_delay_s: time that a word takes.
        fuse: see above.
        gate: see above.
        dictation: as in `RecognizerCapabilities`.
    """

    name = "words"

    def __init__(
        self,
        *,
        sample_rate_hz: int = 1000,
        slots: int = 1,
        parked: int = 8,
        word_delay_s: float = 0.0,
        fuse: str = "",
        gate: str = "",
        dictation: bool = False,
    ) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.capabilities = RecognizerCapabilities(
            slots=slots, parked=parked, languages=("en",), dictation=dictation
        )
        self._word_delay_s = word_delay_s
        self._fuse = Path(fuse) if fuse else None
        self._gate = Path(gate) if gate else None

    def recognize(
        self, request: RecognitionRequest, audio: Iterator[Samples]
    ) -> Iterator[Transcript]:
        if request.language not in {"", "en"}:
            raise ModelError("unsupported", f"no {request.language}")
        return self._listen(audio)

    def _listen(self, audio: Iterator[Samples]) -> Iterator[Transcript]:
        rate_hz = self.sample_rate_hz
        cell = round(WORD_S * rate_hz)
        heard = n_words = 0
        rest = np.zeros(0, np.float32)
        self._wait_for_gate()
        for piece in audio:
            rest = np.concatenate([rest, piece])
            while rest.size >= cell:
                loud, rest = np.abs(rest[:cell]).mean() > _LOUD, rest[cell:]
                heard += cell
                if loud:
                    n_words += 1
                    time.sleep(self._word_delay_s)
                    self._burn(n_words)
                    text = words(n_words)
                    yield Transcript(text, len(text), heard / rate_hz)
        text = words(n_words)
        yield Transcript(text, len(text), (heard + rest.size) / rate_hz)

    def _wait_for_gate(self) -> None:
        while self._gate is not None and not self._gate.exists():
            time.sleep(0.005)

    def _burn(self, n_words: int) -> None:
        if (
            self._fuse is not None
            and self._fuse.exists()
            and int(self._fuse.read_text()) == n_words
        ):
            self._fuse.unlink()
            os._exit(7)
