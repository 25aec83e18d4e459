"""How good a recording is for cloning a voice: figures, a verdict, and advice in plain words.

Pure numpy. The recording is looked at in frames of 20 ms. The background is what the quietest
tenth of the frames has at most, taken over the part between the first and the last sound; a frame
counts as speech if it is 6 dB louder than that and no more than 35 dB quieter than the loudest
frames (the 95th percentile). This is an energy detector, no recogniser: it takes any sound that
comes and goes for speech, and steady noise for background.
"""

from __future__ import annotations

import itertools
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from models.base import Samples

SHORTEST_S = 3.0
LONGEST_S = 30.0
KEPT_SILENCE_S = 0.2
"""What is left of the silence before the first and after the last sound."""

_FRAME_S = 0.02
_FLOOR_DB = -100.0
_QUANTILE_BACKGROUND = 0.1
_QUANTILE_LOUD = 0.95
_ABOVE_BACKGROUND_DB = 6.0
_BELOW_LOUD_DB = 35.0
_MOST_SNR_DB = 60.0
_BRIDGED_S = 0.2
"""Frames between two frames of speech no farther apart are speech: closures of consonants."""
_AUDIBLE_DB = -55.0
_CLIPPED = 0.995
_LEAST_SPEECH_S = 1.5

_REFUSED_CLIPPED_SHARE = 0.02
_ADVISED_CLIPPED_SHARE = 0.0005
_ADVISED_S = (5.0, 20.0)
_ADVISED_SNR_DB = 20.0
_ADVISED_LOUD_DB = -35.0
_ADVISED_SPEECH_SHARE = 0.6
_ADVISED_RATE_HZ = 16_000

Verdict = Literal["ok", "advice", "refused"]


class Remark(msgspec.Struct, frozen=True):
    """What is wrong with a recording, or could be better."""

    code: str
    """For programs: `too_short`, `noisy` ..."""
    text: str
    """For people, with what to do."""


class RecordingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording is like. Levels are in dB of full scale, shares from 0 to 1."""

    verdict: Verdict
    """`refused`: no voice is made of it, for the first of `remarks`."""
    remarks: tuple[Remark, ...]
    seconds: float
    """What is used: without the silence that was cut away at both ends."""
    recorded_s: float
    sample_rate_hz: int
    """Of the file that was sent."""
    peak_db: float
    rms_db: float
    """Of the part that is used."""
    clipped_share: float
    silence_before_s: float
    silence_after_s: float
    silence_s: float
    """All frames that are no speech, before, after and within."""
    noise_db: float
    snr_db: float
    """Speech to background; 60 at most."""
    speech_share: float
    """Of the part that is used."""


def examine(
    samples: Samples, sample_rate_hz: int, *, source_rate_hz: int
) -> tuple[Samples, RecordingReport]:
    """Trim a recording and judge it.

    Args:
        samples: shape (n_samples,).
        sample_rate_hz: of `samples`.
        source_rate_hz: of the file that they came from.

    Returns:
        The part that is to be used, and what is to be said of the recording.
    """
    frame = max(1, round(_FRAME_S * sample_rate_hz))
    levels_db = _levels_db(samples, frame)
    speech, noise_db = _find_speech(levels_db)
    begin, end = _bounds(speech, frame, samples.size, round(KEPT_SILENCE_S * sample_rate_hz))
    used = samples[begin:end]
    heard = levels_db[speech]
    figures = {
        "seconds": used.size / sample_rate_hz,
        "recorded_s": samples.size / sample_rate_hz,
        "peak_db": _db(float(np.max(np.abs(used), initial=0)) ** 2),
        "rms_db": _db(_power(used)),
        "clipped_share": float(np.mean(np.abs(used) >= _CLIPPED)) if used.size else 0.0,
        **_silences(speech, frame, samples.size, sample_rate_hz),
        "noise_db": noise_db,
        "snr_db": _snr_db(heard, noise_db),
        "speech_share": min(1.0, int(speech.sum()) * frame / max(1, used.size)),
    }
    loud_db = float(np.quantile(heard, 0.5)) if heard.size else _FLOOR_DB
    refusals = _refusals(figures, int(speech.sum()) * frame / sample_rate_hz)
    remarks = refusals or _advice(figures, loud_db, source_rate_hz)
    verdict: Verdict = "refused" if refusals else "advice" if remarks else "ok"
    rounded = {
        name: round(value, 4 if name.endswith("share") else 2) for name, value in figures.items()
    }
    report = RecordingReport(
        verdict=verdict, remarks=tuple(remarks), sample_rate_hz=source_rate_hz, **rounded
    )
    return used, report


def _levels_db(samples: Samples, frame: int) -> npt.NDArray[np.float64]:
    """RMS of each frame; the last one may be shorter."""
    if not samples.size:
        return np.empty(0)
    starts = np.arange(0, samples.size, frame)
    sums = np.add.reduceat(samples.astype(np.float64) ** 2, starts)
    sizes = np.diff(np.append(starts, samples.size))
    levels_db: npt.NDArray[np.float64] = 10 * np.log10(sums / sizes + 1e-12)
    return levels_db.clip(min=_FLOOR_DB)


def _find_speech(levels_db: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.bool_], float]:
    """Which frames are speech, and the level of the background."""
    audible = np.flatnonzero(levels_db > _AUDIBLE_DB)
    if not audible.size:
        noise_db = float(levels_db.max(initial=_FLOOR_DB))
        return np.zeros(levels_db.size, dtype=np.bool_), noise_db
    inner = levels_db[audible[0] : audible[-1] + 1]
    noise_db = float(np.quantile(inner, _QUANTILE_BACKGROUND))
    threshold_db = max(
        noise_db + _ABOVE_BACKGROUND_DB,
        float(np.quantile(inner, _QUANTILE_LOUD)) - _BELOW_LOUD_DB,
        _AUDIBLE_DB,
    )
    return _bridged(levels_db > threshold_db), noise_db


def _bridged(speech: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Fill short gaps between frames of speech."""
    filled = speech.copy()
    for left, right in itertools.pairwise(np.flatnonzero(speech)):
        if (right - left) * _FRAME_S <= _BRIDGED_S:
            filled[left:right] = True
    return filled


