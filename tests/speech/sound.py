"""Sounds with known properties, and what can be measured on them again."""

from __future__ import annotations

import io

import av
import numpy as np

from models.base import Samples
from server.speech.encoder import Encoder
from server.speech.types import AudioFormat, Prosody

MODEL_RATE_HZ = 24_000


def sine(frequency_hz: float, duration_s: float, *, amplitude: float = 0.5) -> Samples:
    time_s = np.arange(round(duration_s * MODEL_RATE_HZ)) / MODEL_RATE_HZ
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def encoder(audio_format: AudioFormat = AudioFormat.PCM, **options: object) -> Encoder:
    arguments = {
        "model_rate_hz": MODEL_RATE_HZ,
        "sample_rate_hz": MODEL_RATE_HZ,
        "prosody": Prosody(),
        **options,
    }
    return Encoder(audio_format, **arguments)


def encode(encoder: Encoder, samples: Samples, chunk_samples: int = 2400) -> list[bytes]:
    frames = []
    for begin in range(0, len(samples), chunk_samples):
        frames += encoder.encode(samples[begin : begin + chunk_samples])
    return frames + encoder.finish()


def pcm(frames: list[bytes]) -> Samples:
    return np.frombuffer(b"".join(frames), "<i2").astype(np.float32) / 32767


def decode(frames: list[bytes]) -> tuple[Samples, int]:
    """What FFmpeg hears, and at which rate."""
    with av.open(io.BytesIO(b"".join(frames))) as container:
        decoded = list(container.decode(audio=0))
    samples = np.concatenate([frame.to_ndarray()[0] for frame in decoded])
    if samples.dtype == np.int16:
        samples = samples / np.float32(32768)
    return samples, decoded[0].sample_rate


def frequency_hz(samples: Samples, sample_rate_hz: int) -> float:
    """The strongest frequency in the middle half."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    size = 8 * len(middle)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), size))
    return float(np.argmax(spectrum)) * sample_rate_hz / size


def rms(samples: Samples) -> float:
    """Of the middle half."""
    middle = samples[len(samples) // 4 : -len(samples) // 4].astype(np.float64)
    return float(np.sqrt(np.mean(middle**2)))


def largest_step(samples: Samples) -> float:
    return float(np.abs(np.diff(samples)).max())
