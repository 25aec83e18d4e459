"""DashScope's speech over HTTP: whole, or as server-sent events, and the files that it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import TypeVar

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response

from server.endpoints.dashscope_refusal import refusal
from server.endpoints.dashscope_voices import find_voice
from server.endpoints.request_body import read_body
from server.endpoints.services import Services
from server.endpoints.speech_response import HttpSpeech, SpeechResponse
from server.errors import ErrorCode, SpeechError
from server.protocols import dashscope, dashscope_http
from server.protocols.dashscope_http import Address, EventReply, Reply, WholeReply
from server.speech.session import SpeechSession
from server.speech.spoken_files import SpokenFile, SpokenFiles
from server.speech.types import AudioFormat, AudioProduced

PROTOCOL = "dashscope"
FILES_PATH = "/api/v1/files/spoken/"
_CLIENT_CLOSED_REQUEST = 499
_WRITE_BYTES = 1 << 18
_Result = TypeVar("_Result")
_log = structlog.get_logger(__name__)


async def synthesize(request: Request) -> Response:
    """Speak `input.text`; errors come as JSON before the first byte of speech."""
    request_id = str(uuid.uuid4())
    try:
        return await _synthesize(request, request_id)
    except SpeechError as error:
        return refusal(error, request_id)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    except Exception:  # noqa: BLE001 - a defect is told in the protocol's form, too
        _log.exception("task broke", task_id=request_id)
        return refusal(SpeechError(ErrorCode.INTERNAL, "Internal error!"), request_id)


async def _synthesize(request: Request, request_id: str) -> Response:
    services: Services = request.app.state.services
    tenant = services.authenticator.identify(request.headers, request.query_params)
    wanted = dashscope_http.read_request(await read_body(request))
    voice = find_voice(services, wanted.options.voice, model=wanted.model)
    options = replace(wanted.options, voice=voice)
    session = services.speech.open(options, tenant=tenant, protocol=PROTOCOL, task_id=request_id)
    events = request.headers.get(dashscope_http.SSE_HEADER, "").lower() == "enable"
    reply: Reply = (EventReply if events else WholeReply)(request_id, wanted.characters)
    speech = _KeptSpeech(
        session,
        wanted.text,
        reply,
        files=services.spoken_files,
        audio_format=options.audio_format,
        base_url=str(request.base_url).rstrip("/"),
    )
    await speech.begin(request.receive)
    if events:
        return SpeechResponse(
            speech,
            send_timeout_s=services.settings.send_timeout_s,
            media_type=dashscope_http.EVENT_STREAM,
            headers={"Cache-Control": "no-cache"},
        )
    body = b"".join([data async for data in speech.audio()])
    return Response(body, media_type="application/json")


async def spoken_file(request: Request) -> Response:
    """A file that was spoken; its name is its key.

    Raises:
        HTTPException: 404, there is none, or no more.
    """
    services: Services = request.app.state.services
    path = await asyncio.to_thread(services.spoken_files.find, request.path_params["name"])
    if path is None:
        raise HTTPException(404)
    audio_format = AudioFormat(path.suffix.removeprefix("."))
    return FileResponse(path, media_type=dashscope_http.CONTENT_TYPES[audio_format])


class _KeptSpeech(HttpSpeech):
    """Speech that is kept as a file, with what is told of it as the response's body."""

    def __init__(
        self,
        session: SpeechSession,
        text: str,
        reply: Reply,
        *,
        files: SpokenFiles,
        audio_format: AudioFormat,
        base_url: str,
    ) -> None:
        super().__init__(session, text)
        self._reply = reply
        self._files = files
        self._audio_format = audio_format
        self._base_url = base_url
        self._file: SpokenFile | None = None

    def close(self) -> None:
        """Stop speaking; what has not become a whole file is thrown away."""
        super().close()
        if self._file is not None:
            self._file.discard()

    async def _speak(self) -> AsyncGenerator[bytes]:
        began = False
        try:
            async with contextlib.aclosing(self._tell()) as body:
                async for data in body:
                    began = True
                    yield data
        except SpeechError as error:
            self._session.fail(error)
            if not began:
                raise
            yield self._reply.broken(error)
        finally:
            self.close()

    async def _tell(self) -> AsyncGenerator[bytes]:
        """Write the audio into a file, and say so."""
        self._file = file = await begin_file(self._files, self._audio_format.value)
        self._session.feed(self._text)
        self._session.finish()
        heard, waiting = False, bytearray()
        async with contextlib.aclosing(self._session.events()) as events:
            async for event in events:
                if isinstance(event, AudioProduced):
                    heard = True
                    waiting += event.data
                    if len(waiting) >= _WRITE_BYTES:
                        data, waiting = bytes(waiting), bytearray()
                        await _kept(functools.partial(file.write, data))
                if data := self._reply.send(event):
                    yield data
        if not heard:
            raise dashscope.nothing_to_say()
        await _kept(lambda: file.write(bytes(waiting)))
        expires_at = await _kept(file.finish)
        url = f"{self._base_url}{FILES_PATH}{file.name}"
        # The client may come again as soon as it knows.
        self._session.close()
        yield self._reply.end(Address(url, file.id, expires_at))


async def begin_file(files: SpokenFiles, extension: str) -> SpokenFile:
    """A new file; if nobody waits for it any more when it is there, it goes again.

    Raises:
        SpeechError: INTERNAL, it cannot be made.
    """
    making = asyncio.ensure_future(_kept(lambda: files.create(extension)))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(_discard)
        raise


async def _kept(work: Callable[[], _Result]) -> _Result:
    """The result of what is done with a file, in a thread.

    Raises:
        SpeechError: INTERNAL, the disk is full or the like.
    """
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        _log.error("speech cannot be kept", reason=str(error))
        message = "The audio cannot be stored; the server's log says why!"
        raise SpeechError(ErrorCode.INTERNAL, message) from error


def _discard(making: asyncio.Future[SpokenFile]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().discard()
