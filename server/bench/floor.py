"""The floor: a bare Starlette WebSocket that sends recorded frames from memory.

It does nothing of what the server is for: no model, no text, no encoder, no queue. What it costs
is what uvicorn, Starlette and the kernel cost; the server's own cost is told in multiples of it.
Run as `python -m server.bench.floor TRACE PORT`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from server import limits

_SHORTEST_SLEEP_S = 0.001
"""Frames that left the server closer together than this leave together here."""


class Frame(msgspec.Struct, frozen=True):
    """One frame of the server's, as a client heard it."""

    offset_s: float
    """Since the first text was sent."""
    text: str = ""
    size_bytes: int = 0
    """Of a binary frame."""


class Trace(msgspec.Struct, frozen=True):
    """One whole session."""

    started: str
    """The frame that answers `StartSynthesis`."""
    frames: tuple[Frame, ...]


class _Header(msgspec.Struct):
    name: str


class _Message(msgspec.Struct):
    header: _Header


_decode = msgspec.json.Decoder(_Message).decode


class _Floor:
    """The WebSocket endpoint; every connection hears the trace."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._sounds = {frame.size_bytes: bytes(frame.size_bytes) for frame in trace.frames}

    async def speak(self, websocket: WebSocket) -> None:
        await websocket.accept()
        sender: asyncio.Task[None] | None = None
        while (message := await websocket.receive())["type"] == "websocket.receive":
            name = _decode(message["text"]).header.name
            if name == "StartSynthesis":
                await websocket.send_text(self._trace.started)
            elif name == "RunSynthesis" and sender is None:
                sender = asyncio.create_task(self._send_frames(websocket))
        if sender is not None:
            sender.cancel()
            await asyncio.wait([sender])

    async def _send_frames(self, websocket: WebSocket) -> None:
        begin_s = time.perf_counter()
        for frame in self._trace.frames:
            wait_s = begin_s + frame.offset_s - time.perf_counter()
            if wait_s > _SHORTEST_SLEEP_S:
                await asyncio.sleep(wait_s)
            if frame.text:
                await websocket.send_text(frame.text)
            else:
                await websocket.send_bytes(self._sounds[frame.size_bytes])


async def _healthz(_request: Request) -> Response:
    return Response("ok")


def build_floor(trace: Trace) -> Starlette:
    """The application; every connection hears `trace`."""
    return Starlette(
        routes=[
            Route("/healthz", _healthz),
            WebSocketRoute("/ws/v1/tts", _Floor(trace).speak),
        ]
    )


def uvicorn_options() -> dict[str, Any]:
    """The server's own settings of uvicorn, as `server.serving` has them."""
    return {
        "ws": "websockets-sansio",
        "ws_max_size": limits.MAX_MESSAGE_BYTES,
        "ws_ping_interval": None,
        "ws_per_message_deflate": False,
        "log_config": None,
        "access_log": False,
        "timeout_graceful_shutdown": 2,
    }


def main() -> None:
    """Serve the trace until a signal comes."""
    path, port = sys.argv[1:]
    trace = msgspec.json.decode(Path(path).read_bytes(), type=Trace)
    uvicorn.run(build_floor(trace), host="127.0.0.1", port=int(port), **uvicorn_options())


if __name__ == "__main__":
    main()
