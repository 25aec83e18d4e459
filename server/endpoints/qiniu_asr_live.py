"""Qiniu's recognition of live audio: `WS /voice/asr`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine

import structlog
from starlette.websockets import WebSocket

from models.recognition import RecognitionRequest
from server.endpoints.client_socket import CLOSE_GOING_AWAY, CLOSE_NORMAL, GONE, ClientSocket
from server.endpoints.qiniu_refusal import refusal
from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.protocols import qiniu, qiniu_asr
from server.protocols.qiniu_asr_frames import (
    Frame,
    GrowingText,
    MessageType,
    parse_frame,
    render_error,
    render_response,
)
from server.speech.pcm_input import PcmInput
from server.speech.recognition import MODEL, Recognition

PROTOCOL = "qiniu-asr"
_MAX_FRAMES_AHEAD = 8
_log = structlog.get_logger(__name__)


async def stream_recognition(websocket: WebSocket) -> None:
    """`/voice/asr` with an upgrade: a configuration, audio, and a reply to each frame."""
    services: Services = websocket.app.state.services
    reqid = qiniu.new_reqid()
    try:
        if len(services.conversations) >= services.settings.max_connections:
            raise SpeechError(ErrorCode.CAPACITY_EXCEEDED, "Too many connections!")
        tenant = services.authenticator.identify(websocket.headers, websocket.query_params)
    except SpeechError as error:
        await websocket.send_denial_response(refusal(error, reqid))
        return
    await websocket.accept(headers=[(b"x-reqid", reqid.encode())])
    await _Conversation(websocket, services, tenant, reqid).run()


class _Conversation:
    """One accepted connection: one task reads, one replies, one hears what was understood."""

    def __init__(self, websocket: WebSocket, services: Services, tenant: str, reqid: str) -> None:
        self._socket = ClientSocket(websocket, send_timeout_s=services.settings.send_timeout_s)
        self._services = services
        self._tenant = tenant
        self._reqid = reqid
        self._frames: asyncio.Queue[Frame] = asyncio.Queue(_MAX_FRAMES_AHEAD)
        self._recognition: Recognition | None = None
        self._listener: asyncio.Task[None] | None = None
        self._text = GrowingText()
        self._replies = 0
        self._failed = False

    async def run(self) -> None:
        """Serve until the client or we close."""
        self._services.conversations.add(self)
        self._services.metrics.connection_opened()
        replier = asyncio.create_task(self._reply_until_gone())
        try:
            await self._read()
        except GONE:
            pass
        finally:
            self._socket.closed = True
            await _stop(replier)
            await self._stop_listening()
            self._socket.abandon()
            self._services.conversations.discard(self)
            self._services.metrics.connection_closed()

    async def drain(self) -> None:
        """The server stops: close now, unless there is something to be understood."""
        if self._recognition is None:
            await self._socket.close(CLOSE_GOING_AWAY)

    async def abort(self, error: SpeechError) -> None:
        """End what runs with this error."""
        await self._fail(error)

    # --- Reading -----------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                frame = await self._receive()
                if not self._socket.closed:
                    await self._frames.put(frame)
            except SpeechError as error:
                await self._fail(error)

    async def _receive(self) -> Frame:
        """The next frame.

        Raises:
            SpeechError: MESSAGE_INVALID or MESSAGE_UNKNOWN; or IDLE_TIMEOUT, none came in time.
        """
        settings = self._services.settings
        # A client that waits for somebody's answer before it listens again sends nothing meanwhile.
        timeout_s = settings.text_timeout_s if self._recognition else settings.idle_timeout_s
        waits = timeout_s > 0 and not self._socket.closed
        try:
            message = await self._socket.receive(timeout_s if waits else None)
        except TimeoutError:
            raise SpeechError(
                ErrorCode.IDLE_TIMEOUT, f"Nothing came within {timeout_s:g} seconds!"
            ) from None
        if isinstance(message, str):
            raise SpeechError(ErrorCode.MESSAGE_INVALID, "text frame; this protocol is binary")
        return parse_frame(message)

    # --- Replying ----------------------------------------------------------------------------

    async def _reply_until_gone(self) -> None:
        await self._guarded(self._reply_to_all())
        # Whoever reads must not wait for room, or it would not see the client leave.
        while True:
            await self._frames.get()

    async def _reply_to_all(self) -> None:
        """Exactly one reply to each frame, at once, but for the last, which waits for its text."""
        configuration = await self._frames.get()
        recognition, audio = self._open(configuration)
        await self._reply(configuration, recognition, last=False)
        last = False
        while not last:
            frame = await self._frames.get()
            if frame.type is not MessageType.AUDIO:
                raise SpeechError(ErrorCode.STATE_CONFLICT, "a second configuration came")
            last = frame.last
            await recognition.append(audio.convert(frame.payload, last=last))
            if last:
                await self._finish(recognition)
            await self._reply(frame, recognition, last=last)
        await self._socket.close(CLOSE_NORMAL)

    def _open(self, frame: Frame) -> tuple[Recognition, PcmInput]:
        wanted = qiniu_asr.read_configuration(frame)
        recognition = self._recognition = self._services.recognition.open(
            MODEL,
            RecognitionRequest(language=wanted.language, punctuation=wanted.punctuation),
            tenant=self._tenant,
            protocol=PROTOCOL,
            task_id=self._reqid,
        )
        self._listener = asyncio.create_task(self._guarded(self._listen(recognition)))
        pcm = PcmInput(
            sample_rate_hz=wanted.sample_rate_hz,
            channels=wanted.channels,
            target_rate_hz=recognition.sample_rate_hz,
        )
        return recognition, pcm

    async def _listen(self, recognition: Recognition) -> None:
        async with contextlib.aclosing(recognition.transcripts()) as transcripts:
            async for transcript in transcripts:
                self._text.update(transcript.text, transcript.stable_characters)

    async def _finish(self, recognition: Recognition) -> None:
        recognition.finish()
        if self._listener is not None:
            await asyncio.wait([self._listener])
        # The client may come again as soon as it knows.
        recognition.close()

    async def _reply(self, frame: Frame, recognition: Recognition, *, last: bool) -> None:
        if self._failed:
            return
        self._replies += 1
        sequence = frame.sequence if frame.sequence is not None else self._replies
        await self._socket.send(
            render_response(
                sequence,
                self._text.text,
                audio_s=recognition.audio_s,
                reqid=self._reqid,
                last=last,
            )
        )

    # --- Failing -----------------------------------------------------------------------------

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        """Have whatever goes wrong told to the client."""
        try:
            await work
        except SpeechError as error:
            await self._fail(error)
        except GONE:
            pass
        except Exception:  # noqa: BLE001 - a defect must reach the client
            _log.exception("task broke", task_id=self._reqid)
            await self._fail(SpeechError(ErrorCode.INTERNAL, "Internal error!"))

    async def _fail(self, error: SpeechError) -> None:
        """Tell the client, and close; the first error counts."""
        if self._failed:
            return
        self._failed = True
        if self._recognition is not None:
            self._recognition.fail(error)
            self._recognition.close()
        else:
            # A task that was open has its summary line; this one has no other.
            _log.info(
                "task refused", task_id=self._reqid, code=error.code.value, reason=error.message
            )
        await self._socket.end(render_error(error), error)

    async def _stop_listening(self) -> None:
        if self._recognition is not None:
            self._recognition.close()
        if self._listener is not None:
            await _stop(self._listener)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
