"""What leaves the socket is what an ordinary decoder reads: format, length, rate, loudness."""

from __future__ import annotations

import io
import wave
from typing import Any

import av
import numpy as np
import pytest
from flowing import FlowingSocket, samples_of, speak
from server_process import ServerProcess

pytestmark = pytest.mark.anyio

TEXT = "一二三四五六七八九。十一二三四五六七八。"
SECONDS = 2.0
FREQUENCY_HZ = 480.0


def decode(data: bytes) -> tuple[np.ndarray[Any, Any], int]:
    """Mono samples in [-1, 1] and their rate, by FFmpeg."""
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    samples = np.concatenate([frame.reshape(-1) for frame in frames])
    if samples.dtype.kind == "i":
        samples = samples / np.float64(np.iinfo(samples.dtype).max)
    return samples, rate


def frequency(samples: np.ndarray[Any, Any], rate: int) -> float:
    middle = samples[len(samples) // 4 : len(samples) // 4 * 3]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return float(spectrum.argmax() * rate / len(middle))


@pytest.mark.parametrize("audio_format", ["wav", "mp3", "opus", "aac", "flac"])
@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
async def test_every_format_is_one_file_that_decodes(
    sine_server: ServerProcess, audio_format: str, rate: int
) -> None:
    client = await speak(
        sine_server.flowing_url, TEXT, voice="sine", format=audio_format, sample_rate=rate
    )
    samples, decoded_rate = decode(client.audio)
    # FFmpeg decodes Opus at 48 kHz, whatever it was made from.
    assert decoded_rate == (48000 if audio_format == "opus" else rate)
    # Decoders without gapless playback keep a codec's padding, about a frame at either end.
    assert len(samples) / decoded_rate == pytest.approx(SECONDS, abs=0.06 + 1200 / rate)
    assert frequency(samples, decoded_rate) == pytest.approx(FREQUENCY_HZ, abs=3)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000])
async def test_pcm_at_every_rate(sine_server: ServerProcess, rate: int) -> None:
    client = await speak(sine_server.flowing_url, TEXT, voice="sine", sample_rate=rate)
    samples = samples_of(client.audio)
    assert len(samples) == pytest.approx(SECONDS * rate, abs=2)
    assert frequency(samples, rate) == pytest.approx(FREQUENCY_HZ, abs=2)


