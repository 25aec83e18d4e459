"""From the model's samples to samples as they are heard: rate, pitch, speed and loudness.

    model ─ soxr: to the output rate, pitch ─ atempo: speed ─ gain ─ limiter ─ container

A stage that has nothing to do is left out: at the model's own rate and with plain prosody the
samples pass untouched.
"""

from __future__ import annotations

from math import isclose, isfinite

import numpy as np
import soxr

from models.base import Samples
from server.errors import ErrorCode, SpeechError
from server.speech.limiter import Amplifier, Limiter
from server.speech.tempo import Tempo
from server.speech.types import Prosody

_EMPTY = np.empty(0, np.float32)
_LIMITS = {"speed": (0.25, 4.0), "pitch": (0.25, 4.0), "gain": (0.0, 10.0)}


def check_prosody(prosody: Prosody) -> None:
    """Refuse numbers outside the ranges that `Prosody` names.

    Raises:
        SpeechError: PARAMETER_INVALID.
    """
    for name, (least, most) in _LIMITS.items():
        value = getattr(prosody, name)
        if not (isfinite(value) and least <= value <= most):
            raise SpeechError(
                ErrorCode.PARAMETER_INVALID, f"{name} must be {least:g} to {most:g}, not {value:g}"
            )


def combined(own: Prosody, wanted: Prosody) -> Prosody:
    """A task's own prosody, and what a sentence asks for on top of it."""
    return Prosody(
        speed=own.speed * wanted.speed,
        pitch=own.pitch * wanted.pitch,
        gain=own.gain * wanted.gain,
    )


class Retimer:
    """Resamples, shifts the pitch and changes the tempo of one stream.

    Pitch is a change of rate: samples that are read `pitch` times as fast sound `pitch` times as
    high and last 1/pitch as long, so the tempo stage then plays them by speed/pitch.

    Args:
        prosody: its speed and pitch.
        model_rate_hz: of the samples that come in.
        sample_rate_hz: of the samples that go out.
    """

    def __init__(self, prosody: Prosody, *, model_rate_hz: int, sample_rate_hz: int) -> None:
        heard_rate_hz = model_rate_hz * prosody.pitch
        tempo = prosody.speed / prosody.pitch
        self._resampler = (
            None
            if heard_rate_hz == sample_rate_hz
            else soxr.ResampleStream(heard_rate_hz, sample_rate_hz, 1, quality="HQ")
        )
        self._tempo = None if isclose(tempo, 1.0, rel_tol=1e-6) else Tempo(tempo, sample_rate_hz)

    @property
    def changes_tempo(self) -> bool:
        """The costly stage is in use."""
        return self._tempo is not None

    def process(self, samples: Samples) -> Samples:
        """Return what is ready of `samples`, which may be nothing."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        return samples if self._tempo is None else self._tempo.process(samples)

    def finish(self) -> Samples:
        """Return the rest of the stream."""
        rest = _EMPTY
        if self._resampler is not None:
            rest = self._resampler.resample_chunk(_EMPTY, last=True)
        if self._tempo is not None:
            rest = np.concatenate((self._tempo.process(rest), self._tempo.finish()))
        return rest


class Shaper:
    """All stages of one task.

    Args:
        prosody: what to change; `set_prosody` may change it between sentences.
        model_rate_hz: of the samples that come in.
        sample_rate_hz: of the samples that go out.

    Raises:
        SpeechError: PARAMETER_INVALID.
    """

    def __init__(self, prosody: Prosody, *, model_rate_hz: int, sample_rate_hz: int) -> None:
        check_prosody(prosody)
        self._prosody = prosody
        self._model_rate_hz = model_rate_hz
        self._rate_hz = sample_rate_hz
        self._retimer = self._new_retimer()
        self._amplifier = Amplifier(prosody.gain, sample_rate_hz)
        self._limiter = Limiter(sample_rate_hz) if prosody.gain > 1.0 else None

    @property
    def prosody(self) -> Prosody:
        """What is in force for the next sample."""
        return self._prosody

    @property
    def changes_tempo(self) -> bool:
        """Whether the tempo filter, the costly stage, is in use."""
        return self._retimer.changes_tempo

    def set_prosody(self, prosody: Prosody) -> Samples:
        """Change the prosody of the samples to come; returns what this flushes.

        A new gain is reached smoothly. A new speed or pitch starts the stream of those stages
        anew, which is not heard where the speech pauses.

        Raises:
            SpeechError: PARAMETER_INVALID.
        """
        check_prosody(prosody)
        before, self._prosody = self._prosody, prosody
        flushed = _EMPTY
        if (before.speed, before.pitch) != (prosody.speed, prosody.pitch):
            flushed = self._louden(self._retimer.finish())
            self._retimer = self._new_retimer()
        if before.gain != prosody.gain:
            self._amplifier.set_gain(prosody.gain)
            if prosody.gain > 1.0 and self._limiter is None:
                self._limiter = Limiter(self._rate_hz)
        return flushed

    def process(self, samples: Samples) -> Samples:
        """Return what is ready of `samples`, which may be nothing."""
        return self._louden(self._retimer.process(samples))

    def finish(self) -> Samples:
        """Return the rest of the task."""
        rest = self._louden(self._retimer.finish())
        return rest if self._limiter is None else np.concatenate((rest, self._limiter.finish()))

    def _new_retimer(self) -> Retimer:
        return Retimer(
            self._prosody, model_rate_hz=self._model_rate_hz, sample_rate_hz=self._rate_hz
        )

    def _louden(self, samples: Samples) -> Samples:
        amplified = self._amplifier.process(samples)
        return amplified if self._limiter is None else self._limiter.process(amplified)
