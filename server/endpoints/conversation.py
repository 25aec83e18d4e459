"""A WebSocket on which one task of speech follows another, whatever the protocol.

One task always reads, because uvicorn stops reading after one unread message: a handler that only
speaks would see neither a stop nor a disconnect. A second task speaks while a speech session is
open. What a frame means is decided by the protocol's state machine; here is only the traffic.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

import structlog
from starlette.websockets import WebSocket

from server.endpoints.client_socket import CLOSE_GOING_AWAY, CLOSE_NORMAL, GONE, ClientSocket
from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.task import (
    CancelTask,
    FeedText,
    FinishTask,
    FlushText,
    State,
    TaskCommand,
)
from server.speech.session import SpeechSession
from server.speech.types import SessionEvent, SpeechOptions

_POLL_S = 1.0
_log = structlog.get_logger(__name__)


class TaskProtocol(Protocol):
    """The state machine of a connection, without I/O."""

    state: State
    task_id: str

    def started(self) -> str:
        """The answer to the message that started the task."""

    def fail(self, error: SpeechError) -> str:
        """Tell the client of an error; the task is over."""


_ProtocolT = TypeVar("_ProtocolT", bound=TaskProtocol)


class SpeechConversation(ABC, Generic[_ProtocolT]):
    """One accepted connection.

    Args:
        websocket: accepted.
        services: what endpoints share.
        tenant: whose tasks these are.
        protocol: what its frames mean.
        idle_timeout_s: how long it may stay open without a task; 0 for ever.
    """

    def __init__(
        self,
        websocket: WebSocket,
        services: Services,
        tenant: str,
        protocol: _ProtocolT,
        *,
        idle_timeout_s: float,
    ) -> None:
        self._socket = ClientSocket(websocket, send_timeout_s=services.settings.send_timeout_s)
        self._services = services
        self._tenant = tenant
        self._protocol = protocol
        self._idle_timeout_s = idle_timeout_s
        self._session: SpeechSession | None = None
        self._speaker: asyncio.Task[None] | None = None
        self._spoken_s = 0.0
        self._draining = False

    @abstractmethod
    async def _handle(self, frame: str | bytes) -> None:
        """Do what a message asks for.

        Raises:
            SpeechError: the client made a mistake.
        """

    @abstractmethod
    def _frames(self, event: SessionEvent) -> tuple[str | bytes, ...]:
        """What is sent for an event of the session.

        Raises:
            SpeechError: the task has failed.
        """

    @abstractmethod
    def _idle_error(self, limit_s: float) -> SpeechError | None:
        """What a client is told that was quiet for too long; None closes without a word."""

    # --- The connection ----------------------------------------------------------------------

    async def run(self) -> None:
        """Read until the client or we close."""
        self._services.conversations.add(self)
        self._services.metrics.connection_opened()
        try:
            await self._read()
        except GONE:
            pass
        finally:
            self._socket.closed = True
            await self._stop_speaking()
            self._socket.abandon()
            self._services.conversations.discard(self)
            self._services.metrics.connection_closed()

    async def drain(self) -> None:
        """The server stops: close now if no task runs, else after it."""
        self._draining = True
        if not self._speaking:
            await self._socket.close(CLOSE_GOING_AWAY)

    async def abort(self, error: SpeechError) -> None:
        """End whatever runs with this error."""
        if self._session is not None:
            await self._fail(error)

    @property
    def _speaking(self) -> bool:
        """A task's last frame has not left yet."""
        return self._speaker is not None and not self._speaker.done()

    # --- Reading -----------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                frame = await self._receive()
                if self._protocol.state is State.FAILED or self._socket.closed:
                    continue
                await self._handle(frame)
            except SpeechError as error:
                await self._fail(error)
            except GONE:
                raise
            except Exception:  # noqa: BLE001 - as in `_speak`
                _log.exception("connection broke", task_id=nls.echo(self._protocol.task_id))
                await self._fail(SpeechError(ErrorCode.INTERNAL, "Internal error!"))

    async def _receive(self) -> str | bytes:
        """The next message.

        Raises:
            SpeechError: nothing came for too long while we had nothing to do.
            WebSocketDisconnect: the client is gone.
        """
        while True:
            try:
                return await self._socket.receive(self._patience_s())
            except TimeoutError:
                await self._check_idle()

    def _idle_limit_s(self) -> float:
        """0 while nothing is expected of the client."""
        match self._protocol.state:
            case State.RUNNING:
                return self._services.settings.text_timeout_s
            case State.IDLE:
                return self._idle_timeout_s
            case _:
                return 0.0

    def _quiet_since_s(self) -> float | None:
        """When the last sign of life was, or None while we are the ones who work."""
        if self._session is not None:
            idle_since_s = self._session.idle_since_s
        else:
            # What a client has to wait for is no time of its own.
            idle_since_s = None if self._speaking else self._spoken_s
        return None if idle_since_s is None else max(self._socket.last_sign_s, idle_since_s)

    def _patience_s(self) -> float | None:
        limit_s = self._idle_limit_s()
        if limit_s == 0:
            # The state changes by what we send, not by what we read: look again now and then.
            return _POLL_S if self._protocol.state is State.STOPPING else None
        quiet_since_s = self._quiet_since_s()
        if quiet_since_s is None:
            return limit_s
        return max(0.0, quiet_since_s + limit_s - time.monotonic())

    async def _check_idle(self) -> None:
        limit_s, quiet_since_s = self._idle_limit_s(), self._quiet_since_s()
        if limit_s == 0 or quiet_since_s is None or time.monotonic() < quiet_since_s + limit_s:
            return
        error = self._idle_error(limit_s)
        if error is not None:
            raise error
        await self._socket.close(CLOSE_NORMAL)

    # --- Doing -------------------------------------------------------------------------------

    async def _ready(self) -> bool:
        """Wait until the last task's final frame has left; False if it was the connection's."""
        if self._speaker is not None:
            await self._speaker
        return not self._socket.closed

    def _begin(self, options: SpeechOptions, *, protocol: str, text: str, whole: bool) -> None:
        """Start the protocol's task.

        Args:
            options: what is asked for.
            protocol: its name in logs and metrics.
            text: to begin with.
            whole: no more text comes.

        Raises:
            SpeechError: it cannot be.
        """
        session = self._services.speech.open(
            options, tenant=self._tenant, protocol=protocol, task_id=self._protocol.task_id
        )
        self._session = session
        if text:
            session.feed(text)
        if whole:
            session.finish()
        self._speaker = asyncio.create_task(self._speak(session))

    def _apply(self, command: TaskCommand) -> None:
        """Do it for the running task; nothing if it has just ended."""
        if self._session is None:
            return
        match command:
            case FeedText(text):
                self._session.feed(text)
            case FlushText():
                self._session.flush()
            case FinishTask():
                self._session.finish()
            case CancelTask():
                self._session.cancel()

    async def _speak(self, session: SpeechSession) -> None:
        """Send what the session tells, until it ends."""
        try:
            await self._socket.send(self._protocol.started())
            async with contextlib.aclosing(session.events()) as events:
                async for event in events:
                    frames = self._frames(event)
                    if self._protocol.state is State.IDLE:
                        self._release(session)
                    for frame in frames:
                        await self._socket.send(frame)
        except SpeechError as error:
            await self._end_failed(session, error)
        except GONE:
            pass
        except Exception:  # noqa: BLE001 - a defect must reach the client, not leave it waiting
            _log.exception("task broke", task_id=nls.echo(self._protocol.task_id))
            await self._end_failed(session, SpeechError(ErrorCode.INTERNAL, "Internal error!"))
        finally:
            self._release(session)
            self._spoken_s = time.monotonic()
        if self._draining:
            await self._socket.close(CLOSE_GOING_AWAY)

    def _release(self, session: SpeechSession) -> None:
        """Give the task's place back before the client is told, who may come again at once."""
        session.close()
        if self._session is session:
            self._session = None

    async def _end_failed(self, session: SpeechSession, error: SpeechError) -> None:
        session.fail(error)
        self._release(session)
        await self._socket.end(self._protocol.fail(error), error)

    async def _stop_speaking(self) -> None:
        session, speaker = self._session, self._speaker
        if session is not None:
            session.cancel()
        if speaker is not None and speaker is not asyncio.current_task():
            speaker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await speaker
        if session is not None:
            # A speaker that was cancelled before its first step has released nothing.
            self._release(session)

    async def _fail(self, error: SpeechError) -> None:
        """End the running task, if any, with an error, then close."""
        if self._session is not None:
            self._session.fail(error)
        else:
            # A task that was open has its summary line; this one has no other.
            _log.info(
                "task refused",
                task_id=nls.echo(self._protocol.task_id),
                code=error.code.value,
                reason=error.message,
            )
        await self._stop_speaking()
        await self._socket.end(self._protocol.fail(error), error)