def _bounds(speech: npt.NDArray[np.bool_], frame: int, size: int, kept: int) -> tuple[int, int]:
    """Where the part that is used begins and ends, in samples."""
    places = np.flatnonzero(speech)
    if not places.size:
        return 0, size
    return max(0, int(places[0]) * frame - kept), min(size, (int(places[-1]) + 1) * frame + kept)


def _silences(
    speech: npt.NDArray[np.bool_], frame: int, size: int, rate_hz: int
) -> dict[str, float]:
    places = np.flatnonzero(speech)
    if not places.size:
        before = after = size
    else:
        before, after = int(places[0]) * frame, max(0, size - (int(places[-1]) + 1) * frame)
    return {
        "silence_before_s": before / rate_hz,
        "silence_after_s": after / rate_hz,
        "silence_s": max(0, size - int(speech.sum()) * frame) / rate_hz,
    }


def _power(samples: Samples) -> float:
    return float(np.mean(samples.astype(np.float64) ** 2)) if samples.size else 0.0


def _db(power: float) -> float:
    return max(_FLOOR_DB, 10 * float(np.log10(power + 1e-12)))


def _snr_db(heard_db: npt.NDArray[np.float64], noise_db: float) -> float:
    """Mean power of the speech, less the background's, to the background's."""
    if not heard_db.size:
        return 0.0
    noise = 10 ** (noise_db / 10)
    speech = float(np.mean(10 ** (heard_db / 10))) - noise
    return float(np.clip(10 * np.log10(max(speech, 1e-12) / noise), 0, _MOST_SNR_DB))


def _refusals(figures: dict[str, float], speech_s: float) -> list[Remark]:
    """Why no voice can be made of it."""
    seconds = figures["seconds"]
    if figures["noise_db"] <= _AUDIBLE_DB and not speech_s:
        return [
            Remark(
                "nothing_heard",
                "Nothing is heard in the recording: check the microphone and its level.",
            )
        ]
    remarks = []
    if seconds < SHORTEST_S:
        remarks.append(
            Remark(
                "too_short",
                f"The recording has {seconds:.1f} s without the silence around it: "
                f"{SHORTEST_S:g} s are needed, 5 to 15 s are best.",
            )
        )
    if seconds > LONGEST_S:
        remarks.append(
            Remark(
                "too_long",
                f"The recording has {seconds:.1f} s without the silence around it: "
                f"{LONGEST_S:g} s are the most, 5 to 15 s are best.",
            )
        )
    if speech_s < _LEAST_SPEECH_S and not remarks:
        remarks.append(
            Remark(
                "little_speech",
                f"Only {speech_s:.1f} s of the recording stand out from the background: "
                "speak close to the microphone, in a quiet room.",
            )
        )
    if figures["clipped_share"] > _REFUSED_CLIPPED_SHARE:
        remarks.append(
            Remark(
                "clipped",
                "The recording is distorted, because it is too loud for the microphone: "
                "turn its level down and record again.",
            )
        )
    return remarks


def _advice(figures: dict[str, float], loud_db: float, source_rate_hz: int) -> list[Remark]:
    """What would make the voice better."""
    shortest_s, longest_s = _ADVISED_S
    conditions = {
        "short": figures["seconds"] < shortest_s,
        "long": figures["seconds"] > longest_s,
        "clipping": figures["clipped_share"] > _ADVISED_CLIPPED_SHARE,
        "noisy": figures["snr_db"] < _ADVISED_SNR_DB,
        "quiet": loud_db < _ADVISED_LOUD_DB,
        "pauses": figures["speech_share"] < _ADVISED_SPEECH_SHARE,
        "low_rate": source_rate_hz < _ADVISED_RATE_HZ,
    }
    return [Remark(code, _ADVICE[code]) for code, holds in conditions.items() if holds]


_ADVICE = {
    "short": "It is short: 5 to 15 s of calm, fluent speech make a steadier voice.",
    "long": "It is long: 5 to 15 s make as good a voice, which begins to speak sooner.",
    "clipping": "Its loudest parts are distorted: turn the microphone's level down a little.",
    "noisy": "There is noise behind the voice, which the clone will have too: find a quieter room.",
    "quiet": "It is quiet: go closer to the microphone, or turn its level up.",
    "pauses": "It has long pauses: one or two sentences spoken without stopping are better.",
    "low_rate": "Its sample rate is that of a telephone: record with 16 kHz or more.",
}
