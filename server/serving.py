"""uvicorn as this server needs it: the SDK-proof WebSocket class, no pings, and a drain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from server import limits
from server.endpoints.services import Services
from server.handshake import FirstKeyProtocol
from server.settings import Settings

_CLOSE_TIMEOUT_S = 2


class Server(uvicorn.Server):
    """Drains before it stops: no new tasks, running ones finish within a limit.

    A second signal stops at once.

    Args:
        on_started: called when the server takes connections.
    """

    def __init__(
        self, app: Starlette, settings: Settings, *, on_started: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                root_path=settings.root_path,
                ssl_certfile=settings.tls_certificate or None,
                ssl_keyfile=settings.tls_key or None,
                ws=FirstKeyProtocol,
                ws_max_size=limits.MAX_MESSAGE_BYTES,
                # The C++ SDK chokes on a ping, the Java SDK answers none.
                ws_ping_interval=None,
                ws_per_message_deflate=False,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
            )
        )
        self._services: Services = app.state.services
        self._drain_timeout_s = settings.drain_timeout_s
        self._on_started = on_started
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        await super().startup(sockets)
        if self.started:
            self._loop = asyncio.get_running_loop()
            self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: stop at once."""
        if self.started and not self._services.draining:
            # Not noted as captured: uvicorn would raise it again at the end, and a server that
            # was asked to stop and did has nothing to complain about.
            self._services.draining = True
            self._loop.call_soon_threadsafe(self._start_drain)
            return
        super().handle_exit(sig, frame)

    def _start_drain(self) -> None:
        self._drain = asyncio.ensure_future(self._services.drain(self._drain_timeout_s))
        self._drain.add_done_callback(lambda _: setattr(self, "should_exit", True))
