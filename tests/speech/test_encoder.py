from __future__ import annotations

import gc
import wave
import weakref
from io import BytesIO

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import ErrorCode, SpeechError
from server.limits import MAX_FRAME_BYTES, SAMPLE_RATES_HZ
from server.speech.encoder import Encoder
from server.speech.types import AudioFormat, Prosody
from tests.speech.sound import (
    MODEL_RATE_HZ,
    decode,
    encode,
    encoder,
    frequency_hz,
    largest_step,
    pcm,
    rms,
    sine,
)

CODEC_DELAY_S = {AudioFormat.MP3: 0.2, AudioFormat.AAC: 0.2}
"""What decoders without gapless playback add; three or four packets, which last longer at 8 kHz."""


@pytest.mark.parametrize("sample_rate_hz", SAMPLE_RATES_HZ)
@pytest.mark.parametrize("audio_format", AudioFormat)
def test_every_format_at_every_rate_has_the_right_length_rate_and_sound(
    audio_format: AudioFormat, sample_rate_hz: int
) -> None:
    task = encoder(audio_format, sample_rate_hz=sample_rate_hz)
    frames = encode(task, sine(440, 1.5))
    if audio_format is AudioFormat.PCM:
        heard, rate_hz = pcm(frames), sample_rate_hz
    else:
        heard, rate_hz = decode(frames)
    decoder_rate_hz = 48_000 if audio_format is AudioFormat.OPUS else task.sample_rate_hz
    assert rate_hz == decoder_rate_hz
    assert task.sample_rate_hz >= sample_rate_hz
    extra_s = len(heard) / rate_hz - 1.5
    assert -0.001 <= extra_s <= CODEC_DELAY_S.get(audio_format, 0.001)
    assert frequency_hz(heard, rate_hz) == pytest.approx(440, rel=0.003)
    assert rms(heard) == pytest.approx(0.5 / 2**0.5, rel=0.08)
    assert all(1 <= len(frame) <= MAX_FRAME_BYTES for frame in frames)


@pytest.mark.parametrize(
    ("asked_hz", "real_hz"),
    [(11_025, 12_000), (22_050, 24_000), (32_000, 48_000), (44_100, 48_000), (16_000, 16_000)],
)
def test_opus_takes_the_next_rate_that_it_has(asked_hz: int, real_hz: int) -> None:
    assert encoder(AudioFormat.OPUS, sample_rate_hz=asked_hz).sample_rate_hz == real_hz


@pytest.mark.parametrize("model_rate_hz", [16_000, 22_050, 24_000])
def test_any_model_rate(model_rate_hz: int) -> None:
    task = encoder(model_rate_hz=model_rate_hz, sample_rate_hz=16_000)
    heard = pcm(encode(task, sine(440, 1.0)))
    assert len(heard) / 16_000 == pytest.approx(MODEL_RATE_HZ / model_rate_hz, abs=0.001)
    assert frequency_hz(heard, 16_000) == pytest.approx(
        440 * model_rate_hz / MODEL_RATE_HZ, rel=0.01
    )


def test_samples_at_the_models_own_rate_are_only_rounded() -> None:
    samples = np.array([0.0, 1.0, -1.0, 0.5, 1.5, -7.0, 1 / 32767], np.float32)
    frames = encode(encoder(), samples)
    assert np.frombuffer(b"".join(frames), "<i2").tolist() == [
        0, 32767, -32767, 16384, 32767, -32767, 1,
    ]  # fmt: skip


