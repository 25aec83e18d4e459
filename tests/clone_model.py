"""A model that clones: a voice is the pitch of its recording, so every mix-up is heard.

`enroll` finds the strongest frequency of a recording and returns it as bytes; a clone speaks a sine
of that frequency, 0.1 s per character at 24 kHz. Its one preset, `tone`, speaks PRESET_HZ. With a
`journal`, the path of a file, it writes down which voices come and go.

Transcripts that begin with `!` misbehave while they are enrolled:

    !refuse     raises ModelError("failed")
    !raise      raises an exception of no special kind
    !die        the process exits
    !wait:PATH  writes PATH and waits until it is deleted
"""

from __future__ import annotations

import io
import os
import time
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.base import (
    Capabilities,
    ModelError,
    PcmChunk,
    Samples,
    SpeechModel,
    SynthesisRequest,
    Voice,
)

SAMPLE_RATE_HZ = 24_000
PRESET_HZ = 500.0
CHARACTER_S = 0.1
_MARK = b"tone "


class CloneModel(SpeechModel):
    """Speaks in sines, one per voice."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(
        self,
        *,
        name: str = "clone",
        clone_format: str = "tone",
        preset: str = "tone",
        journal: str | None = None,
    ) -> None:
        self.name = name
        self.capabilities = Capabilities(slots=2, cloning=True, clone_format=clone_format)
        self._preset = preset
        self._journal = journal
        self._pitches_hz = {preset: PRESET_HZ}

    def voices(self) -> Sequence[Voice]:
        return [Voice(name=self._preset, language="en")]

    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        if request.voice not in self._pitches_hz:
            raise ModelError("voice_unknown", f"there is no voice {request.voice!r}")
        pitch_hz = self._pitches_hz[request.voice]
        for character in range(len("".join(text))):
            time_s = character * CHARACTER_S + np.arange(2400) / SAMPLE_RATE_HZ
            yield PcmChunk((0.5 * np.sin(2 * np.pi * pitch_hz * time_s)).astype(np.float32))

    def enroll(self, samples: Samples, sample_rate_hz: int, transcript: str) -> bytes:
        command, _, path = transcript.partition(":")
        match command:
            case "!refuse":
                raise ModelError("failed", "the recording is flat")
            case "!raise":
                raise RuntimeError("the model was told to raise")
            case "!die":
                os._exit(7)
            case "!wait":
                Path(path).touch()
                while Path(path).exists():
                    time.sleep(0.01)
        return _MARK + str(round(pitch_of(samples, sample_rate_hz))).encode()

    def add_voice(self, voice: Voice, features: bytes) -> None:
        if not features.startswith(_MARK):
            raise ModelError("failed", "these features are another model's")
        self._pitches_hz[voice.name] = float(features.removeprefix(_MARK))
        self._note(f"add {voice.name}")

    def remove_voice(self, name: str) -> None:
        if name != self._preset:
            self._pitches_hz.pop(name, None)
            self._note(f"remove {name}")

    def _note(self, line: str) -> None:
        if self._journal is not None:
            with Path(self._journal).open("a") as journal:
                journal.write(f"{line}\n")


def pitch_of(samples: Samples, sample_rate_hz: int) -> float:
    """The strongest frequency, in Hz, to a tenth."""
    size = max(samples.size, 10 * sample_rate_hz)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size), size))
    return float(np.argmax(spectrum)) * sample_rate_hz / size


def syllables(
    pitch_hz: float, seconds: float, *, rate_hz: int = SAMPLE_RATE_HZ, amplitude: float = 0.5
) -> Samples:
    """A tone that comes and goes as speech does: 0.3 s of sound, 0.1 s of silence."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    swell = np.clip(np.sin(np.pi * np.clip((time_s % 0.4) / 0.3, 0, 1)) * 5, 0, 1)
    return (amplitude * swell * np.sin(2 * np.pi * pitch_hz * time_s)).astype(np.float32)


def wav_file(samples: Samples, rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """A WAV file of 16 bits per sample."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def recording(pitch_hz: float, seconds: float = 6.0) -> bytes:
    """A WAV file that is good enough for a voice of this pitch."""
    return wav_file(syllables(pitch_hz, seconds))
