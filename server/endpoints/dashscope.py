"""DashScope's WebSocket: `/api-ws/v1/inference`, with and without a slash at its end.

One task always reads, a second one speaks while a speech session is open. What a frame means is
decided by `server.protocols.dashscope_socket`; here is only the traffic.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import replace

import structlog
from starlette.websockets import WebSocket

from server.endpoints.client_socket import CLOSE_GOING_AWAY, CLOSE_NORMAL, GONE, ClientSocket
from server.endpoints.dashscope_refusal import refusal
from server.endpoints.dashscope_voices import find_voice
from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.dashscope_messages import (
    CancelTask,
    Command,
    FeedText,
    FinishTask,
    FlushText,
    StartTask,
)
from server.protocols.dashscope_socket import IDLE_TIMEOUT_S, Connection, State
from server.speech.session import SpeechSession
from server.speech.types import SpeechOptions

PROTOCOL = "dashscope"
_log = structlog.get_logger(__name__)


async def stream_speech(websocket: WebSocket) -> None:
    """Serve one connection from handshake to close; a wrong key is refused at the handshake."""
    services: Services = websocket.app.state.services
    try:
        if len(services.conversations) >= services.settings.max_connections:
            raise SpeechError(ErrorCode.CAPACITY_EXCEEDED, "Too many connections!")
        tenant = services.authenticator.identify(
            websocket.headers, websocket.query_params, websocket.query_params.get("api_key", "")
        )
    except SpeechError as error:
        await websocket.send_denial_response(refusal(error, str(uuid.uuid4())))
        return
    await websocket.accept()
    await _Conversation(websocket, services, tenant).run()


class _Conversation:
    """One accepted connection."""

    def __init__(self, websocket: WebSocket, services: Services, tenant: str) -> None:
        self._socket = ClientSocket(websocket, send_timeout_s=services.settings.send_timeout_s)
        self._services = services
        self._tenant = tenant
        self._protocol = Connection()
        self._session: SpeechSession | None = None
        self._speaker: asyncio.Task[None] | None = None
        self._draining = False

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
        if self._session is None:
            await self._socket.close(CLOSE_GOING_AWAY)

    async def abort(self, error: SpeechError) -> None:
        """End whatever runs with this error."""
        if self._session is not None:
            await self._fail(error)

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
            SpeechError: IDLE_TIMEOUT, the running task has got no text for too long.
            WebSocketDisconnect: the client is gone.
        """
        while True:
            try:
                return await self._socket.receive(self._patience_s())
            except TimeoutError:
                await self._check_idle()

    def _idle_limit_s(self) -> float:
        """0 while nothing is expected of the client."""
        settings = self._services.settings
        match self._protocol.state:
            case State.RUNNING:
                return settings.text_timeout_s
            case State.IDLE if settings.idle_timeout_s:
                return max(settings.idle_timeout_s, IDLE_TIMEOUT_S)
            case _:
                return 0.0

    def _quiet_since_s(self) -> float | None:
        """When the last sign of life was, or None while we are the ones who work."""
        if self._session is None:
            return self._socket.last_sign_s
        if self._session.idle_since_s is None:
            return None
        return max(self._socket.last_sign_s, self._session.idle_since_s)

    def _patience_s(self) -> float | None:
        limit_s = self._idle_limit_s()
        if limit_s == 0:
            # The state changes by what we send, not by what we read: look again now and then.
            return 1.0 if self._protocol.state is State.STOPPING else None
        quiet_since_s = self._quiet_since_s()
        if quiet_since_s is None:
            return limit_s
        return max(0.0, quiet_since_s + limit_s - time.monotonic())

    async def _check_idle(self) -> None:
        limit_s, quiet_since_s = self._idle_limit_s(), self._quiet_since_s()
        if limit_s == 0 or quiet_since_s is None or time.monotonic() < quiet_since_s + limit_s:
            return
        if self._protocol.state is State.IDLE:
            # No task is there that could fail.
            await self._socket.close(CLOSE_NORMAL)
            return
        raise SpeechError(ErrorCode.IDLE_TIMEOUT, f"request timeout after {limit_s:g} seconds.")

    # --- Doing -------------------------------------------------------------------------------

    async def _handle(self, frame: str | bytes) -> None:
        command = self._protocol.receive(frame)
        if isinstance(command, StartTask):
            await self._start(command)
        elif command is not None and self._session is not None:
            _apply(command, self._session)

    async def _start(self, task: StartTask) -> None:
        if self._session is not None:
            # A new task ends the one that runs, which is told as its end.
            self._protocol.cancel()
            self._session.cancel()
        if self._speaker is not None:
            await self._speaker
        if self._socket.closed:
            return
        self._protocol.begin(task)
        session = self._services.speech.open(
            self._options(task), tenant=self._tenant, protocol=PROTOCOL, task_id=task.task_id
        )
        self._session = session
        if task.text:
            session.feed(task.text)
        if not task.streamed:
            session.finish()
        self._speaker = asyncio.create_task(self._speak(session))

    def _options(self, task: StartTask) -> SpeechOptions:
        voice = find_voice(self._services, task.options.voice, model=task.model)
        return replace(task.options, voice=voice)

    async def _speak(self, session: SpeechSession) -> None:
        """Send what the session tells, until it ends."""
        try:
            await self._socket.send(self._protocol.started())
            async with contextlib.aclosing(session.events()) as events:
                async for event in events:
                    frames = self._protocol.send(event)
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


def _apply(command: Command, session: SpeechSession) -> None:
    match command:
        case FeedText(text):
            session.feed(text)
        case FlushText():
            session.flush()
        case FinishTask():
            session.finish()
        case CancelTask():
            session.cancel()
