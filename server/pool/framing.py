"""How messages are cut out of a byte stream: `[u32 little endian length][payload]`.

Pure: bytes in, payloads out, no socket. Both ends use it, and it imports nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_FRAME_BYTES = 32 << 20
"""A longer frame means that the two ends lost step; the longest real one is a recording of half a
minute at a studio's sample rate."""
HEADER_BYTES = 4

_INITIAL_BUFFER_BYTES = 256 * 1024


class ChannelError(Exception):
    """The other end sent what is no frame or no message."""


class FrameBuffer:
    """Where received bytes are put, and frames found.

    The reader receives into `writable()` and calls `received(n)`. No byte is copied but the rest
    of an unfinished frame, and what the decoder takes out.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(_INITIAL_BUFFER_BYTES)
        self._end = 0

    def writable(self) -> memoryview:
        """Room for the next bytes; never empty."""
        return memoryview(self._buffer)[self._end :]

    def received(self, n_bytes: int) -> Iterator[memoryview]:
        """Take note of bytes received; yields each finished frame's payload.

        A payload is valid until the next one is asked for. The iterator must be exhausted before
        the next `writable()`.

        Raises:
            ChannelError: a frame is longer than `MAX_FRAME_BYTES`.
        """
        self._end += n_bytes
        begin = 0
        view = memoryview(self._buffer)
        while self._end - begin >= HEADER_BYTES:
            body = begin + HEADER_BYTES
            length = int.from_bytes(view[begin:body], "little")
            if length > MAX_FRAME_BYTES:
                raise ChannelError(f"a frame of {length} bytes is longer than a frame may be")
            if self._end - body < length:
                self._keep(begin, HEADER_BYTES + length)
                return
            yield view[body : body + length]
            begin = body + length
        self._keep(begin, HEADER_BYTES)

    def _keep(self, begin: int, needed_bytes: int) -> None:
        """Move the unfinished rest to the front of a buffer that its frame fits in."""
        rest = self._end - begin
        if needed_bytes > len(self._buffer):
            grown = bytearray(needed_bytes)
            grown[:rest] = memoryview(self._buffer)[begin : self._end]
            self._buffer = grown
        elif begin and rest:
            self._buffer[:rest] = self._buffer[begin : self._end]
        self._end = rest
