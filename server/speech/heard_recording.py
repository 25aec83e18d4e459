"""A recording as a voice is made of it: decoded, cut where it is too long, trimmed and judged."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from models.base import Samples
from server.speech import recording, recording_report
from server.speech.recording_report import RecordingReport

_SEARCHED_SHARE = 0.4
"""Of the longest part, at its end: where the quiet place is looked for."""
_QUIET_S = 0.2
"""Longer than the closures within words."""


@dataclass(frozen=True, slots=True)
class HeardRecording:
    """A recording as it is kept: `samples` are exactly those of `wav`."""

    wav: bytes
    samples: Samples
    sample_rate_hz: int
    report: RecordingReport


def listen(audio: bytes, *, longest_s: float | None = None) -> HeardRecording:
    """Decode and judge a recording; takes a while.

    Args:
        audio: a file.
        longest_s: what has more, without the silence around it, is cut at a quiet place before.

    Raises:
        UnreadableError: see `recording.decode`.
    """
    decoded = recording.decode(audio)
    rate_hz, source_rate_hz = decoded.sample_rate_hz, decoded.source_rate_hz
    used, report = recording_report.examine(decoded.samples, rate_hz, source_rate_hz=source_rate_hz)
    if longest_s is not None and used.size > longest_s * rate_hz:
        recorded_s = report.recorded_s
        part = used[: _quiet_place(used, rate_hz, longest_s)]
        used, report = recording_report.examine(part, rate_hz, source_rate_hz=source_rate_hz)
        report = msgspec.structs.replace(report, recorded_s=recorded_s)
    wav = recording.wav_bytes(used, rate_hz)
    # What is kept shall be what the features were made of, to the bit.
    return HeardRecording(wav, recording.wav_samples(wav), rate_hz, report)


def _quiet_place(samples: Samples, rate_hz: int, longest_s: float) -> int:
    """Where to cut, in samples: the middle of the quietest moment near the end of what may stay."""
    end, width = round(longest_s * rate_hz), max(1, round(_QUIET_S * rate_hz))
    begin = round(end * (1 - _SEARCHED_SHARE))
    power = np.concatenate([[0.0], np.cumsum(samples[begin:end].astype(np.float64) ** 2)])
    return begin + int(np.argmin(power[width:] - power[:-width])) + width // 2
