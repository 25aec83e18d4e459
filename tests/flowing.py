"""A bare client of the Aliyun protocol for tests: it sends what it is told, right or wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PATIENCE_S = 30.0
"""A test that waits longer than this for a message hangs."""


class FlowingSocket:
    """One connection; `received` holds all messages and frames in order."""

    def __init__(self, url: str, **options: Any) -> None:
        self._connecting = connect(url, ping_interval=None, **options)
        self.received: list[dict[str, Any] | bytes] = []
        self.task_id = ""
        self.patience_s = PATIENCE_S
        self.socket: ClientConnection

    async def __aenter__(self) -> Self:
        self.socket = await self._connecting.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._connecting.__aexit__(*details)  # type: ignore[arg-type]

    async def send(self, name: str, payload: Any = None, **header: Any) -> None:
        message: dict[str, Any] = {
            "header": {
                "message_id": uuid.uuid4().hex,
                "task_id": self.task_id,
                "namespace": "FlowingSpeechSynthesizer",
                "name": name,
                "appkey": "test",
                **header,
            }
        }
        if payload is not None:
            message["payload"] = payload
        await self.socket.send(json.dumps(message))

    async def start(self, **payload: Any) -> None:
        self.task_id = uuid.uuid4().hex
        await self.send("StartSynthesis", payload)

    async def run(self, text: str) -> None:
        await self.send("RunSynthesis", {"text": text})

    async def stop(self, **payload: Any) -> None:
        await self.send("StopSynthesis", payload or None)

    async def receive(self) -> dict[str, Any] | bytes:
        async with asyncio.timeout(self.patience_s):
            frame = await self.socket.recv()
        message = frame if isinstance(frame, bytes) else json.loads(frame)
        self.received.append(message)
        return message

    async def until(self, name: str) -> dict[str, Any]:
        """Receive up to this message. TaskFailed in its place fails the test."""
        while True:
            message = await self.receive()
            if isinstance(message, dict):
                seen = message["header"]["name"]
                if seen == name:
                    return message
                assert seen != "TaskFailed", message["header"]

    async def until_audio(self) -> bytes:
        while True:
            message = await self.receive()
            if isinstance(message, bytes):
                return message

    async def until_closed(self) -> int:
        """Receive all that still comes; return the close code."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.receive()
        assert self.socket.close_code is not None
        return self.socket.close_code

    @property
    def names(self) -> list[str]:
        return [m["header"]["name"] for m in self.received if isinstance(m, dict)]

    @property
    def audio(self) -> bytes:
        return b"".join(m for m in self.received if isinstance(m, bytes))

    @property
    def failure(self) -> dict[str, Any]:
        """The header of the TaskFailed that came."""
        failures = [
            m["header"]
            for m in self.received
            if isinstance(m, dict) and m["header"]["name"] == "TaskFailed"
        ]
        assert len(failures) == 1, self.names
        return failures[0]


async def speak(url: str, *pieces: str, **payload: Any) -> FlowingSocket:
    """A whole task: all pieces at once, then everything that comes back."""
    async with FlowingSocket(url) as client:
        await client.start(**payload)
        for piece in pieces:
            await client.run(piece)
        await client.stop()
        await client.until("SynthesisCompleted")
        return client


def samples_of(pcm: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something outside becomes true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)
