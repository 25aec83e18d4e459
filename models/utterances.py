"""Where speech begins and ends in streamed audio, for recognisers that listen to one utterance at a
time, and which of their words can be told before it has ended.

Voice activity is found by the WebRTC detector in pocketsphinx (`Endpointer`): frames of 30 ms, of
which nine tenths of a window must be speech, or silence, for the state to change.
"""  # noqa: D205

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from pocketsphinx import Endpointer

from models.base import Samples

_FULL_SCALE = 32767.0
_WINDOW_S = 0.3
_AGREEMENTS = 3
"""Hypotheses in a row that must begin with a word, for it to be told."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a piece of audio."""

    speech: bytes
    """16 bit mono PCM of the utterance, to be added to what came before; may be empty."""
    ended: bool
    """The utterance has ended with it."""
    audio_s: float
    """Seconds of audio since the stream's beginning."""


class UtteranceDetector:
    """Cuts a stream of audio into utterances.

    Args:
        sample_rate_hz: of the audio.
        max_utterance_s: an utterance without a pause is ended after so long.
    """

    def __init__(self, sample_rate_hz: int, *, max_utterance_s: float = 30.0) -> None:
        self._endpointer = Endpointer(window=_WINDOW_S, sample_rate=sample_rate_hz)
        self._bytes_per_s = 2 * sample_rate_hz
        self._max_bytes = int(max_utterance_s * self._bytes_per_s)
        self._utterance_bytes = 0
        self._heard_bytes = 0
        self._rest = b""

    def hear(self, pieces: Iterable[Samples]) -> Iterator[Heard]:
        """Listen until the audio ends; one item for each piece at least, so that time is told."""
        for piece in pieces:
            yield from self._hear(to_pcm(piece))
        yield from self._end()

    def _hear(self, pcm: bytes) -> Iterator[Heard]:
        self._heard_bytes += len(pcm)
        data = self._rest + pcm
        frame_bytes = self._endpointer.frame_bytes
        end = len(data) - len(data) % frame_bytes
        speech = b""
        for begin in range(0, end, frame_bytes):
            part = self._endpointer.process(data[begin : begin + frame_bytes])
            if part is None:
                continue
            speech += part
            self._utterance_bytes += len(part)
            # After its end the endpointer is out of speech, though this last part belongs to it.
            if not self._endpointer.in_speech or self._utterance_bytes >= self._max_bytes:
                yield self._item(speech, ended=True)
                speech = b""
        self._rest = data[end:]
        yield self._item(speech, ended=False)

    def _end(self) -> Iterator[Heard]:
        speech = b""
        if self._endpointer.in_speech:
            # It raises for no bytes at all; one sample of silence is nothing.
            speech = self._endpointer.end_stream(self._rest or bytes(2)) or b""
        # Silence has its end, too: what was said is complete.
        yield self._item(speech, ended=True)

    def _item(self, speech: bytes, *, ended: bool) -> Heard:
        if ended:
            self._utterance_bytes = 0
        return Heard(speech, ended, self._heard_bytes / self._bytes_per_s)


class AgreedWords:
    """The words of one utterance that successive hypotheses agree on.

    What has been agreed on is never taken back, even by the last hypothesis, because it may have
    been read already (the policy of streaming Whisper, "local agreement").
    """

    def __init__(self) -> None:
        self._agreed: list[str] = []
        self._hypotheses: list[list[str]] = []

    @property
    def agreed(self) -> list[str]:
        """The words that stay."""
        return list(self._agreed)

    def update(self, words: list[str]) -> list[str]:
        """Take the next hypothesis; returns all words of it, the agreed ones first."""
        self._hypotheses = [*self._hypotheses, words][-_AGREEMENTS:]
        if len(self._hypotheses) == _AGREEMENTS:
            # The last word of a hypothesis is often half a word.
            settled = [hypothesis[:-1] for hypothesis in self._hypotheses]
            for index in range(len(self._agreed), min(map(len, settled))):
                candidates = {hypothesis[index] for hypothesis in settled}
                if len(candidates) > 1:
                    break
                self._agreed.append(settled[0][index])
        return self.finish(words)

    def finish(self, words: list[str]) -> list[str]:
        """The words of the utterance if `words` is the last hypothesis."""
        return self._agreed + words[len(self._agreed) :]


def to_pcm(samples: Samples) -> bytes:
    """16 bit little endian."""
    scaled = np.clip(samples, -1.0, 1.0) * _FULL_SCALE
    return scaled.astype("<i2").tobytes()