def test_a_wav_file_has_one_header_that_says_read_to_the_end() -> None:
    samples = sine(300, 0.35)
    data = b"".join(encode(encoder(AudioFormat.WAV), samples, chunk_samples=1000))
    assert data.count(b"RIFF") == 1
    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"
    assert data[44:] == b"".join(encode(encoder(), samples))
    with wave.open(BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert len(file.readframes(1_000_000)) == len(data) - 44


def test_the_first_frame_does_not_wait_and_the_others_hold_100_ms() -> None:
    task = encoder()
    assert [len(frame) for frame in task.encode(sine(300, 0.02))] == [960]
    assert task.encode(sine(300, 0.07)) == []
    assert [len(frame) for frame in task.encode(sine(300, 0.26))] == [4800] * 3
    assert [len(frame) for frame in task.drain()] == [1440]
    assert task.drain() == []
    assert [len(frame) for frame in task.encode(sine(300, 0.25))] == [4800, 4800, 2400]
    assert task.finish() == []


@pytest.mark.parametrize("audio_format", AudioFormat)
def test_first_bytes_come_early(audio_format: AudioFormat) -> None:
    task = encoder(audio_format)
    chunks = np.split(sine(300, 0.5), 50)
    first_ms = next(10 * n for n, chunk in enumerate(chunks, 1) if task.encode(chunk))
    assert (
        first_ms
        <= {"pcm": 10, "wav": 10, "flac": 30, "opus": 40, "mp3": 50, "aac": 90}[audio_format]
    )


@pytest.mark.parametrize("audio_format", AudioFormat)
def test_a_drain_between_sentences_changes_no_byte(audio_format: AudioFormat) -> None:
    whole = encode(encoder(audio_format, sample_rate_hz=16_000), sine(300, 1.0))
    task = encoder(audio_format, sample_rate_hz=16_000)
    first, second = np.split(sine(300, 1.0), 2)
    pieces = task.encode(first) + task.drain() + task.encode(second) + task.finish()
    assert b"".join(pieces) == b"".join(whole)


@pytest.mark.parametrize("audio_format", AudioFormat)
def test_a_task_without_samples_is_no_file(audio_format: AudioFormat) -> None:
    task = encoder(audio_format, sample_rate_hz=16_000, prosody=Prosody(speed=2, gain=2))
    assert task.encode(np.empty(0, np.float32)) == []
    assert task.drain() == []
    assert task.finish() == []


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 12_000), max_size=20).map(sorted),
    options=st.sampled_from(
        [
            {},
            {"sample_rate_hz": 16_000},
            {"prosody": Prosody(gain=4.0)},
            {"prosody": Prosody(speed=0.7)},
            {"sample_rate_hz": 22_050, "prosody": Prosody(speed=2.5, pitch=1.3, gain=1.5)},
        ]
    ),
)
def test_the_file_does_not_depend_on_how_the_samples_are_cut(
    cuts: list[int], options: dict[str, object]
) -> None:
    samples = sine(310, 0.5) + np.float32(0.3) * sine(1234, 0.5)
    whole = encode(encoder(**options), samples, chunk_samples=len(samples))
    task = encoder(**options)
    pieces = [frame for chunk in np.split(samples, cuts) for frame in task.encode(chunk)]
    assert b"".join(pieces + task.finish()) == b"".join(whole)


@pytest.mark.parametrize("sample_rate_hz", [16_000, 22_050, 24_000, 48_000])
def test_there_is_no_step_at_a_join(sample_rate_hz: int) -> None:
    """Sentences whose samples continue one sine: a click would be a step above its own."""
    task = encoder(sample_rate_hz=sample_rate_hz)
    frames = []
    for sentence in np.split(sine(200, 3.0), 6):
        frames += task.encode(sentence) + task.drain()
    heard = pcm(frames + task.finish())
    inner = heard[sample_rate_hz // 20 : -sample_rate_hz // 20]
    assert largest_step(inner) <= 0.5 * 2 * np.pi * 200 / sample_rate_hz * 1.01


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.7])
def test_the_position_counts_seconds_of_the_file(speed: float) -> None:
    task = encoder(AudioFormat.WAV, sample_rate_hz=8000, prosody=Prosody(speed=speed))
    assert task.position_s == 0
    for _ in range(7):
        task.encode(sine(300, 0.123))
    assert task.position_s == pytest.approx(7 * 0.123 / speed)
    assert task.time_scale == pytest.approx(1 / speed)


