"""uvicorn as this server needs it: connections with bounds, no pings, and a drain."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from server import limits
from server.connections import BoundedHttpProtocol, ConnectionBounds, allow_open_files
from server.endpoints.services import Services
from server.endpoints.wyoming_listener import WyomingListener
from server.errors import ErrorCode, SpeechError
from server.handshake import FirstKeyProtocol
from server.settings import Settings

_WRITE_GRACE_S = 10.0
"""Endpoints have a deadline for each send; this is for what they have left behind."""
_CLOSE_TIMEOUT_S = 2.0
_HURRIED_CLOSE_TIMEOUT_S = 0.05
"""The first is for clients to take what is on its way, after a second signal it is this one."""
_ABORT_TIMEOUT_S = 0.3
_NOTICE_TIMEOUT_S = 0.1
"""For handlers to see that their connection is gone, before they are cancelled."""
_UVICORN_TIMEOUT_S = 4
"""After which uvicorn gives up by itself; not reached."""


class Server(uvicorn.Server):
    """Drains before it stops: no new tasks, running ones finish within a limit.

    A second signal fails them at once. A signal that comes before it has started ends it when it
    has. None of them is passed on: who was asked to stop, and did, has nothing to complain about.

    Args:
        on_started: called when the server takes connections.
        wyoming: bound to Home Assistant's port, if it shall be served.
    """

    def __init__(
        self,
        app: Starlette,
        settings: Settings,
        *,
        on_started: Callable[[], None],
        wyoming: socket.socket | None = None,
    ) -> None:
        super().__init__(_config(self._answer, settings))
        self._app = app
        self._services: Services = app.state.services
        self._settings = settings
        self._on_started = on_started
        self._wyoming = _wyoming(wyoming, self._services, settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = 0
        self._ending: asyncio.Task[None] | None = None
        self._close_timeout_s = _CLOSE_TIMEOUT_S
        self._dropping: asyncio.TimerHandle | None = None
        self._dropped = False

    # --- Start -------------------------------------------------------------------------------

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        others = self._settings.max_connections if self._wyoming is not None else 0
        allow_open_files(_max_sockets(self._settings) + others + limits.OTHER_OPEN_FILES)
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started and not self.should_exit:
            if self._wyoming is not None:
                await self._wyoming.open()
            self._on_started()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application; a handler that we cancel at the end is not reported as broken."""
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._dropped:
                raise

    # --- Stop --------------------------------------------------------------------------------

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """First signal: drain. Second: stop at once."""
        # Not uvicorn's own: it would raise the signal again at the end.
        self._signals += 1
        if not self.started or self._loop is None:
            self.should_exit = True
        elif self._signals == 1:
            self._loop.call_soon_threadsafe(self._end, self._drain)
        elif self._signals == 2:  # noqa: PLR2004 - the second
            self._loop.call_soon_threadsafe(self._end, self._abort)

    def _end(self, how: Callable[[], Coroutine[None, None, None]]) -> None:
        if self._ending is not None:
            self._ending.cancel()
        self._ending = asyncio.ensure_future(how())
        self._ending.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            # Even if it broke: who was asked to stop must not stay.
            self.should_exit = True

    async def _drain(self) -> None:
        await self._services.drain(self._settings.drain_timeout_s)

    async def _abort(self) -> None:
        self._close_timeout_s = _HURRIED_CLOSE_TIMEOUT_S
        self._services.draining = self._services.speech.admission.draining = True
        error = SpeechError(ErrorCode.SHUTTING_DOWN, "Server is shutting down, connect again!")
        running = list(self._services.conversations)
        if running:
            aborts = [asyncio.ensure_future(one.abort(error)) for one in running]
            await asyncio.wait(aborts, timeout=_ABORT_TIMEOUT_S)
        if self._dropping is not None:
            self._drop_connections()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close connections; drop those that are still there after a while.

        uvicorn would cancel their handlers instead, and log each with a traceback.
        """
        if self._wyoming is not None:
            # Before the lifespan ends: its conversations need the pool.
            await self._wyoming.close(self._close_timeout_s)
        loop = asyncio.get_running_loop()
        self._dropping = loop.call_later(self._close_timeout_s, self._drop_connections)
        await super().shutdown(sockets)
        self._dropping.cancel()

    def _drop_connections(self) -> None:
        self._dropped = True
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        asyncio.get_running_loop().call_later(_NOTICE_TIMEOUT_S, self._cancel_handlers)

    def _cancel_handlers(self) -> None:
        for task in list(self.server_state.tasks):
            task.cancel()


def _wyoming(
    sock: socket.socket | None, services: Services, settings: Settings
) -> WyomingListener | None:
    address = settings.wyoming_address
    if sock is None or address is None:
        return None
    return WyomingListener(sock, services, named=bool(address.host))


def _max_sockets(settings: Settings) -> int:
    return settings.max_connections + limits.SPARE_CONNECTIONS


def _config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    bounds = ConnectionBounds(
        _max_sockets(settings), write_timeout_s=settings.send_timeout_s + _WRITE_GRACE_S
    )
    return uvicorn.Config(
        app,
        interface="asgi3",
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
        # uvicorn calls it and asks no more of it.
        http=cast("type[asyncio.Protocol]", functools.partial(BoundedHttpProtocol, bounds=bounds)),
        ws=FirstKeyProtocol,
        ws_max_size=limits.MAX_MESSAGE_BYTES,
        # The C++ SDK chokes on a ping, the Java SDK answers none.
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_UVICORN_TIMEOUT_S,
    )
