"""A recording that somebody sent, as mono samples: decoded with bounds, or refused in one sentence.

FFmpeg opens far more than audio files: playlists and lists that name other files of this machine,
streams that never end, images. Hence only the containers that people record in may be opened, from
memory, and what comes out is counted while it comes, whatever the file says of itself.
"""

from __future__ import annotations

import io
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
import soxr

from models.base import Samples
from server import limits
from server.errors import ErrorCode, SpeechError

MAX_DECODING_S = 20.0
"""Wall time, after which decoding is given up; a minute of audio takes a tenth of a second."""
SAMPLE_RATES_HZ = (8_000, 192_000)
"""Lowest and highest."""
MAX_CHANNELS = 8
KEPT_RATE_HZ = 48_000
"""What has a higher rate is resampled: no voice is heard above it."""

_CONTAINERS = "wav,mp3,mov,aac,ogg,flac,matroska"
"""FFmpeg's names; `mov` is m4a and mp4 too, `matroska` is webm too."""
_CODECS = (
    "mp3,mp3float,aac,opus,libopus,vorbis,flac,alac,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,"
    "pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_u8,pcm_alaw,pcm_mulaw"
)
"""FFmpeg decodes all streams a little while it opens a file, those of films too."""
_READABLE = "wav, mp3, m4a, aac, ogg, opus, flac or webm"
_S16 = 32_768


@dataclass(frozen=True, slots=True)
class Recording:
    """Audio as it was decoded, channels mixed into one.

    Attributes:
        samples: shape (n_samples,), values in [-1, 1].
        sample_rate_hz: of `samples`, at most KEPT_RATE_HZ.
        source_rate_hz: of the file.
    """

    samples: Samples
    sample_rate_hz: int
    source_rate_hz: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.samples.size / self.sample_rate_hz


class UnreadableError(SpeechError):
    """No recording that can be decoded within the bounds."""


class _BoundedFile(io.BytesIO):
    """A file that ends when time is up.

    FFmpeg reads, and inflates, also the packets of other tracks, and yields nothing meanwhile.
    """

    def __init__(self, data: bytes, limit_s: float) -> None:
        super().__init__(data)
        self._limit_s = limit_s

    def read(self, size: int | None = -1, /) -> bytes:
        # PyAV prints what is raised here.
        return b"" if time.monotonic() > self._limit_s else super().read(size)


def decode(data: bytes, *, max_s: float = limits.MAX_RECORDING_S) -> Recording:
    """Decode an audio file; blocks, for MAX_DECODING_S at most.

    Args:
        data: the file.
        max_s: the longest audio that is taken, in seconds.

    Raises:
        UnreadableError: PARAMETER_INVALID: it is no such file, is damaged, or passes a bound.
    """
    if not data:
        raise _invalid("The recording is empty!")
    if len(data) > limits.MAX_RECORDING_BYTES:
        raise _invalid(f"The recording is larger than {limits.MAX_RECORDING_BYTES >> 20} MiB!")
    limit_s = time.monotonic() + MAX_DECODING_S
    try:
        with av.open(
            _BoundedFile(data, limit_s),
            mode="r",
            container_options={"format_whitelist": _CONTAINERS, "codec_whitelist": _CODECS},
            metadata_errors="replace",
        ) as container:
            stream = _audio_stream(container)
            source_rate_hz = _checked_rate_hz(stream)
            blocks = list(_blocks(container, stream, source_rate_hz, limit_s, max_s))
    # FFmpeg's own word for what is wrong would help nobody; PyAV has exceptions of many kinds.
    except (av.FFmpegError, ValueError, MemoryError) as error:
        _check_time(limit_s)
        raise _invalid(f"The recording cannot be read; send {_READABLE}!") from error
    if not blocks:
        raise _invalid("The recording holds no sound!")
    samples = np.concatenate(blocks)
    if not np.isfinite(samples).all():
        raise _invalid("The recording is damaged: some of its samples are no numbers!")
    np.clip(samples, -1, 1, out=samples)
    rate_hz = min(source_rate_hz, KEPT_RATE_HZ)
    if rate_hz < source_rate_hz:
        samples = np.asarray(soxr.resample(samples, source_rate_hz, rate_hz), dtype=np.float32)
    return Recording(samples, rate_hz, source_rate_hz)


def wav_bytes(samples: Samples, sample_rate_hz: int) -> bytes:
    """A WAV file of 16 bits per sample."""
    whole = np.clip(np.round(samples * _S16), -_S16, _S16 - 1).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate_hz)
        writer.writeframes(whole.tobytes())
    return file.getvalue()


def wav_samples(data: bytes) -> Samples:
    """The samples in what `wav_bytes` made."""
    with wave.open(io.BytesIO(data), "rb") as reader:
        whole = np.frombuffer(reader.readframes(reader.getnframes()), "<i2")
    return whole.astype(np.float32) / np.float32(_S16)


def _audio_stream(container: av.container.InputContainer) -> av.AudioStream:
    """The first audio stream; pictures and films beside it are left alone."""
    if not container.streams.audio:
        raise _invalid("The recording holds no sound!")
    return container.streams.audio[0]


def _checked_rate_hz(stream: av.AudioStream) -> int:
    rate_hz, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    lowest, highest = SAMPLE_RATES_HZ
    if not lowest <= rate_hz <= highest:
        raise _invalid(
            f"The recording has a sample rate of {rate_hz} Hz: not in [{lowest}, {highest}]!"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise _invalid(f"The recording has {channels} channels: not in [1, {MAX_CHANNELS}]!")
    return rate_hz


def _blocks(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    rate_hz: int,
    limit_s: float,
    max_s: float,
) -> Iterator[Samples]:
    """Decode until the end, or the first bound that is passed."""
    # Channels are mixed here: FFmpeg's mix is louder than each of them.
    resampler = av.AudioResampler(format="fltp", rate=rate_hz)
    room = round(max_s * rate_hz)
    for packet in container.demux(stream):
        _check_time(limit_s)
        for decoded in packet.decode():
            for frame in resampler.resample(decoded):
                block = _mixed(frame)
                room -= block.size
                if room < 0:
                    raise _invalid(f"The recording is longer than {max_s:g} s!")
                yield block
    for frame in resampler.resample(None):
        yield _mixed(frame)


def _mixed(frame: av.AudioFrame) -> Samples:
    channels: Samples = np.asarray(frame.to_ndarray(), dtype=np.float32)
    mixed: Samples = channels.mean(axis=0)
    return mixed


def _check_time(limit_s: float) -> None:
    if time.monotonic() > limit_s:
        raise _invalid("The recording takes too long to decode!")


def _invalid(message: str) -> UnreadableError:
    return UnreadableError(ErrorCode.PARAMETER_INVALID, message)
