"""Qiniu's speech: `/voice/tts` over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from server.endpoints.client_socket import CLOSE_GOING_AWAY, CLOSE_NORMAL, GONE, ClientSocket
from server.endpoints.qiniu_refusal import refusal
from server.endpoints.request_body import read_body
from server.endpoints.services import Services
from server.endpoints.speech_response import HttpSpeech, SpeechResponse
from server.errors import ErrorCode, SpeechError
from server.protocols import qiniu, qiniu_tts
from server.speech.session import SpeechSession
from server.speech.types import SessionFinished

PROTOCOL = "qiniu-tts"
_VOICE_HEADER = "voicetype"
_CLIENT_CLOSED_REQUEST = 499
"""nginx's status for it; nobody reads it."""
_log = structlog.get_logger(__name__)


# --- Speaking over HTTP ----------------------------------------------------------------------


async def synthesize(request: Request) -> Response:
    """`POST /voice/tts`: the reply is one JSON object, sent as its audio is made."""
    reqid = qiniu.new_reqid()
    try:
        return await _speak(request, reqid)
    except SpeechError as error:
        return refusal(error, reqid)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    except Exception:  # noqa: BLE001 - a defect is told in the protocol's form, too
        _log.exception("task broke", task_id=reqid)
        return refusal(SpeechError(ErrorCode.INTERNAL, "Internal error!"), reqid)


async def _speak(request: Request, reqid: str) -> Response:
    services: Services = request.app.state.services
    tenant = services.authenticator.identify(request.headers, request.query_params)
    body = await read_body(request)
    wanted = qiniu_tts.read_request(body, voice_header=request.headers.get(_VOICE_HEADER, ""))
    session = services.speech.open(wanted.options, tenant=tenant, protocol=PROTOCOL, task_id=reqid)
    speech = _JsonSpeech(session, wanted.text, qiniu_tts.ReplyWriter(reqid))
    if not await speech.begin(request.receive):
        raise qiniu_tts.nothing_to_say()
    return SpeechResponse(
        speech,
        send_timeout_s=services.settings.send_timeout_s,
        media_type="application/json",
        headers={qiniu.REQID_HEADER: reqid},
    )


class _JsonSpeech(HttpSpeech):
    """Speech whose bytes stand in a JSON string."""

    def __init__(self, session: SpeechSession, text: str, writer: qiniu_tts.ReplyWriter) -> None:
        super().__init__(session, text)
        self._writer = writer

    async def audio(self) -> AsyncGenerator[bytes]:
        yield self._writer.begin()
        async with contextlib.aclosing(super().audio()) as audio:
            async for data in audio:
                if part := self._writer.add(data):
                    yield part
        yield self._writer.end(self.duration_s)


# --- Speaking over a WebSocket ---------------------------------------------------------------


async def stream_speech(websocket: WebSocket) -> None:
    """`/voice/tts` with an upgrade: one request, its audio in many messages, and a close."""
    services: Services = websocket.app.state.services
    stream = qiniu_tts.Stream(voice_header=websocket.headers.get(_VOICE_HEADER, ""))
    try:
        if len(services.conversations) >= services.settings.max_connections:
            raise SpeechError(ErrorCode.CAPACITY_EXCEEDED, "Too many connections!")
        tenant = services.authenticator.identify(websocket.headers, websocket.query_params)
    except SpeechError as error:
        await websocket.send_denial_response(refusal(error, stream.reqid))
        return
    await websocket.accept(headers=[(b"x-reqid", stream.reqid.encode())])
    await _Conversation(websocket, services, tenant, stream).run()


class _Conversation:
    """One accepted connection: a task reads, another speaks, as in `conversation`."""

    def __init__(
        self, websocket: WebSocket, services: Services, tenant: str, stream: qiniu_tts.Stream
    ) -> None:
        self._socket = ClientSocket(websocket, send_timeout_s=services.settings.send_timeout_s)
        self._services = services
        self._tenant = tenant
        self._stream = stream
        self._session: SpeechSession | None = None
        self._speaker: asyncio.Task[None] | None = None
        self._completed = False

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
            self._abandon()
            self._services.conversations.discard(self)
            self._services.metrics.connection_closed()

    def _abandon(self) -> None:
        """Leave the connection to its end: who has all of the audio to come may take its time."""
        if self._completed:
            self._socket.abandon(self._services.settings.send_timeout_s)
        else:
            self._socket.abandon()

    async def drain(self) -> None:
        """The server stops: close now, unless there is audio to come."""
        if self._speaker is None:
            await self._socket.close(CLOSE_GOING_AWAY)

    async def abort(self, error: SpeechError) -> None:
        """End what runs with this error."""
        await self._fail(error)

    async def _read(self) -> None:
        while True:
            try:
                frame = await self._receive()
                if not self._socket.closed:
                    self._start(frame)
            except SpeechError as error:
                await self._fail(error)
            except GONE:
                raise
            except Exception:  # noqa: BLE001 - a defect must reach the client
                _log.exception("connection broke", task_id=self._stream.reqid)
                await self._fail(SpeechError(ErrorCode.INTERNAL, "Internal error!"))

    async def _receive(self) -> str | bytes:
        """The next message.

        Raises:
            SpeechError: IDLE_TIMEOUT, there is no request yet, and none came for too long.
        """
        idle_timeout_s = self._services.settings.idle_timeout_s
        waits = self._speaker is None and not self._socket.closed and idle_timeout_s > 0
        try:
            return await self._socket.receive(idle_timeout_s if waits else None)
        except TimeoutError:
            raise SpeechError(
                ErrorCode.IDLE_TIMEOUT, f"No request came within {idle_timeout_s:g} seconds!"
            ) from None

    def _start(self, frame: str | bytes) -> None:
        wanted = self._stream.receive(frame)
        self._session = self._services.speech.open(
            wanted.options, tenant=self._tenant, protocol=PROTOCOL, task_id=self._stream.reqid
        )
        self._speaker = asyncio.create_task(self._speak(self._session, wanted.text))

    async def _speak(self, session: SpeechSession, text: str) -> None:
        """Send what the session tells, then close."""
        try:
            session.feed(text)
            session.finish()
            async with contextlib.aclosing(session.events()) as events:
                async for event in events:
                    if isinstance(event, SessionFinished):
                        # The client may come again as soon as it knows.
                        session.close()
                    if (message := self._stream.send(event)) is not None:
                        await self._socket.send(message)
            self._completed = True
            await self._socket.close(CLOSE_NORMAL)
        except SpeechError as error:
            await self._endrefusal(session, error)
        except GONE:
            pass
        except Exception:  # noqa: BLE001 - a defect must reach the client
            _log.exception("task broke", task_id=self._stream.reqid)
            await self._endrefusal(session, SpeechError(ErrorCode.INTERNAL, "Internal error!"))
        finally:
            session.close()

    async def _endrefusal(self, session: SpeechSession, error: SpeechError) -> None:
        session.fail(error)
        session.close()
        await self._socket.end(self._stream.fail(error), error)

    async def _fail(self, error: SpeechError) -> None:
        if self._session is not None:
            self._session.fail(error)
        else:
            # A task that was open has its summary line; this one has no other.
            _log.info(
                "task refused",
                task_id=self._stream.reqid,
                code=error.code.value,
                reason=error.message,
            )
        await self._stop_speaking()
        await self._socket.end(self._stream.fail(error), error)

    async def _stop_speaking(self) -> None:
        if self._session is not None:
            self._session.cancel()
        if self._speaker is not None:
            self._speaker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._speaker
        if self._session is not None:
            # A speaker that was cancelled before its first step has closed nothing.
            self._session.close()
