"""uvicorn's WebSocket protocol, made to accept what the vendors' SDKs really send.

Aliyun's Python SDK sends two `Sec-WebSocket-Key` and two `Sec-WebSocket-Version` headers: its own
random key first, then a constant, and it checks `Sec-WebSocket-Accept` against the first. Every
stock ASGI server refuses that or answers to the second. uvicorn hands the whole request head to
the WebSocket protocol in one call, so the later duplicates can be dropped there.
"""

from __future__ import annotations

import socket
import time
from asyncio import BaseTransport
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

_ONCE_ONLY = (b"sec-websocket-key", b"sec-websocket-version")
_UNSENT_BYTES = 64 * 1024
"""Audio that may wait in the kernel for a slow client. Without a bound the kernel takes megabytes,
minutes of speech, and neither backpressure nor barge-in would be real."""


class PingClock:
    """When the client last sent a WebSocket ping; endpoints find it in `scope["state"]`."""

    __slots__ = ("last_ping_s",)

    def __init__(self) -> None:
        self.last_ping_s = 0.0


class FirstKeyProtocol(WebSocketsSansIOProtocol):
    """Keeps the first of duplicate handshake headers, and notes the client's pings."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Bound what the kernel buffers for this client."""
        super().connection_made(transport)
        self._head_seen = False
        self._ping_clock = PingClock()
        peer = transport.get_extra_info("socket")
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if peer is not None and option is not None and peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)

    def data_received(self, data: bytes) -> None:
        """Pass on the first bytes, which are the whole request head, without duplicates."""
        if not self._head_seen:
            self._head_seen = True
            data = keep_first_headers(data)
        super().data_received(data)

    def handle_connect(self, event: Request) -> None:
        """Hand the ping clock to the endpoint."""
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)
        if scope is not None:
            scope["state"]["ping_clock"] = self._ping_clock

    def handle_ping(self) -> None:
        """Answer a ping, which counts as a sign of life."""
        self._ping_clock.last_ping_s = time.monotonic()
        super().handle_ping()


def keep_first_headers(data: bytes) -> bytes:
    """Drop later duplicates of the two handshake headers from a request head.

    Bytes after the head, and heads without duplicates, stay as they are.
    """
    head, separator, rest = data.partition(b"\r\n\r\n")
    seen = set()
    lines = []
    for line in head.split(b"\r\n"):
        name = line.partition(b":")[0].strip().lower()
        if name in _ONCE_ONLY:
            if name in seen:
                continue
            seen.add(name)
        lines.append(line)
    return b"\r\n".join(lines) + separator + rest
