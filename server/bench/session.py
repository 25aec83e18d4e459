"""One simulated client: speaks a text, keeps the times, holds the connection as a player would."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from server.bench.figures import play
from server.client import (
    Audio,
    ClientError,
    Completed,
    ConnectError,
    ConnectionLostError,
    FlowingSocket,
    Started,
    TaskFailed,
    TaskOptions,
)
from server.client.connection import FrameListener
from server.commands.options import ServerAddress

Consume = Literal["realtime", "fast", "paced"]

_LEAD_S = 1.0
"""Audio that a paced client takes ahead of its playback."""
_PACED_RECEIVE_BYTES = 16 << 10
"""A small receive window, so that what a paced client does not read stays with the server."""
_PACED_QUEUE_FRAMES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What every session of a load does."""

    pieces: Sequence[str]
    options: TaskOptions
    consume: Consume
    audio_bytes_per_s: float
    """What one second of audio takes in the chosen format."""
    tokens_per_s: float = 0.0
    """0: all pieces at once."""
    prebuffer_s: float = 0.2
    patience_s: float = 60.0
    """For a session beyond the length of its text and audio."""
    token: str = ""
    open_timeout_s: float = 30.0


@dataclass(slots=True)
class SessionRecord:
    """What happened in one session; times are seconds of `time.perf_counter`."""

    first_text_s: float = 0.0
    arrivals_s: array[float] = field(default_factory=lambda: array("d"))
    sizes_bytes: array[int] = field(default_factory=lambda: array("L"))
    completed_s: float = 0.0
    lasted_s: float = 0.0
    """From its connection to its end, with what the player still had to play."""
    failure: str = ""
    """Empty, an NLS status, or what became of the connection."""
    reason: str = ""
    """The same for people."""

    def chunks(self, audio_bytes_per_s: float) -> list[tuple[float, float]]:
        """Arrival and length of each audio frame, in seconds."""
        return [
            (arrival_s, size / audio_bytes_per_s)
            for arrival_s, size in zip(self.arrivals_s, self.sizes_bytes, strict=True)
        ]


class SimulatedClient:
    """Runs one session.

    Args:
        address: the server.
        script: what to do.
        heard: called with the time and the content of every frame from the server.
    """

    def __init__(
        self, address: ServerAddress, script: Script, heard: FrameListener | None = None
    ) -> None:
        self._address = address
        self._script = script
        self._heard = heard
        self._taken_bytes = 0
        self.record = SessionRecord()

    async def run(self, *, leave_after_s: float | None = None) -> SessionRecord:
        """Speak from beginning to end; failures are kept in the record.

        Args:
            leave_after_s: vanish that long after the first text.
        """
        try:
            async with asyncio.timeout(self._limit_s()):
                await self._run(leave_after_s)
        except (ClientError, TimeoutError) as error:
            self.record.failure = _kind(error)
            self.record.reason = str(error)
        return self.record

    def _limit_s(self) -> float:
        speed = self._script.tokens_per_s
        text_s = len(self._script.pieces) / speed if speed else 0.0
        # A character is half a second at most; the server need not be real time when overloaded.
        return self._script.patience_s + text_s + 0.5 * sum(map(len, self._script.pieces))

    async def _run(self, leave_after_s: float | None) -> None:
        options: dict[str, Any] = {"ping_interval": None, "close_timeout": 2.0}
        if self._script.consume == "paced":
            options |= {"max_queue": _PACED_QUEUE_FRAMES, "sock": await self._narrow_socket()}
        server = await FlowingSocket.open(
            self._address.websocket_url,
            token=self._script.token,
            open_timeout_s=self._script.open_timeout_s,
            heard=self._heard,
            **options,
        )
        try:
            await server.start(self._script.options)
            while not isinstance(await server.receive(), Started):
                pass
            async with self._sending(server):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(leave_after_s):
                        await self._listen(server)
            if leave_after_s is not None:
                server.abort()
            elif self._script.consume == "realtime":
                await self._hold()
        finally:
            await server.close()

    async def _narrow_socket(self) -> socket.socket:
        host, _, port = self._address.http_url.rpartition("//")[2].rpartition(":")
        narrow = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PACED_RECEIVE_BYTES)
            narrow.setblocking(False)
            await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
        except OSError as error:
            narrow.close()
            raise ConnectError(f"no connection to {self._address.http_url}: {error}") from error
        return narrow

    @contextlib.asynccontextmanager
    async def _sending(self, server: FlowingSocket) -> AsyncIterator[None]:
        """Send the text, beside the block if it takes time."""
        if not self._script.tokens_per_s:
            await self._send(server)
            yield
            return
        sender = asyncio.create_task(self._send(server))
        try:
            yield
        finally:
            sender.cancel()
            await asyncio.wait([sender])

    async def _send(self, server: FlowingSocket) -> None:
        interval_s = 1 / self._script.tokens_per_s if self._script.tokens_per_s else 0.0
        self.record.first_text_s = begin_s = time.perf_counter()
        for index, piece in enumerate(self._script.pieces):
            wait_s = begin_s + index * interval_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            await server.send(piece)
        await server.stop()

    async def _listen(self, server: FlowingSocket) -> None:
        record = self.record
        while True:
            event = await server.receive()
            if isinstance(event, Audio):
                record.arrivals_s.append(event.at_s)
                record.sizes_bytes.append(len(event.data))
                self._taken_bytes += len(event.data)
                if self._script.consume == "paced":
                    await self._pace()
            elif isinstance(event, Completed):
                record.completed_s = event.at_s
                return

    async def _pace(self) -> None:
        """Take no more than a second ahead of what is being heard."""
        taken_s = self._taken_bytes / self._script.audio_bytes_per_s
        heard_s = time.perf_counter() - self.record.arrivals_s[0]
        if taken_s - heard_s > _LEAD_S:
            await asyncio.sleep(taken_s - heard_s - _LEAD_S)

    async def _hold(self) -> None:
        """Stay until the last sample has been heard."""
        chunks = self.record.chunks(self._script.audio_bytes_per_s)
        playback = play(chunks, self._script.prebuffer_s)
        if playback is not None:
            await asyncio.sleep(max(0.0, playback.ends_s - time.perf_counter()))


def _kind(error: Exception) -> str:
    """What failures are counted by."""
    match error:
        case TaskFailed():
            return str(error.status)
        case ConnectError():
            return f"connect {error.status}" if error.status else "connect"
        case ConnectionLostError():
            return "connection lost"
        case TimeoutError():
            return "timeout"
        case _:
            return type(error).__name__
