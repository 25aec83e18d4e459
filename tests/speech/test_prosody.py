from __future__ import annotations

import numpy as np
import pytest

from models.base import Samples
from server.errors import ErrorCode, SpeechError
from server.speech.limiter import CEILING, Limiter
from server.speech.tempo import Tempo, stages
from server.speech.types import AudioFormat, Prosody
from tests.speech.sound import (
    MODEL_RATE_HZ,
    encode,
    encoder,
    frequency_hz,
    largest_step,
    pcm,
    rms,
    sine,
)

FACTORS = [0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0]


def heard(samples: Samples, sample_rate_hz: int = MODEL_RATE_HZ, **prosody: float) -> Samples:
    task = encoder(sample_rate_hz=sample_rate_hz, prosody=Prosody(**prosody))
    return pcm(encode(task, samples))


@pytest.mark.parametrize("pitch", FACTORS)
@pytest.mark.parametrize("speed", FACTORS)
def test_pitch_moves_the_frequency_and_speed_the_duration(speed: float, pitch: float) -> None:
    speech = heard(sine(440, 1.2), 16_000, speed=speed, pitch=pitch)
    assert frequency_hz(speech, 16_000) == pytest.approx(440 * pitch, rel=0.01)
    assert len(speech) / 16_000 == pytest.approx(1.2 / speed, abs=0.002)
    assert rms(speech) == pytest.approx(0.5 / 2**0.5, rel=0.03)


@pytest.mark.parametrize("gain", [0.0, 0.1, 0.5, 1.0, 1.5, 1.9])
def test_gain_moves_the_loudness(gain: float) -> None:
    assert rms(heard(sine(440, 0.5), gain=gain)) == pytest.approx(gain * 0.5 / 2**0.5, rel=0.001)


