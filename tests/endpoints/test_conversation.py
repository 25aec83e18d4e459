"""What holds for every protocol whose tasks follow one another on a WebSocket, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from server.endpoints.conversation import SpeechConversation
from server.errors import SpeechError
from server.protocols.task import State
from server.speech.types import SessionEvent, SessionFinished, SpeechOptions

pytestmark = pytest.mark.anyio


class Protocol:
    """A task's last frame is `end`."""

    state = State.IDLE
    task_id = "task"

    def started(self) -> str:
        return "started"

    def fail(self, error: SpeechError) -> str:
        return f"failed: {error.message}"


class Conversation(SpeechConversation[Protocol]):
    """The first message starts a task."""

    async def _handle(self, frame: str | bytes) -> None:
        self._protocol.state = State.STOPPING
        self._begin(SpeechOptions(voice="any"), protocol="test", text=str(frame), whole=True)

    def _frames(self, _event: SessionEvent) -> tuple[str | bytes, ...]:
        self._protocol.state = State.IDLE
        return ("end",)

    def _idle_error(self, _limit_s: float) -> SpeechError | None:
        return None


class Session:
    """Has nothing to say but that it has ended."""

    idle_since_s = None

    def feed(self, text: str) -> None: ...

    def finish(self) -> None: ...

    def cancel(self) -> None: ...

    def close(self) -> None: ...

    async def events(self) -> AsyncGenerator[SessionEvent]:
        yield SessionFinished(summary=SimpleNamespace())  # type: ignore[arg-type]


class Client:
    """A WebSocket whose client says `text`, and takes `end` when it is told to."""

    def __init__(self) -> None:
        link = SimpleNamespace(takes_more=True, last_ping_s=0.0, abort_later=lambda _s: None)
        self.scope = {"state": {"link": link}}
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.receive", "text": "text"})
        self.asked = asyncio.Event()
        self.takes = asyncio.Event()
        self.received: list[str | int] = []

    async def receive(self) -> dict[str, Any]:
        return await self.incoming.get()

    async def send(self, message: dict[str, Any]) -> None:
        if message["text"] == "end":
            self.asked.set()
            await self.takes.wait()
        self.received.append(message["text"])

    async def close(self, code: int) -> None:
        self.received.append(code)
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": code})


def services() -> Any:
    nothing = SimpleNamespace(connection_opened=lambda: None, connection_closed=lambda: None)
    return SimpleNamespace(
        settings=SimpleNamespace(send_timeout_s=30.0, text_timeout_s=0.0),
        metrics=nothing,
        conversations=set(),
        speech=SimpleNamespace(open=lambda *_options, **_names: Session()),
    )


async def test_a_shutdown_waits_for_a_task_whose_last_frame_waits_for_the_client() -> None:
    client = Client()
    conversation = Conversation(client, services(), "", Protocol(), idle_timeout_s=0.0)  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        running = asyncio.create_task(conversation.run())
        await client.asked.wait()
        await conversation.drain()
        client.takes.set()
        await running
    assert client.received == ["started", "end", 1001]


async def test_a_shutdown_closes_a_connection_without_a_task_at_once() -> None:
    client = Client()
    client.incoming = asyncio.Queue()
    conversation = Conversation(client, services(), "", Protocol(), idle_timeout_s=0.0)  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        running = asyncio.create_task(conversation.run())
        await conversation.drain()
        await running
    assert client.received == [1001]