@pytest.mark.parametrize(
    ("audio_format", "options", "code"),
    [
        ("pcm", {"sample_rate_hz": 12_345}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ("pcm", {"sample_rate_hz": 0}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ("mp3", {"sample_rate_hz": 96_000}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ("pcm", {"prosody": Prosody(speed=0.2)}, ErrorCode.PARAMETER_INVALID),
        ("pcm", {"prosody": Prosody(speed=4.1)}, ErrorCode.PARAMETER_INVALID),
        ("pcm", {"prosody": Prosody(pitch=0.0)}, ErrorCode.PARAMETER_INVALID),
        ("pcm", {"prosody": Prosody(pitch=float("nan"))}, ErrorCode.PARAMETER_INVALID),
        ("pcm", {"prosody": Prosody(gain=-1.0)}, ErrorCode.PARAMETER_INVALID),
        ("pcm", {"prosody": Prosody(gain=float("inf"))}, ErrorCode.PARAMETER_INVALID),
        ("mp3", {"bit_rate": 1_000}, ErrorCode.PARAMETER_INVALID),
        ("opus", {"bit_rate": 600_000}, ErrorCode.PARAMETER_INVALID),
        ("aac", {"bit_rate": -1}, ErrorCode.PARAMETER_INVALID),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(
    audio_format: str, options: dict[str, object], code: ErrorCode
) -> None:
    with pytest.raises(SpeechError) as refusal:
        encoder(AudioFormat(audio_format), **options)
    assert refusal.value.code is code


@pytest.mark.parametrize("audio_format", [AudioFormat.MP3, AudioFormat.OPUS, AudioFormat.AAC])
def test_the_bit_rate_decides_the_size(audio_format: AudioFormat) -> None:
    noise = np.random.default_rng(1).standard_normal(48_000).astype(np.float32) * 0.2
    small, large = (
        sum(map(len, encode(encoder(audio_format, bit_rate=bit_rate), noise)))
        for bit_rate in (24_000, 64_000)
    )
    ogg_pages = 3_000 if audio_format is AudioFormat.OPUS else 0
    assert large - ogg_pages == pytest.approx(64_000 / 8 * 2, rel=0.2)
    assert small - ogg_pages == pytest.approx(24_000 / 8 * 2, rel=0.4)


@pytest.mark.parametrize("bit_rate", [256_000, 510_000])
def test_opus_gives_one_channel_what_it_can(bit_rate: int) -> None:
    assert encode(encoder(AudioFormat.OPUS, bit_rate=bit_rate), sine(300, 0.2))


@pytest.mark.parametrize(
    ("audio_format", "options", "inline"),
    [
        ("pcm", {}, True),
        ("wav", {"sample_rate_hz": 16_000, "prosody": Prosody(gain=2)}, True),
        ("pcm", {"prosody": Prosody(speed=1.2, pitch=1.2)}, True),
        ("pcm", {"prosody": Prosody(speed=1.2)}, False),
        ("wav", {"prosody": Prosody(pitch=0.9)}, False),
        ("mp3", {}, False),
        ("flac", {}, False),
    ],
)
def test_only_cheap_work_is_done_inline(
    audio_format: str, options: dict[str, object], inline: bool
) -> None:
    assert encoder(AudioFormat(audio_format), **options).inline is inline


def test_content_types() -> None:
    assert {encoder(audio_format).content_type for audio_format in AudioFormat} == {
        "audio/pcm", "audio/wav", "audio/mpeg", "audio/ogg", "audio/aac", "audio/flac",
    }  # fmt: skip


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("audio_format", [*AudioFormat])
def test_a_dropped_encoder_is_freed_without_the_garbage_collector(
    audio_format: AudioFormat, finished: bool
) -> None:
    gc.collect()
    gc.disable()
    try:
        task: Encoder | None = encoder(audio_format, prosody=Prosody(speed=1.5))
        task.encode(sine(300, 0.4))
        if finished:
            task.finish()
        left = weakref.ref(task._file)
        del task
        assert left() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_no_encoder_starts_threads() -> None:
    process = psutil.Process()
    before = process.num_threads()
    tasks = [encoder(audio_format, prosody=Prosody(speed=1.5)) for audio_format in AudioFormat]
    for task in tasks:
        task.encode(sine(300, 0.3))
    assert process.num_threads() <= before
