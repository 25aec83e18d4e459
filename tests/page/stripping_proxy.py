"""A reverse proxy that serves a server under a path prefix, as nginx with `location /speech/`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class StrippingProxy:
    """Passes what is below `prefix` on to `address`, without the prefix; the rest gets 404."""

    def __init__(self, address: str, prefix: str) -> None:
        self._upstream_host, _, self._upstream_port = address.partition(":")
        self._prefix = prefix.encode()
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server

    @property
    def address(self) -> str:
        host, port = self._listener.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_details: object) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._listener.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, rest = head.split(b" ", 2)
            if not path.startswith(self._prefix + b"/"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n")
                return
            request = b" ".join([method, path.removeprefix(self._prefix), rest])
            await self._forward(_one_request(request), reader, writer)

    async def _forward(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answers, requests = await asyncio.open_connection(self._upstream_host, self._upstream_port)
        with contextlib.closing(requests):
            requests.write(request)
            upward = asyncio.create_task(_copy(reader, requests))
            try:
                await _copy(answers, writer)
            finally:
                upward.cancel()
                await asyncio.gather(upward, return_exceptions=True)


def _one_request(request: bytes) -> bytes:
    """Only a connection's first request is rewritten, so it must be the last; not so WebSockets."""
    return request.replace(b"Connection: keep-alive\r\n", b"Connection: close\r\n")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