@pytest.mark.parametrize("gain", [2.0, 3.0, 10.0])
def test_what_gain_lifts_too_high_is_turned_down_not_clipped(gain: float) -> None:
    speech = heard(sine(440, 1.0, amplitude=0.7), gain=gain)
    assert 0.98 < np.abs(speech).max() <= 1.0
    middle = speech[6000:18_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    tone = round(440 * len(middle) / MODEL_RATE_HZ)
    harmonics = spectrum.sum() - spectrum[tone - 5 : tone + 6].sum()
    assert harmonics / spectrum.sum() < 1e-3


def test_quiet_speech_passes_the_limiter_bit_by_bit() -> None:
    limiter = Limiter(MODEL_RATE_HZ)
    quiet = sine(440, 0.33, amplitude=0.99)
    assert np.array_equal(np.concatenate((limiter.process(quiet), limiter.finish())), quiet)


def test_the_limiter_holds_sudden_peaks_and_lets_go_again() -> None:
    samples = sine(300, 2.0, amplitude=0.5)
    samples[24_000:24_240] *= 8
    samples[0] = 5.0
    limiter = Limiter(MODEL_RATE_HZ)
    limited = np.concatenate((limiter.process(samples), limiter.finish()))
    assert len(limited) == len(samples)
    assert np.abs(limited).max() <= CEILING * 1.0001
    assert np.array_equal(limited[20_000:23_500], samples[20_000:23_500])
    assert np.array_equal(limited[-2400:], samples[-2400:])


@pytest.mark.parametrize(("factor", "n_stages"), [(0.9, 1), (2.0, 1), (2.1, 2), (0.25, 2), (16, 4)])
def test_no_stage_goes_beyond_a_factor_of_two(factor: float, n_stages: int) -> None:
    assert len(stages(factor)) == n_stages
    assert np.prod(stages(factor)) == pytest.approx(factor)
    assert all(0.5 <= stage <= 2.0 for stage in stages(factor))


def bursts(at_s: list[float], duration_s: float, total_s: float) -> Samples:
    """Tones in digital silence, as a model gives words and pauses."""
    samples = np.zeros(round(total_s * MODEL_RATE_HZ), np.float32)
    for begin_s in at_s:
        begin = round(begin_s * MODEL_RATE_HZ)
        tone = sine(250, duration_s)
        samples[begin : begin + len(tone)] = tone
    return samples


@pytest.mark.parametrize("speed", [0.5, 0.75, 0.9, 1.1, 1.5, 2.0])
def test_words_are_heard_whole_and_at_their_time_at_any_speed(speed: float) -> None:
    begins_s = [0.0, 0.7, 1.4, 2.1]
    speech = heard(bursts(begins_s, 0.3, total_s=2.4), speed=speed)
    loud = np.flatnonzero(np.abs(speech) > 0.1)
    gaps = np.flatnonzero(np.diff(loud) > 0.05 * MODEL_RATE_HZ)
    begins = loud[np.concatenate(([0], gaps + 1))] / MODEL_RATE_HZ
    ends = loud[np.concatenate((gaps, [len(loud) - 1]))] / MODEL_RATE_HZ
    assert begins == pytest.approx([begin_s / speed for begin_s in begins_s], abs=0.04)
    assert ends == pytest.approx([(begin_s + 0.3) / speed for begin_s in begins_s], abs=0.02)


def test_the_tempo_does_not_drift() -> None:
    """The filter works in whole samples; over a long task a rounded step would add up."""
    tempo = Tempo(1.1, 8000)
    clicks = np.zeros(60 * 8000, np.float32)
    clicks[59 * 8000 : 59 * 8000 + 800] = 0.5
    speech = np.concatenate((tempo.process(clicks), tempo.finish()))
    assert np.flatnonzero(speech > 0.2)[0] / 8000 == pytest.approx(59 / 1.1, abs=0.03)
    assert len(speech) == round(60 * 8000 / 1.1)


def test_silence_stays_silent_under_the_tempo_filter() -> None:
    assert not heard(np.zeros(24_000, np.float32), speed=1.3).any()


def test_a_new_gain_between_sentences_makes_no_click() -> None:
    task = encoder(prosody=Prosody(gain=0.2))
    tone = sine(200, 1.0)
    frames = task.encode(tone[:12_030])
    task.set_prosody(Prosody(gain=1.6))
    frames += task.encode(tone[12_030:18_030])
    task.set_prosody(Prosody(gain=0.4))
    speech = pcm(frames + task.encode(tone[18_030:]) + task.finish())
    assert len(speech) == len(tone)
    steepest = 1.6 * 0.5 * 2 * np.pi * 200 / MODEL_RATE_HZ
    assert largest_step(speech) < 1.1 * steepest
    assert rms(speech[:11_000]) == pytest.approx(0.2 * 0.5 / 2**0.5, rel=0.01)
    assert rms(speech[13_000:17_000]) == pytest.approx(1.6 * 0.5 / 2**0.5, rel=0.01)


def test_a_new_speed_and_pitch_between_sentences() -> None:
    task = encoder(AudioFormat.PCM, sample_rate_hz=16_000)
    frames = task.encode(sine(300, 1.0))
    task.set_prosody(Prosody(speed=0.5, pitch=2.0))
    assert task.position_s == pytest.approx(1.0)
    frames += task.encode(sine(300, 1.0))
    assert task.position_s == pytest.approx(3.0)
    assert not task.inline
    task.set_prosody(Prosody())
    frames += task.encode(sine(300, 1.0))
    assert task.position_s == pytest.approx(4.0)
    speech = pcm(frames + task.finish())
    assert len(speech) / 16_000 == pytest.approx(4.0, abs=0.002)
    assert frequency_hz(speech[:16_000], 16_000) == pytest.approx(300, rel=0.01)
    assert frequency_hz(speech[16_000:48_000], 16_000) == pytest.approx(600, rel=0.01)
    assert frequency_hz(speech[48_000:], 16_000) == pytest.approx(300, rel=0.01)


def test_a_refused_prosody_changes_nothing() -> None:
    task = encoder()
    with pytest.raises(SpeechError) as refusal:
        task.set_prosody(Prosody(speed=9.0))
    assert refusal.value.code is ErrorCode.PARAMETER_INVALID
    assert task.time_scale == 1.0
