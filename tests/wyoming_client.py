"""The package's own client, as Home Assistant uses it, with a patience."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from flowing import PATIENCE_S
from server_process import ServerProcess
from wyoming.audio import AudioChunk
from wyoming.client import AsyncTcpClient
from wyoming.event import Event, Eventable


def port_of(process: ServerProcess) -> int:
    """Where a server that was started with `--wyoming` listens; to be asked once."""
    return int(process.announced("Wyoming").rpartition(":")[2])


class WyomingClient:
    """One connection; `received` holds all events in order."""

    def __init__(self, port: int) -> None:
        self._client = AsyncTcpClient(
            "127.0.0.1", port, connect_timeout=PATIENCE_S, read_timeout=PATIENCE_S
        )
        self.received: list[Event] = []

    async def __aenter__(self) -> Self:
        await self._client.connect()
        return self

    async def __aexit__(self, *_details: object) -> None:
        # A server that has dropped us is no failure of the test.
        with contextlib.suppress(ConnectionError):
            await self._client.disconnect()

    async def send(self, *events: Eventable) -> None:
        for event in events:
            await self._client.write_event(event.event())

    async def send_raw(self, data: bytes) -> None:
        assert self._client._writer is not None
        self._client._writer.write(data)
        await self._client._writer.drain()

    async def receive(self) -> Event | None:
        """The next event; None when the server has closed."""
        event = await self._client.read_event()
        if event is not None:
            self.received.append(event)
        return event

    async def until(self, event_type: str) -> Event:
        while (event := await self.receive()) is not None:
            if event.type == event_type:
                return event
        raise AssertionError(f"closed before {event_type}: {self.types}")

    async def until_closed(self) -> None:
        while await self.receive() is not None:
            pass

    @property
    def types(self) -> list[str]:
        """What came, without repetitions in a row."""
        types = [event.type for event in self.received]
        return [one for i, one in enumerate(types) if i == 0 or types[i - 1] != one]

    @property
    def audio(self) -> bytes:
        return b"".join(
            AudioChunk.from_event(event).audio
            for event in self.received
            if AudioChunk.is_type(event.type)
        )


async def wait_closed_quietly(client: WyomingClient) -> None:
    """Until the server has closed, be it by a reset."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await client.until_closed()
    except ConnectionError:
        pass
