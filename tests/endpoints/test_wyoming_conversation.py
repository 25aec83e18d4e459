"""One Wyoming connection without a socket: what cannot be waited for, or seen, from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from wyoming.audio import AudioStart, AudioStop
from wyoming.ping import Ping

from server import limits
from server.endpoints.wyoming import Conversation
from server.endpoints.wyoming_hearing import Hearing
from server.errors import ErrorCode, SpeechError
from server.protocols.wyoming_events import encode

pytestmark = pytest.mark.anyio


class DeafRecognition:
    """Never understands anything."""

    sample_rate_hz = 16_000
    audio_s = 0.0
    text = ""
    closed = False

    def open(self, *_: Any, **__: Any) -> DeafRecognition:
        return self

    async def append(self, _: Any) -> None:
        pass

    def finish(self) -> None:
        pass

    async def transcripts(self) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    def fail(self, _: SpeechError) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def services(**parts: Any) -> Any:
    return SimpleNamespace(pool=SimpleNamespace(recognizers={}), **parts)


async def test_a_recogniser_that_never_ends_is_told_and_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "RECOGNITION_TIMEOUT_S", 0.01)
    recognition = DeafRecognition()
    hearing = Hearing(services(recognition=recognition), lambda _: asyncio.sleep(0))
    await hearing.receive(AudioStart(16_000, 2, 1).event())
    with pytest.raises(SpeechError) as late:
        await hearing.receive(AudioStop().event())
    assert late.value.code is ErrorCode.CAPACITY_EXCEEDED
    hearing.fail(late.value)
    assert recognition.closed
    assert not hearing.open


class Flood:
    """A client's stream that brings a thousand pings in one go."""

    last_sign_s = 0.0

    def __init__(self) -> None:
        self.sent = 0
        self._pieces = [encode(*[Ping().event()] * 1000), b""]

    async def receive(self) -> bytes:
        return self._pieces.pop(0)

    async def send(self, _: bytes) -> None:
        self.sent += 1

    def close(self, _: float) -> None:
        pass

    async def wait_closed(self) -> None:
        pass


async def test_a_flood_of_pings_leaves_others_their_turns() -> None:
    metrics = SimpleNamespace(connection_opened=lambda: None, connection_closed=lambda: None)
    settings = SimpleNamespace(idle_timeout_s=60.0, text_timeout_s=60.0)
    stream: Any = Flood()
    conversation = Conversation(stream, services(metrics=metrics, settings=settings), lambda: None)
    served = asyncio.create_task(conversation.run())
    turns = 0
    while not served.done():
        turns += 1
        await asyncio.sleep(0)
    assert stream.sent == 1000
    assert turns > 1000
