"""The WebSocket endpoint of the Aliyun protocol: `/ws/v1/tts` and `/ws/v1`.

One task always reads, because uvicorn stops reading after one unread message: a handler that only
speaks would see neither a stop nor a disconnect. A second task speaks while a speech session is
open. What a frame means is decided by `server.protocols.nls_connection`; here is only the traffic.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket

from server.endpoints.client_socket import CLOSE_GOING_AWAY, CLOSE_NORMAL, GONE, ClientSocket
from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.nls_connection import Connection, State
from server.protocols.nls_task import (
    CancelTask,
    Command,
    FeedText,
    FinishTask,
    FlushText,
    StartTask,
)
from server.speech.session import SpeechSession
from server.speech.types import SessionFinished

_log = structlog.get_logger(__name__)


async def flowing_speech(websocket: WebSocket) -> None:
    """Serve one connection from handshake to close."""
    services: Services = websocket.app.state.services
    if len(services.conversations) >= services.settings.max_connections:
        await websocket.send_denial_response(
            PlainTextResponse("Gateway:TOO_MANY_REQUESTS:Too many connections!", 503)
        )
        return
    refusal: SpeechError | None = None
    tenant = ""
    try:
        tenant = services.authenticator.identify(websocket.headers, websocket.query_params)
    except SpeechError as error:
        refusal = error
        if services.settings.token_refusal == "handshake":  # noqa: S105 - no secret
            body = f"Meta:ACCESS_DENIED:{error.message}"
            await websocket.send_denial_response(PlainTextResponse(body, 403))
            return
    await websocket.accept()
    await _Conversation(websocket, services, tenant, refusal).run()


class _Conversation:
    """One accepted connection.

    Args:
        refusal: why no task may start; told as `TaskFailed` to the first message, because the
            Python SDK and browsers cannot read a refused handshake.
    """

    def __init__(
        self, websocket: WebSocket, services: Services, tenant: str, refusal: SpeechError | None
    ) -> None:
        self._socket = ClientSocket(websocket, send_timeout_s=services.settings.send_timeout_s)
        self._services = services
        self._tenant = tenant
        self._refusal = refusal
        self._protocol = Connection(require_appkey=services.settings.require_appkey)
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
                message = await self._receive()
                if self._protocol.state is State.FAILED or self._socket.closed:
                    continue
                await self._handle(message)
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
            SpeechError: IDLE_TIMEOUT, nothing came for too long while we had nothing to do.
            WebSocketDisconnect: the client is gone.
        """
        while True:
            try:
                return await self._socket.receive(self._patience_s())
            except TimeoutError:
                await self._check_idle()

    def _idle_limit_s(self) -> float:
        settings = self._services.settings
        match self._protocol.state:
            case State.RUNNING:
                return settings.text_timeout_s
            case State.IDLE:
                return settings.idle_timeout_s
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
        if self._protocol.state is State.IDLE and self._protocol.tasks_completed:
            # Its tasks are done; a TaskFailed now would look like the failure of the last one.
            await self._socket.close(CLOSE_NORMAL)
            return
        raise SpeechError(
            ErrorCode.IDLE_TIMEOUT,
            "Websocket session is idle for too long time, the last directive is "
            f"'{nls.echo(self._protocol.last_directive)}'!",
        )

    # --- Doing -------------------------------------------------------------------------------

    async def _handle(self, frame: str | bytes) -> None:
        if self._refusal is not None:
            self._protocol.task_id = nls.peek_task_id(frame)
            raise self._refusal
        command = self._protocol.receive(frame)
        if isinstance(command, StartTask):
            await self._start(command)
        elif command is not None and self._session is not None:
            _apply(command, self._session)

    async def _start(self, command: StartTask) -> None:
        if self._speaker is not None:
            # The last task has ended by protocol; its final frame may still be on its way out.
            await self._speaker
        self._session = self._services.speech.open(
            command.options,
            tenant=self._tenant,
            protocol=self._protocol.task.protocol,
            task_id=self._protocol.task_id,
        )
        if command.text is not None:
            self._session.feed(command.text)
            self._session.finish()
        self._speaker = asyncio.create_task(self._speak(self._session))

    async def _speak(self, session: SpeechSession) -> None:
        """Send what the session tells, until it ends."""
        try:
            await self._socket.send(self._protocol.started())
            async with contextlib.aclosing(session.events()) as events:
                async for event in events:
                    if isinstance(event, SessionFinished):
                        self._release(session)
                    frame = self._protocol.send(event)
                    if frame is not None:
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
