"""uvicorn's WebSocket protocol, made to accept what the vendors' SDKs really send.

Aliyun's Python SDK sends two `Sec-WebSocket-Key` and two `Sec-WebSocket-Version` headers: its own
random key first, then a constant, and it checks `Sec-WebSocket-Accept` against the first. Every
stock ASGI server refuses that or answers to the second. uvicorn hands the whole request head to
the WebSocket protocol in one call, so the later duplicates can be dropped there.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.http11 import Request
from websockets.protocol import State

_ONCE_ONLY = (b"sec-websocket-key", b"sec-websocket-version")
_UNSENT_BYTES = 64 * 1024
"""Audio that may wait in the kernel for a slow client. Without a bound the kernel takes megabytes,
minutes of speech, and neither backpressure nor barge-in would be real."""

_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class ClientLink:
    """What ASGI does not tell of a connection; endpoints find it in `scope["state"]["link"]`."""

    __slots__ = ("_abort_timer", "_transport", "_writable", "last_ping_s")

    def __init__(self, transport: asyncio.Transport, writable: asyncio.Event) -> None:
        self._transport = transport
        self._writable = writable
        self._abort_timer: asyncio.TimerHandle | None = None
        self.last_ping_s = 0.0
        """When the client last sent a WebSocket ping, by the monotonic clock; 0 for never."""

    @property
    def takes_more(self) -> bool:
        """A message can be sent without waiting for the client to read."""
        return self._writable.is_set()

    def abort(self) -> None:
        """Drop the connection and what was still to be sent."""
        self._transport.abort()

    def abort_later(self, delay_s: float) -> None:
        """Drop the connection unless it has ended by itself until then.

        A close waits until everything before it was sent, for ever if the client reads nothing.
        """
        loop = asyncio.get_running_loop()
        self._abort_timer = loop.call_later(delay_s, self._transport.abort)

    def lost(self) -> None:
        """The connection has ended."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()


class FirstKeyProtocol(WebSocketsSansIOProtocol):
    """Keeps the first of duplicate handshake headers, and notes the client's pings."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what the kernel buffers for this client."""
        super().connection_made(transport)
        self._head_seen = False
        self._link = ClientLink(self.transport, self.writable)
        peer = transport.get_extra_info("socket")
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if peer is not None and option is not None and peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to be aborted."""
        self._link.lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass on the first bytes, which are the whole request head, without duplicates."""
        if not self._head_seen:
            self._head_seen = True
            data = keep_first_headers(data)
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse()

    def _refuse(self) -> None:
        """Answer a head that the WebSocket library could not read, of which uvicorn knows nothing.

        HTTP's own parser took it: a line may be too long, or there may be too many headers.
        """
        if not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_REQUEST)
            self.transport.close()

    def shutdown(self) -> None:
        """Close with 1001: to Aliyun's Python SDK uvicorn's 1012 is a protocol error."""
        if self.conn.state is State.CONNECTING:
            super().shutdown()
            return
        if self.conn.state is State.OPEN:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.GOING_AWAY})
            self.conn.send_close(CloseCode.GOING_AWAY)
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Hand the link to the endpoint."""
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)
        if scope is not None:
            scope["state"]["link"] = self._link

    def handle_ping(self) -> None:
        """Answer a ping, which counts as a sign of life."""
        self._link.last_ping_s = time.monotonic()
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