async def test_wav_has_one_header_of_unknown_length(sine_server: ServerProcess) -> None:
    client = await speak(
        sine_server.flowing_url, TEXT, voice="sine", format="WAV", sample_rate=24000
    )
    assert client.audio.count(b"RIFF") == 1
    assert client.audio[4:8] == client.audio[40:44] == b"\xff\xff\xff\xff"
    with wave.open(io.BytesIO(client.audio)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
        assert len(file.readframes(10**9)) == 2 * 24000 * SECONDS


@pytest.mark.parametrize(
    ("payload", "seconds", "hz", "rms"),
    [
        ({"speech_rate": 500}, 1.0, 480, 0.354),
        ({"speech_rate": -500}, 4.0, 480, 0.354),
        ({"pitch_rate": 500}, 2.0, 960, 0.354),
        ({"pitch_rate": -500}, 2.0, 240, 0.354),
        ({"speech_rate": 250, "pitch_rate": -250}, 2 / 2**0.5, 480 / 2**0.5, 0.354),
        ({"volume": 25}, 2.0, 480, 0.177),
        ({"volumn": 25}, 2.0, 480, 0.177),
        ({"volume": 0}, 2.0, None, 0.0),
    ],
)
async def test_prosody_is_real(
    sine_server: ServerProcess,
    payload: dict[str, int],
    seconds: float,
    hz: float | None,
    rms: float,
) -> None:
    client = await speak(sine_server.flowing_url, TEXT, voice="sine", sample_rate=24000, **payload)
    samples = samples_of(client.audio)
    assert len(samples) / 24000 == pytest.approx(seconds, abs=0.03)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(rms, abs=0.02)
    if hz is not None:
        assert frequency(samples, 24000) == pytest.approx(hz, rel=0.01)


async def test_full_volume_does_not_clip(sine_server: ServerProcess) -> None:
    client = await speak(sine_server.flowing_url, TEXT, voice="sine", sample_rate=24000, volume=100)
    samples = samples_of(client.audio)
    assert np.abs(samples).max() <= 1.0
    assert np.sqrt(np.mean(samples**2)) > 0.55


async def test_ssml(sine_server: ServerProcess) -> None:
    """A break is silence of its length, a sub is its alias, rate halves the duration."""
    text = (
        '<speak rate="500"><s>一二三四</s><break time="500ms"/>'
        '五六<sub alias="七八">ab</sub></speak>'
    )
    client = await speak(
        sine_server.flowing_url, text, voice="sine", sample_rate=24000, enable_ssml=True,
        enable_subtitle=True,
    )  # fmt: skip
    samples = samples_of(client.audio)
    assert len(samples) / 24000 == pytest.approx(0.2 + 0.5 + 0.2, abs=0.05)
    quiet = np.abs(samples) < 0.01
    assert quiet.sum() / 24000 == pytest.approx(0.5, abs=0.06)


async def test_plain_text_with_ssml_on_stays_plain(sine_server: ServerProcess) -> None:
    text = "一 < 二 & 三。"
    client = await speak(
        sine_server.flowing_url, text, voice="sine", enable_ssml=True, sample_rate=24000
    )
    assert len(samples_of(client.audio)) > 0


async def test_voices_are_listed(sine_server: ServerProcess) -> None:
    listing = sine_server.get("/stream/v1/tts/voices").json()
    assert listing["names"] == ["sine", "sine-2"]
    assert set(listing["voices"][0]) == {
        "name", "id", "model", "language", "gender", "kind", "description", "sample_rate",
        "aliases",
    }  # fmt: skip
    assert listing["voices"][0]["sample_rate"] == 24000
    one = sine_server.get("/stream/v1/tts/voices/info?voice=sine-2").json()
    assert one["name"] == "sine-2"
    unknown = sine_server.get("/stream/v1/tts/voices/info?voice=x")
    assert (unknown.status_code, unknown.json()["status"]) == (400, 40000003)
    info = sine_server.get("/stream/v1/tts/voices/info").json()
    assert info["models"][0]["name"] == "sine"
    assert sine_server.get("/stream/v1/tts/voices/refresh").json() == listing


async def test_health_and_metrics(sine_server: ServerProcess) -> None:
    async with FlowingSocket(sine_server.flowing_url) as client:
        await client.start(voice="sine")
        await client.until("SynthesisStarted")
        assert sine_server.metric("cosystream_active_sessions") == 1
        completed = sine_server.metric("cosystream_sessions_total", outcome="completed")
        audio_s = sine_server.metric("cosystream_audio_seconds_total")
        await client.run(TEXT)
        await client.stop()
        await client.until("SynthesisCompleted")
        assert sine_server.metric("cosystream_active_sessions") == 0
        assert sine_server.metric("cosystream_sessions_total", outcome="completed") == completed + 1
        assert sine_server.metric("cosystream_audio_seconds_total") == pytest.approx(
            audio_s + SECONDS
        )
    assert sine_server.get("/healthz").json()["status"] == "ok"
    assert sine_server.get("/readyz").json() == {"status": "ready", "models": ["sine"]}
    assert sine_server.get("/status").json()["workers"][0]["state"] == "ready"
    assert sine_server.metric("cosystream_first_audio_seconds_count") > 0
    assert sine_server.metric("cosystream_model_first_chunk_seconds_count", model="sine") > 0


async def test_one_summary_line_per_task_without_its_text(sine_server: ServerProcess) -> None:
    secret = "芝麻开门芝麻开门。"
    client = await speak(sine_server.flowing_url, secret, voice="sine")
    log = sine_server.log.read_text()
    lines = [line for line in log.splitlines() if client.task_id in line]
    assert len(lines) == 1
    assert '"event": "task completed"' in lines[0]
    assert secret[:4] not in log.encode().decode("unicode_escape", "replace")
