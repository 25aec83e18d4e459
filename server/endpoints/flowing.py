"""The WebSocket endpoint of the Aliyun protocol: `/ws/v1/tts` and `/ws/v1`.

One task always reads, because uvicorn stops reading after one unread message: a handler that only
speaks would see neither a stop nor a disconnect. A second task speaks while a speech session is
open. What a frame means is decided by `server.protocols.nls_flowing`; here is only the traffic.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import structlog
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.handshake import ClientLink
from server.protocols import nls, nls_flowing
from server.protocols.nls_flowing import (
    CancelTask,
    Command,
    FeedText,
    FinishTask,
    FlushText,
    StartTask,
    State,
)
from server.speech.session import SpeechSession
from server.speech.types import SessionFinished

PROTOCOL = "nls-flowing"
_CLOSE_NORMAL = 1000
_CLOSE_TIMEOUT_S = 15.0
_CLOSE_GOING_AWAY = 1001  # 1012 is unknown to Aliyun's Python SDK
_GONE = (WebSocketDisconnect, WebSocketDisconnected, ConnectionError)
"""How Starlette and uvicorn say that the other end has left."""
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
        self._websocket = websocket
        self._services = services
        self._tenant = tenant
        self._refusal = refusal
        self._protocol = nls_flowing.Connection(require_appkey=services.settings.require_appkey)
        self._session: SpeechSession | None = None
        self._speaker: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._closed = False
        self._draining = False
        self._last_message_s = time.monotonic()
        self._link: ClientLink = websocket.scope["state"]["link"]

    async def run(self) -> None:
        """Read until the client or we close."""
        self._services.conversations.add(self)
        self._services.metrics.connection_opened()
        try:
            await self._read()
        except _GONE:
            pass
        finally:
            self._closed = True
            await self._stop_speaking()
            self._link.abort_later(_CLOSE_TIMEOUT_S)
            self._services.conversations.discard(self)
            self._services.metrics.connection_closed()

    async def drain(self) -> None:
        """The server stops: close now if no task runs, else after it."""
        self._draining = True
        if self._session is None:
            await self._close(_CLOSE_GOING_AWAY)

    async def abort(self, error: SpeechError) -> None:
        """End whatever runs with this error."""
        if self._session is not None:
            await self._fail(error)

    # --- Reading -----------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                message = await self._receive()
                if self._protocol.state is State.FAILED or self._closed:
                    continue
                await self._handle(message)
            except SpeechError as error:
                await self._fail(error)
            except _GONE:
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
                async with asyncio.timeout(self._patience_s()):
                    message: dict[str, Any] = dict(await self._websocket.receive())
            except TimeoutError:
                await self._check_idle()
                continue
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            self._last_message_s = time.monotonic()
            text = message.get("text")
            return text if text is not None else message.get("bytes") or b""

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
        signs = [self._last_message_s, self._link.last_ping_s]
        if self._session is not None:
            if self._session.idle_since_s is None:
                return None
            signs.append(self._session.idle_since_s)
        return max(signs)

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
            await self._close(_CLOSE_NORMAL)
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
            protocol=PROTOCOL,
            task_id=self._protocol.task_id,
        )
        self._speaker = asyncio.create_task(self._speak(self._session))

    async def _speak(self, session: SpeechSession) -> None:
        """Send what the session tells, until it ends."""
        try:
            await self._send(self._protocol.started())
            async with contextlib.aclosing(session.events()) as events:
                async for event in events:
                    if isinstance(event, SessionFinished):
                        self._release(session)
                    await self._send(self._protocol.send(event))
        except SpeechError as error:
            await self._end_failed(session, error)
        except _GONE:
            pass
        except Exception:  # noqa: BLE001 - a defect must reach the client, not leave it waiting
            _log.exception("task broke", task_id=nls.echo(self._protocol.task_id))
            await self._end_failed(session, SpeechError(ErrorCode.INTERNAL, "Internal error!"))
        finally:
            self._release(session)
        if self._draining:
            await self._close(_CLOSE_GOING_AWAY)

    def _release(self, session: SpeechSession) -> None:
        """Give the task's place back before the client is told, who may come again at once."""
        session.close()
        if self._session is session:
            self._session = None

    async def _end_failed(self, session: SpeechSession, error: SpeechError) -> None:
        session.fail(error)
        self._release(session)
        await self._send_failure(error)

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
        await self._send_failure(error)

    async def _send_failure(self, error: SpeechError) -> None:
        if self._closed:
            return
        if error.code is ErrorCode.CLIENT_TOO_SLOW:
            # Whatever we sent now would wait behind what it does not read.
            self._closed = True
            self._link.abort()
            return
        # A client that does not read would hold its connection for as long as we try to tell it.
        self._link.abort_later(_CLOSE_TIMEOUT_S)
        with contextlib.suppress(*_GONE, SpeechError):
            await self._send(self._protocol.fail(error))
        await self._close(_CLOSE_NORMAL)

    # --- Sending -----------------------------------------------------------------------------

    async def _send(self, frame: str | bytes) -> None:
        """Send one frame.

        Raises:
            SpeechError: CLIENT_TOO_SLOW, the client has not read for too long.
            WebSocketDisconnect: it is gone.
        """
        if self._link.takes_more and not self._sending.locked():
            # The usual case, without the price of a timer and a lock: this never waits.
            await self._write(frame)
            return
        try:
            async with asyncio.timeout(self._services.settings.send_timeout_s), self._sending:
                await self._write(frame)
        except TimeoutError:
            raise SpeechError(
                ErrorCode.CLIENT_TOO_SLOW, "Client does not read its audio!"
            ) from None

    async def _write(self, frame: str | bytes) -> None:
        if self._closed:
            raise WebSocketDisconnect(1006)
        if isinstance(frame, bytes):
            await self._websocket.send({"type": "websocket.send", "bytes": frame})
        else:
            await self._websocket.send({"type": "websocket.send", "text": frame})

    async def _close(self, code: int) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(*_GONE, TimeoutError):
            async with asyncio.timeout(self._services.settings.send_timeout_s):
                await self._websocket.close(code)


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
