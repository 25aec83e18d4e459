"""The client that programs use: a reader task and deadlines around one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from types import TracebackType
from typing import Self

from server.client.connection import FlowingSocket
from server.client.errors import ClientError, ConnectionLostError, ServerSilentError
from server.client.messages import Completed, Event, Started, TaskOptions

KEEP_ALIVE_S = 4.0
"""Between WebSocket pings; the server ends a connection on which nothing came for 10 s, and a ping
counts."""


class FlowingClient:
    """One connection with a reader task: events are taken and stamped as they arrive.

    Iterating yields the events of the running task up to and including `Completed`. What has been
    heard and not yet been iterated waits in memory without a bound, because a server must not be
    slowed down by the pace of a player.

        async with await FlowingClient.connect(url) as client:
            await client.start(TaskOptions(voice="中文女", format="wav"))
            await client.send("你好，")
            await client.send("世界。")
            await client.stop()
            async for event in client:
                ...

    Args:
        socket: an open connection; `connect` makes one.
        inactivity_timeout_s: after `start` and `stop`, the longest time without any message.
        overall_timeout_s: the longest time from `start` to `Completed`; None: any.
    """

    def __init__(
        self,
        socket: FlowingSocket,
        *,
        inactivity_timeout_s: float = 30.0,
        overall_timeout_s: float | None = None,
    ) -> None:
        self._socket = socket
        self._inactivity_timeout_s = inactivity_timeout_s
        self._overall_timeout_s = overall_timeout_s
        self._events: asyncio.Queue[Event | ClientError] = asyncio.Queue()
        self._failure: ClientError | None = None
        self._server_is_due = False
        self._quiet_since_s = self._started_at_s = _now_s()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(
        cls,
        url: str,
        token: str = "",
        *,
        open_timeout_s: float = 10.0,
        close_timeout_s: float = 2.0,
        inactivity_timeout_s: float = 30.0,
        overall_timeout_s: float | None = None,
    ) -> Self:
        """Connect to `url` (`ws://` or `wss://`); the other timeouts are described at the class.

        Raises:
            ConnectError: no server, a refused handshake, or no answer within `open_timeout_s`.
        """
        socket = await FlowingSocket.open(
            url,
            token=token,
            open_timeout_s=open_timeout_s,
            close_timeout=close_timeout_s,
            ping_interval=KEEP_ALIVE_S,
        )
        return cls(
            socket, inactivity_timeout_s=inactivity_timeout_s, overall_timeout_s=overall_timeout_s
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self, options: TaskOptions) -> Started:
        """Begin a task and wait until the server has accepted it.

        Raises:
            ClientError: it has not.
        """
        self._started_at_s = _now_s()
        self._expect_server(due=True)
        await self._deliver(self._socket.start(options))
        while not isinstance(event := await self._next(), Started):
            pass
        self._expect_server(due=False)
        return event

    async def send(self, text: str) -> None:
        """Send a piece of text; an empty one is not sent.

        Raises:
            ClientError: the task has failed.
        """
        if text:
            await self._deliver(self._socket.send(text))

    async def flush(self) -> None:
        """Ask for what was sent to be spoken now, without waiting for more text.

        Raises:
            ClientError: the task has failed.
        """
        await self._deliver(self._socket.flush())

    async def stop(self) -> None:
        """Say that no more text comes.

        Raises:
            ClientError: the task has failed.
        """
        self._expect_server(due=True)
        await self._deliver(self._socket.stop())

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            event = await self._next()
            yield event
            if isinstance(event, Completed):
                self._expect_server(due=False)
                return

    async def close(self) -> None:
        """End the connection at any time; the server then stops what it still does for us."""
        # The reader goes on meanwhile: the answer to our Close stands behind audio on its way.
        await self._socket.close()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        try:
            while True:
                event = await self._socket.receive()
                self._quiet_since_s = _now_s()
                self._events.put_nowait(event)
        except ClientError as error:
            self._failure = error
            self._events.put_nowait(error)

    def _expect_server(self, *, due: bool) -> None:
        self._server_is_due = due
        self._quiet_since_s = _now_s()

    async def _deliver(self, sending: Awaitable[None]) -> None:
        """Send; if the connection is gone, the reason that the server gave before counts."""
        try:
            await sending
        except ConnectionLostError:
            await asyncio.wait([self._reader])
            if self._failure is None:
                raise
            raise self._failure from None

    async def _next(self) -> Event:
        while True:
            try:
                async with asyncio.timeout_at(self._next_look_s()):
                    event = await self._events.get()
            except TimeoutError:
                self._raise_if_late()
                continue
            if isinstance(event, ClientError):
                self._events.put_nowait(event)
                raise event
            return event

    def _next_look_s(self) -> float:
        quiet_since_s = self._quiet_since_s if self._server_is_due else _now_s()
        look_s = quiet_since_s + self._inactivity_timeout_s
        if self._overall_timeout_s is None:
            return look_s
        return min(look_s, self._started_at_s + self._overall_timeout_s)

    def _raise_if_late(self) -> None:
        now_s, limit_s = _now_s(), self._inactivity_timeout_s
        if self._server_is_due and now_s >= self._quiet_since_s + limit_s:
            raise ServerSilentError(f"nothing came from the server for {limit_s:g} s")
        overall_s = self._overall_timeout_s
        if overall_s is not None and now_s >= self._started_at_s + overall_s:
            raise ServerSilentError(f"the task did not complete within {overall_s:g} s")


def _now_s() -> float:
    return asyncio.get_running_loop().time()
