"""The task's one audio file, as bytes in frames that a client may get one by one.

A frame holds about `limits.FRAME_S` of audio. The first frame of the file, and the first after
a `drain`, does not wait for that much: it holds what the first samples gave.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from models.base import Samples
from server.limits import FRAME_S

_FULL_SCALE = np.float32(32_767)
_UNKNOWN_SIZE = (0xFFFFFFFF).to_bytes(4, "little")


class AudioFile(ABC):
    """A file that is written from its first byte to its last.

    Attributes:
        content_type: MIME type.
    """

    content_type: str

    def __init__(self) -> None:
        self._eager = True

    @abstractmethod
    def write(self, samples: Samples) -> None:
        """Append mono samples; what passes full scale is clipped."""

    @abstractmethod
    def close(self) -> None:
        """Append the end of the file. Without samples there is no file at all, and no bytes."""

    @abstractmethod
    def _cut(self, *, partial: bool) -> list[bytes]:
        """Hand out whole frames, and with `partial` what is left as the last one."""

    def take(self) -> list[bytes]:
        """Hand out the frames that are due."""
        frames = self._cut(partial=self._eager)
        self._eager = self._eager and not frames
        return frames

    def drain(self) -> list[bytes]:
        """Hand out every byte that there is; the next `take` does not wait for a whole frame."""
        self._eager = True
        return self._cut(partial=True)


def wav_header(sample_rate_hz: int) -> bytes:
    """Header of a mono 16 bit WAV file of unknown length.

    Both sizes are 0xFFFFFFFF: readers take that as "to the end", while a size of 0 reads as an
    empty file.
    """
    return b"".join(
        (
            b"RIFF" + _UNKNOWN_SIZE + b"WAVE",
            b"fmt " + (16).to_bytes(4, "little"),
            (1).to_bytes(2, "little"),  # PCM
            (1).to_bytes(2, "little"),  # channels
            sample_rate_hz.to_bytes(4, "little"),
            (sample_rate_hz * 2).to_bytes(4, "little"),
            (2).to_bytes(2, "little"),  # bytes of a sample in all channels
            (16).to_bytes(2, "little"),  # bits of a sample
            b"data" + _UNKNOWN_SIZE,
        )
    )


def quantise(samples: Samples) -> npt.NDArray[np.int16]:
    """Round float samples to 16 bit; 1.0 becomes 32767, and what passes it is clipped."""
    scaled = samples * _FULL_SCALE
    np.rint(scaled, out=scaled)
    np.minimum(scaled, _FULL_SCALE, out=scaled)
    np.maximum(scaled, -_FULL_SCALE, out=scaled)
    return scaled.astype("<i2")


class PcmFile(AudioFile):
    """Signed 16 bit little endian samples, behind a header if there is one.

    Args:
        sample_rate_hz: of the samples.
        header: bytes in front of the first sample.
        content_type: MIME type.
    """

    def __init__(self, sample_rate_hz: int, header: bytes = b"", content_type: str = "") -> None:
        super().__init__()
        self.content_type = content_type or "audio/pcm"
        self._frame_bytes = 2 * round(sample_rate_hz * FRAME_S)
        self._header = header
        self._waiting = bytearray()

    def write(self, samples: Samples) -> None:  # noqa: D102 - see AudioFile
        if len(samples):
            self._waiting += self._header
            self._header = b""
            self._waiting += quantise(samples).data

    def close(self) -> None:
        """Do nothing: the file ends with its last sample."""

    def _cut(self, *, partial: bool) -> list[bytes]:
        waiting, size = self._waiting, self._frame_bytes
        end = len(waiting) if partial else len(waiting) - len(waiting) % size
        frames = [bytes(waiting[begin : min(begin + size, end)]) for begin in range(0, end, size)]
        del waiting[:end]
        return frames
