"""A client's plain TCP connection: bytes in, bytes out with a deadline, one close."""

from __future__ import annotations

import asyncio
import contextlib
import time

from server.errors import ErrorCode, SpeechError

_READ_BYTES = 65_536


class ClientStream:
    """One accepted connection.

    Args:
        send_timeout_s: how long the client may read nothing while bytes wait for it.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        send_timeout_s: float,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._send_timeout_s = send_timeout_s
        self.last_sign_s = time.monotonic()
        """When a whole message last came, by the monotonic clock; kept by who understands them."""

    async def receive(self) -> bytes:
        """What has come; empty when the client has closed its side, or we ours.

        Raises:
            OSError: the connection broke.
        """
        return await self._reader.read(_READ_BYTES)

    async def send(self, data: bytes) -> None:
        """Send bytes, together with no others.

        Raises:
            SpeechError: CLIENT_TOO_SLOW, the client has not read for too long.
            OSError: it is gone, or we have closed.
        """
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        if self._writer.transport.get_write_buffer_size() == 0:
            # The usual case, without the price of a timer.
            return
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self._writer.drain()
        except TimeoutError:
            raise SpeechError(
                ErrorCode.CLIENT_TOO_SLOW, "Client does not read its audio!"
            ) from None

    def close(self, patience_s: float) -> None:
        """Close when what was sent has left; drop the connection if that takes longer."""
        if not self._writer.is_closing():
            self._writer.close()
            self.abort_later(patience_s)

    async def wait_closed(self) -> None:
        """Wait until what was sent has left, or the connection is gone."""
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort_later(self, patience_s: float) -> None:
        """Drop the connection unless it ends by itself until then."""
        asyncio.get_running_loop().call_later(patience_s, self.abort)

    def abort(self) -> None:
        """Drop the connection, with what has not left yet."""
        self._writer.transport.abort()
