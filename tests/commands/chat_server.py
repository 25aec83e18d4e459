"""A chat completions server that streams what the test gives it, when it gives it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

END = "data: [DONE]\n\n"


def chunk(content: str | None = None, **delta: object) -> str:
    """A `chat.completion.chunk` as a server-sent event."""
    if content is not None:
        delta["content"] = content
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"


class ChatServer:
    """Listens on a free port of 127.0.0.1 while its block runs.

    Args:
        refusal: status and body instead of a stream.
        media_type: of the stream.
    """

    def __init__(
        self,
        *stream: str,
        refusal: tuple[int, object] | None = None,
        media_type: str = "text/event-stream",
    ) -> None:
        self._begin = stream
        self._refusal = refusal
        self._media_type = media_type
        self.requests: list[tuple[dict, dict]] = []
        """Headers and body of each."""
        self.asked = threading.Event()
        self.left = threading.Event()
        """The client closed a stream that had not ended."""

    def feed(self, text: str) -> None:
        """Send more of the stream; `END` ends it."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, text)

    @property
    def url(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/v1"

    async def _complete(self, request: Request) -> Response:
        self.requests.append((dict(request.headers), await request.json()))
        self.asked.set()
        if self._refusal is not None:
            status, body = self._refusal
            return JSONResponse(body, status)
        return StreamingResponse(self._stream(), media_type=self._media_type)

    async def _stream(self) -> AsyncIterator[str]:
        ended = False
        try:
            for text in self._begin:
                yield text
            while not ended:
                text = await self._queue.get()
                ended = text == END
                yield text
        finally:
            if not ended:
                self.left.set()

    async def _serve(self) -> None:
        self._loop, self._queue = asyncio.get_running_loop(), asyncio.Queue()
        await self._server.serve()

    def __enter__(self) -> Self:
        started = threading.Event()

        class Server(uvicorn.Server):
            async def startup(self, sockets: object = None) -> None:
                await super().startup(sockets)  # type: ignore[arg-type]
                started.set()

        app = Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])
        self._server = Server(
            uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
