"""What is said of recordings, from good ones to none."""

from __future__ import annotations

import numpy as np
import pytest
from clone_model import syllables

from models.base import Samples
from server.speech.recording_report import RecordingReport, examine

RATE_HZ = 24_000
SPEECH = syllables(200, 8.0)


def report(samples: Samples, *, source_rate_hz: int = RATE_HZ) -> RecordingReport:
    return examine(samples, RATE_HZ, source_rate_hz=source_rate_hz)[1]


def codes(samples: Samples, **options: int) -> list[str]:
    return [remark.code for remark in report(samples, **options).remarks]


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def noise(samples: Samples, level_db: float) -> Samples:
    white = np.random.default_rng(1).normal(0, 10 ** (level_db / 20), samples.size)
    return (samples + white).astype(np.float32)


def test_a_good_recording() -> None:
    found = report(SPEECH)
    assert (found.verdict, found.remarks) == ("ok", ())
    assert found.seconds == found.recorded_s == 8
    assert (found.silence_before_s, found.silence_after_s) == (0, 0.1)
    assert found.peak_db == pytest.approx(-6.02, abs=0.05)
    assert found.clipped_share == 0
    assert found.snr_db == 60
    assert found.speech_share > 0.95


def test_silence_around_it_is_cut_but_for_a_breath() -> None:
    whole = np.concatenate([silence(2), SPEECH, silence(3)])
    used, found = examine(whole, RATE_HZ, source_rate_hz=RATE_HZ)
    assert found.silence_before_s == pytest.approx(2, abs=0.05)
    assert found.silence_after_s == pytest.approx(3.1, abs=0.05)
    assert found.recorded_s == 13
    assert used.size / RATE_HZ == pytest.approx(8.3, abs=0.05)
    begin = round((2 - 0.2) * RATE_HZ)
    assert np.array_equal(used[RATE_HZ:], whole[begin + RATE_HZ : begin + used.size])
    assert found.verdict == "ok"


@pytest.mark.parametrize("level_db", [-60.0, -50.0, -40.0])
def test_noise_is_measured(level_db: float) -> None:
    found = report(noise(SPEECH, level_db))
    assert found.noise_db == pytest.approx(level_db, abs=1)
    # Half of a tone's peak power, less in the swelling and between the syllables.
    assert found.snr_db == pytest.approx(-10.7 - level_db, abs=1.5)


@pytest.mark.parametrize(
    ("samples", "advice"),
    [
        (syllables(200, 4.0), ["short"]),
        (syllables(200, 25.0), ["long"]),
        (noise(SPEECH, -25), ["noisy"]),
        (SPEECH * np.float32(0.02), ["quiet"]),
        (np.concatenate([SPEECH[: 2 * RATE_HZ], silence(5), SPEECH[: 2 * RATE_HZ]]), ["pauses"]),
        (np.where(np.arange(SPEECH.size) % 1000 == 0, 1, SPEECH).astype(np.float32), ["clipping"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_advice(samples: Samples, advice: list[str]) -> None:
    found = report(samples)
    assert found.verdict == "advice"
    assert [remark.code for remark in found.remarks] == advice


def test_telephones_are_heard_as_such() -> None:
    assert codes(SPEECH, source_rate_hz=8_000) == ["low_rate"]


@pytest.mark.parametrize(
    ("samples", "refusal"),
    [
        (silence(0), "nothing_heard"),
        (silence(6), "nothing_heard"),
        (noise(silence(6), -80), "nothing_heard"),
        (np.ones(1, np.float32), "too_short"),
        (SPEECH[: 2 * RATE_HZ], "too_short"),
        (np.concatenate([silence(9), SPEECH[: 2 * RATE_HZ], silence(9)]), "too_short"),
        (syllables(200, 31.0), "too_long"),
        (noise(silence(6), -20), "little_speech"),
        (syllables(200, 6.0) * 0 + np.float32(0.3), "little_speech"),
        (np.concatenate([SPEECH[:9600], silence(5), SPEECH[:9600]]), "little_speech"),
        (np.clip(SPEECH * 8, -1, 1), "clipped"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(samples: Samples, refusal: str) -> None:
    found = report(samples)
    assert found.verdict == "refused"
    assert found.remarks[0].code == refusal


def test_long_silence_makes_nothing_too_long() -> None:
    assert codes(np.concatenate([silence(25), SPEECH, silence(25)])) == []
