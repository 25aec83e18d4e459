"""The port on which Home Assistant finds this server."""

from __future__ import annotations

import asyncio
import socket

import structlog

from server import limits
from server.endpoints.client_stream import ClientStream
from server.endpoints.services import Services
from server.endpoints.wyoming import Conversation
from server.errors import ErrorCode, SpeechError
from server.protocols import wyoming
from server.protocols.wyoming_events import encode

_NOTICE_TIMEOUT_S = 1.0
"""For connections to end after they were dropped."""
_log = structlog.get_logger(__name__)


class WyomingListener:
    """Takes connections, and ends them when the server does.

    Args:
        sock: bound already, but not listening.
        named: the operator has named the address, and by that let in whoever reaches it, also
            while there are tokens or keys: the protocol has no place for one.
    """

    def __init__(self, sock: socket.socket, services: Services, *, named: bool) -> None:
        self._sock = sock
        self._services = services
        self._named = named
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._full = False

    async def open(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(
            self._accept, sock=self._sock, limit=limits.MAX_HEAD_BYTES
        )

    async def close(self, patience_s: float) -> None:
        """Take no more connections, and drop those that do not end by themselves."""
        if self._server is None:
            return
        self._server.close()
        for timeout_s in (patience_s, _NOTICE_TIMEOUT_S):
            if self._connections:
                await asyncio.wait(list(self._connections), timeout=timeout_s)
            for writer in self._connections.values():
                writer.transport.abort()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        refusal = self._refusal()
        if refusal is not None:
            writer.write(encode(wyoming.render(refusal)))
            writer.close()
            return
        settings = self._services.settings
        stream = ClientStream(reader, writer, send_timeout_s=settings.send_timeout_s)
        conversation = Conversation(stream, self._services, self._permit)
        # Not in its own task, which begins later: many may come at once.
        self._services.conversations.add(conversation)
        task = asyncio.create_task(conversation.run())
        self._connections[task] = writer

        def ended(task: asyncio.Task[None]) -> None:
            self._services.conversations.discard(conversation)
            del self._connections[task]

        task.add_done_callback(ended)

    def _refusal(self) -> SpeechError | None:
        """Why no connection is taken now."""
        if self._services.draining:
            return SpeechError(ErrorCode.SHUTTING_DOWN, "Server is shutting down, connect again!")
        full = len(self._services.conversations) >= self._services.settings.max_connections
        if full and not self._full:
            _log.warning("too many connections, new ones are refused", protocol="wyoming")
        self._full = full
        return SpeechError(ErrorCode.CAPACITY_EXCEEDED, "Too many connections!") if full else None

    def _permit(self) -> None:
        """Refuse everybody when a key has become necessary, which nobody can show.

        Raises:
            SpeechError: TOKEN_INVALID.
        """
        if not self._named and self._services.authenticator.required:
            raise SpeechError(
                ErrorCode.TOKEN_INVALID,
                "This server asks for a key, and Wyoming has none to show; whoever runs it can "
                "let Wyoming in by naming its address: --wyoming HOST:PORT",
            )
