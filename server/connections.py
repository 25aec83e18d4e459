"""How many connections there are, and how long each may take before it asks for something.

uvicorn bounds neither: a connection on which nothing comes, or half a request head, or audio that
its client never reads, would hold a file descriptor for ever. Request bodies have their deadline
in the endpoints, WebSockets theirs in `server.handshake` and in the endpoints.
"""

from __future__ import annotations

import asyncio
import resource
from array import array
from typing import Any

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server import limits

_log = structlog.get_logger(__name__)

_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class ConnectionBounds:
    """What all connections of a server share.

    Args:
        max_connections: of every kind; one more is closed at once.
        write_timeout_s: how long a client of HTTP may leave unread what it asked for.
    """

    def __init__(self, max_connections: int, *, write_timeout_s: float) -> None:
        self.write_timeout_s = write_timeout_s
        self._max_connections = max_connections
        self._full = False

    def admit(self, count: int) -> bool:
        """Whether there may be `count` connections; says so in the log when it begins."""
        full = count > self._max_connections
        if full and not self._full:
            _log.warning("too many connections, new ones are closed", limit=self._max_connections)
        self._full = full
        return not full


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP class with deadlines for a request head and for a client that reads."""

    def __init__(self, *arguments: Any, bounds: ConnectionBounds, **keywords: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **keywords)
        self._bounds = bounds
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_body = False
        self._write_timer: asyncio.TimerHandle | None = None
        self.parser = self._own_parser = _Parser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin to wait for a request, unless there are too many connections."""
        super().connection_made(transport)
        if self._bounds.admit(len(self.connections)):
            self._await_head()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._head_seen()
        self._cancel_write_timer()
        super().connection_lost(exc)

    # --- Reading -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes; while they are no whole head, the deadline stands."""
        # Bytes after a response end uvicorn's wait for the next request, whatever they are.
        if self.cycle is not None and self.cycle.response_complete:
            self._await_head()
        if not self._in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > limits.MAX_HEAD_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """A whole head is there."""
        self._in_body = True
        self._head_seen()
        super().on_headers_complete()
        # ASGI cannot cut a response short; an endpoint whose audio fails must.
        self.scope["state"]["transport"] = self.transport

    def on_message_complete(self) -> None:
        """So is its body."""
        self._in_body = False
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hand over to the WebSocket class, with what came right behind the request."""
        super().handle_websocket_upgrade()
        if self._own_parser.rest and not self.transport.is_closing():
            protocol = self.transport.get_protocol()
            if isinstance(protocol, asyncio.Protocol):
                protocol.data_received(self._own_parser.rest)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(limits.HEAD_TIMEOUT_S, self.transport.abort)

    def _head_seen(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # --- Writing -----------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        super().pause_writing()
        # A response that was given up waits, in a close that never ends, for all to be read.
        self._cancel_write_timer()
        self._write_timer = self.loop.call_later(self._bounds.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        self._cancel_write_timer()
        super().resume_writing()

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


class _Parser(httptools.HttpRequestParser):
    """Keeps what follows the head of an upgrade, which uvicorn drops."""

    rest = b""

    def feed_data(self, data: bytes | bytearray | memoryview[int] | array[int]) -> None:
        """Parse.

        Raises:
            httptools.HttpParserUpgrade: the head of an upgrade is complete.
        """
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = bytes(data[upgrade.args[0] :])
            raise


def allow_open_files(needed: int) -> None:
    """Raise this process's own limit of open files to what is needed, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):
        allowed = soft
    if allowed < needed:
        _log.warning(
            "too few open files allowed for max_connections; raise the limit (ulimit -Hn)",
            allowed=allowed,
            needed=needed,
        )
