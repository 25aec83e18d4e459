"""Audio that comes in as raw samples, made into what a recogniser takes."""

from __future__ import annotations

import numpy as np
import soxr

from models.base import Samples

_SAMPLE_BYTES = 2
_SCALE = np.float32(1 / 32_768)


class PcmInput:
    """Signed 16 bit little endian of one or two channels, in pieces of any size, to mono float32.

    Args:
        sample_rate_hz: of what comes in.
        channels: interleaved; they are mixed.
        target_rate_hz: of what goes out.
    """

    def __init__(self, *, sample_rate_hz: int, channels: int, target_rate_hz: int) -> None:
        self._channels = channels
        self._frame_bytes = _SAMPLE_BYTES * channels
        self._rest = b""
        self._resampler = (
            soxr.ResampleStream(sample_rate_hz, target_rate_hz, 1, dtype="float32")
            if sample_rate_hz != target_rate_hz
            else None
        )

    def convert(self, data: bytes, *, last: bool) -> Samples:
        """The samples that these bytes complete; half a sample at the very end is dropped."""
        data = self._rest + data
        end = len(data) - len(data) % self._frame_bytes
        self._rest = data[end:]
        frames = np.frombuffer(data[:end], "<i2").reshape(-1, self._channels)
        samples: Samples = frames.mean(axis=1, dtype=np.float32) * _SCALE
        if self._resampler is None:
            return samples
        return np.asarray(self._resampler.resample_chunk(samples, last=last), dtype=np.float32)
