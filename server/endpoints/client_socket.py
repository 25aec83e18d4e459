"""A client's WebSocket as endpoints use it: frames in, frames out with a deadline, one close."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from server.errors import ErrorCode, SpeechError
from server.handshake import ClientLink

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001  # 1012 is unknown to Aliyun's Python SDK
_CLOSE_TIMEOUT_S = 15.0
GONE = (WebSocketDisconnect, WebSocketDisconnected, ConnectionError)
"""How Starlette and uvicorn say that the other end has left."""


class ClientSocket:
    """One accepted connection.

    Args:
        send_timeout_s: how long the client may read nothing while a frame waits for it.
    """

    def __init__(self, websocket: WebSocket, *, send_timeout_s: float) -> None:
        self._websocket = websocket
        self._send_timeout_s = send_timeout_s
        self._link: ClientLink = websocket.scope["state"]["link"]
        self._sending = asyncio.Lock()
        self._last_message_s = time.monotonic()
        self.closed = False
        """Nothing more can be sent."""

    @property
    def last_sign_s(self) -> float:
        """When the client last sent a message or a ping, by the monotonic clock."""
        return max(self._last_message_s, self._link.last_ping_s)

    async def receive(self, patience_s: float | None = None) -> str | bytes:
        """The next message.

        Raises:
            TimeoutError: nothing came within `patience_s`.
            WebSocketDisconnect: the client is gone.
        """
        async with asyncio.timeout(patience_s):
            message: dict[str, Any] = dict(await self._websocket.receive())
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        self._last_message_s = time.monotonic()
        text = message.get("text")
        return text if text is not None else message.get("bytes") or b""

    async def send(self, frame: str | bytes) -> None:
        """Send one frame.

        Raises:
            SpeechError: CLIENT_TOO_SLOW, the client has not read for too long.
            WebSocketDisconnect: it is gone.
        """
        if self._link.takes_more and not self._sending.locked():
            # The usual case, without the price of a timer and a lock: this never waits.
            await self._write(frame)
            return
        try:
            async with asyncio.timeout(self._send_timeout_s), self._sending:
                await self._write(frame)
        except TimeoutError:
            raise SpeechError(
                ErrorCode.CLIENT_TOO_SLOW, "Client does not read its audio!"
            ) from None

    async def _write(self, frame: str | bytes) -> None:
        if self.closed:
            raise WebSocketDisconnect(1006)
        if isinstance(frame, bytes):
            await self._websocket.send({"type": "websocket.send", "bytes": frame})
        else:
            await self._websocket.send({"type": "websocket.send", "text": frame})

    async def end(self, last: str | bytes, error: SpeechError) -> None:
        """Send a last frame that tells of an error, and close; never for long."""
        if self.closed:
            return
        if error.code is ErrorCode.CLIENT_TOO_SLOW:
            # Whatever we sent now would wait behind what it does not read.
            self.closed = True
            self._link.abort()
            return
        # A client that does not read would hold its connection for as long as we try to tell it.
        self.abandon()
        with contextlib.suppress(*GONE, SpeechError):
            await self.send(last)
        await self.close(CLOSE_NORMAL)

    async def close(self, code: int) -> None:
        """Close, once."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(*GONE, TimeoutError):
            async with asyncio.timeout(self._send_timeout_s):
                await self._websocket.close(code)

    def abandon(self, patience_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Drop the connection unless it ends by itself, and what was sent has left, until then."""
        self._link.abort_later(patience_s)
