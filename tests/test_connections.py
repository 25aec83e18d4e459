"""Connections that ask for nothing, read nothing, or are too many."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from flowing import eventually
from uvicorn.server import ServerState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server import limits
from server.connections import BoundedHttpProtocol, ConnectionBounds
from server.handshake import FirstKeyProtocol

pytestmark = pytest.mark.anyio

HEAD_TIMEOUT_S = 0.25
PATIENCE_S = 20.0
MAX_CONNECTIONS = 4
REQUEST = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
MASKED_HI = b"\x81\x82\x00\x00\x00\x00hi"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says ok; after a while at /slow, without end at /endless; echoes over WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * HEAD_TIMEOUT_S)
    endless = scope["path"] == "/endless"
    headers = [] if endless else [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while endless and not scope["state"]["stop"].is_set():
        await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class Listener:
    """A server of `app` inside the test."""

    port: int
    state: ServerState

    async def open(self, data: bytes = b"") -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        return Client(reader, writer)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def until_closed(self) -> bytes:
        """All that still comes."""
        received = b""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(65_536):
                    received += data
        self.writer.close()
        return received

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(end)


@pytest.fixture
async def listener(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT_S", HEAD_TIMEOUT_S)
    config = uvicorn.Config(
        app, ws=FirstKeyProtocol, log_config=None, timeout_keep_alive=60, ws_ping_interval=None
    )
    config.load()
    state, stop = ServerState(), asyncio.Event()
    make = functools.partial(
        BoundedHttpProtocol,
        config=config,
        server_state=state,
        app_state={"stop": stop},
        bounds=ConnectionBounds(MAX_CONNECTIONS, write_timeout_s=0.1),
    )
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    yield Listener(server.sockets[0].getsockname()[1], state)
    stop.set()
    server.close()
    for connection in list(state.connections):
        connection.transport.abort()
    await eventually(lambda: not state.connections and not state.tasks)


# --- Nothing is asked for --------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_without_a_whole_request_head_is_dropped(
    listener: Listener, sent: bytes
) -> None:
    client = await listener.open(sent)
    assert await client.until_closed() == b""


@pytest.mark.parametrize("sent", [b"\r\n", b"GET / HTTP/1.1\r\n"])
async def test_half_a_second_request_is_dropped_too(listener: Listener, sent: bytes) -> None:
    client = await listener.open(REQUEST % b"")
    await client.until(b"ok")
    client.writer.write(sent)
    assert await client.until_closed() == b""


async def test_a_head_in_pieces_and_an_answer_that_takes_longer(listener: Listener) -> None:
    request = REQUEST % b"slow"
    client = await listener.open(request[:10])
    client.writer.write(request[10:])
    assert (await client.until(b"ok")).startswith(b"HTTP/1.1 200")
    client.writer.write(request)
    assert (await client.until(b"ok")).startswith(b"HTTP/1.1 200")
    client.writer.close()


async def test_a_head_without_end(listener: Listener) -> None:
    client = await listener.open(b"GET / HTTP/1.1\r\nX: " + bytes([120]) * limits.MAX_HEAD_BYTES)
    assert (await client.until_closed()).startswith(b"HTTP/1.1 431 ")


async def test_a_large_body_is_no_large_head(listener: Listener) -> None:
    size = 3 * limits.MAX_HEAD_BYTES
    client = await listener.open(b"POST /slow HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(3):
        client.writer.write(bytes(limits.MAX_HEAD_BYTES))
        await client.writer.drain()
    assert (await client.until(b"ok")).startswith(b"HTTP/1.1 200")
    client.writer.write(REQUEST % b"")
    assert (await client.until(b"ok")).startswith(b"HTTP/1.1 200")
    client.writer.close()


# --- What was asked for is not read ----------------------------------------------------------


async def test_a_client_that_reads_nothing_is_dropped(listener: Listener) -> None:
    deaf = socket.create_connection(("127.0.0.1", listener.port))
    with deaf:
        deaf.sendall(REQUEST % b"endless")
        await eventually(lambda: bool(listener.state.tasks))
        await eventually(lambda: not listener.state.connections)


# --- Too many --------------------------------------------------------------------------------


async def test_one_connection_too_many_is_closed_and_later_ones_are_not(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT_S", 2 * PATIENCE_S)
    clients = [await listener.open() for _ in range(MAX_CONNECTIONS)]
    await eventually(lambda: len(listener.state.connections) == MAX_CONNECTIONS)
    assert await (await listener.open()).until_closed() == b""
    clients.pop().writer.close()
    await eventually(lambda: len(listener.state.connections) < MAX_CONNECTIONS)
    late = await listener.open(REQUEST % b"")
    assert (await late.until(b"ok")).startswith(b"HTTP/1.1 200")
    for client in [*clients, late]:
        client.writer.close()


# --- WebSockets ------------------------------------------------------------------------------


async def test_a_websocket_may_be_silent(listener: Listener) -> None:
    async with connect(f"ws://127.0.0.1:{listener.port}/", ping_interval=None) as client:
        await asyncio.sleep(2 * HEAD_TIMEOUT_S)
        await client.send("still here")
        assert await client.recv() == "still here"


async def test_a_message_right_behind_the_handshake(listener: Listener) -> None:
    client = await listener.open(UPGRADE + b"\r\n" + MASKED_HI)
    assert b" 101 " in await client.until(b"\r\n\r\n")
    assert await client.until(b"hi") == b"\x81\x02hi"
    client.writer.close()


LONG_LINE = b"X-Long: " + b"x" * 9000 + b"\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (UPGRADE + LONG_LINE, b"431"),
        (UPGRADE + b"X: 1\r\n" * 200, b"431"),
        (UPGRADE.replace(b"/ ", b"/?" + b"q" * 9000 + b" "), b"414"),
    ],
)
async def test_a_handshake_beyond_the_librarys_limits_is_answered(
    listener: Listener, head: bytes, status: bytes
) -> None:
    client = await listener.open(head + b"\r\n" + MASKED_HI)
    assert (await client.until_closed()).startswith(b"HTTP/1.1 " + status)


async def test_at_shutdown_a_websocket_is_told_that_we_go_away(listener: Listener) -> None:
    """uvicorn says 1012, which is a protocol error to Aliyun's Python SDK."""
    async with connect(f"ws://127.0.0.1:{listener.port}/", ping_interval=None) as client:
        [connection] = listener.state.connections
        connection.shutdown()
        connection.shutdown()
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1001
