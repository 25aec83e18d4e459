"""WAV as it comes from a stream: sizes unknown at first, right in the end."""

from __future__ import annotations

import struct
from typing import BinaryIO

_SIZE_FIELD = struct.Struct("<I")
_CHUNK_HEADER = struct.Struct("<4sI")
_RIFF_HEADER_BYTES = 12
_LARGEST_BYTES = 0xFFFFFFFF


class WavError(Exception):
    """The bytes are not the beginning of a WAV file."""


def samples_begin(head: bytes) -> int | None:
    """Index of the first sample's first byte, None while `head` is too short to tell.

    Raises:
        WavError: not WAV.
    """
    if not b"RIFF".startswith(head[:4]) or (
        len(head) >= _RIFF_HEADER_BYTES and head[8:12] != b"WAVE"
    ):
        raise WavError("the server's audio does not begin with a WAV header")
    at = _RIFF_HEADER_BYTES
    while at + _CHUNK_HEADER.size <= len(head):
        name, size_bytes = _CHUNK_HEADER.unpack_from(head, at)
        at += _CHUNK_HEADER.size
        if name == b"data":
            return at
        at += size_bytes + size_bytes % 2
    return None


def patch_sizes(file: BinaryIO, begin: int) -> None:
    """Write the true sizes into the header of a complete file whose samples start at `begin`.

    A file of 4 GiB or more keeps what is there: the fields cannot say it.
    """
    length_bytes = file.seek(0, 2)
    if length_bytes > _LARGEST_BYTES:
        return
    file.seek(4)
    file.write(_SIZE_FIELD.pack(length_bytes - 8))
    file.seek(begin - _SIZE_FIELD.size)
    file.write(_SIZE_FIELD.pack(length_bytes - begin))


class HeaderSplitter:
    """Takes the header off a WAV stream.

    Attributes:
        header: what was taken off, empty until it is complete.
    """

    def __init__(self) -> None:
        self.header = b""
        self._head = b""

    def feed(self, data: bytes) -> bytes:
        """The samples in `data`, little endian as they came.

        Raises:
            WavError: the stream is not WAV.
        """
        if self.header:
            return data
        self._head += data
        begin = samples_begin(self._head)
        if begin is None:
            return b""
        self.header, samples = self._head[:begin], self._head[begin:]
        self._head = b""
        return samples
