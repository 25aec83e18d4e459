"""`/v1/voices`: the voices of this server, to be listed, heard, added and taken away.

Errors are `{"error": {"code", "message"}}`; a recording that was refused has its `report` there.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server import limits
from server.endpoints.cross_site import check_site
from server.endpoints.refusal_headers import refusal_headers
from server.endpoints.services import Services
from server.endpoints.speech_response import HttpSpeech, SpeechResponse
from server.endpoints.upload import read_upload
from server.endpoints.voices import describe
from server.errors import ErrorCode, SpeechError
from server.speech import previews
from server.speech.clone_request import CloneRequest, RecordingRefusedError
from server.speech.cloned_voice import ClonedVoice
from server.speech.types import AudioFormat, SpeechOptions
from server.speech.voices import why_silent

PROTOCOL = "voices"
CONTENT_TYPES = {
    AudioFormat.PCM: "audio/pcm",
    AudioFormat.WAV: "audio/wav",
    AudioFormat.MP3: "audio/mpeg",
    AudioFormat.OPUS: "audio/ogg",
    AudioFormat.AAC: "audio/aac",
    AudioFormat.FLAC: "audio/flac",
}
PREVIEW_FORMAT = AudioFormat.MP3
"""Of previews for which none was asked."""
_BAD_REQUEST = 400
_HTTP_STATUS = {
    ErrorCode.TOKEN_INVALID: 401,
    ErrorCode.VOICE_UNKNOWN: 404,
    ErrorCode.IDLE_TIMEOUT: 408,
    ErrorCode.VOICE_EXISTS: 409,
    ErrorCode.CAPACITY_EXCEEDED: 429,
    ErrorCode.QUOTA_EXCEEDED: 429,
    ErrorCode.SHUTTING_DOWN: 503,
    ErrorCode.MODEL_UNAVAILABLE: 503,
    ErrorCode.MODEL_FAILED: 500,
    ErrorCode.WORKER_LOST: 500,
    ErrorCode.INTERNAL: 500,
}
_CLIENT_CLOSED_REQUEST = 499
"""nginx's status for it; nobody reads it."""

_encoder = msgspec.json.Encoder()
_log = structlog.get_logger(__name__)
_Handler = Callable[[Request, Services, str], Awaitable[Response]]


def http_status(code: ErrorCode) -> int:
    """The HTTP status that goes with an error."""
    return _HTTP_STATUS.get(code, _BAD_REQUEST)


def _endpoint(handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
    """Who asks is known before anything is done, and failures are told in one form."""

    async def answer(request: Request) -> Response:
        services: Services = request.app.state.services
        try:
            tenant = services.authenticator.identify(request.headers, request.query_params)
            return await handler(request, services, tenant)
        except SpeechError as error:
            return _failed(error)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        except Exception:  # noqa: BLE001 - a defect is told in the same form, too
            _log.exception("voice request broke", path=request.url.path)
            return _failed(SpeechError(ErrorCode.INTERNAL, "Internal error!"))

    return answer


@_endpoint
async def list_voices(_request: Request, services: Services, _tenant: str) -> Response:
    """`GET /v1/voices`: all that can be spoken with, and what became of the others."""
    catalog = services.speech.catalog
    return _json(
        {
            "voices": [describe(entry) for entry in catalog.entries()],
            "unavailable": [_unavailable(clone) for clone in catalog.silent],
            "damaged": [
                {"id": one.id, "reason": one.reason} for one in services.speech.voice_store.damaged
            ],
        }
    )


@_endpoint
async def show_voice(request: Request, services: Services, _tenant: str) -> Response:
    """`GET /v1/voices/{name or id}`: a voice with all that is known of it."""
    name = request.path_params["voice"]
    catalog = services.speech.catalog
    clone = services.speech.voice_store.find(name)
    if clone is not None and clone in catalog.silent:
        return _json(_unavailable(clone) | _particulars(clone))
    entry = catalog.resolve(name)
    particulars = {} if entry.clone is None else _particulars(entry.clone)
    return _json(describe(entry) | {"available": True} | particulars)


@_endpoint
async def add_voice(request: Request, services: Services, tenant: str) -> Response:
    """`POST /v1/voices`: a form with `name`, `text` and `audio`, and perhaps `model`, `language`.

    The text may be left out where a recogniser takes dictation. 201 with the new voice and the
    report of its recording; 200 if there is this very voice.
    """
    if services.draining:
        raise SpeechError(ErrorCode.SHUTTING_DOWN, "Server is shutting down, connect again!")
    check_site(request, services)
    with services.cloning.place():
        upload = await read_upload(request, max_file_bytes=limits.MAX_RECORDING_BYTES)
        audio = upload.files.get("audio")
        if audio is None:
            message = "The recording is missing: a file in the field 'audio'!"
            raise SpeechError(ErrorCode.PARAMETER_INVALID, message)
        voice, is_new = await services.cloning.add(
            CloneRequest(
                name=upload.fields.get("name", ""),
                transcript=upload.fields.get("text", ""),
                audio=audio,
                model=upload.fields.get("model", ""),
                language=upload.fields.get("language", ""),
                tenant=tenant,
            )
        )
    facts = voice.facts
    body = {
        "name": facts.name,
        "id": facts.id,
        "model": facts.model,
        "language": facts.language,
        "report": facts.report,
    }
    return _json(body, 201 if is_new else 200)


@_endpoint
async def remove_voice(request: Request, services: Services, _tenant: str) -> Response:
    """`DELETE /v1/voices/{name or id}`: 204, and all that was kept of it is deleted."""
    await services.cloning.remove(request.path_params["voice"])
    return Response(status_code=204)


@_endpoint
async def preview_voice(request: Request, services: Services, tenant: str) -> Response:
    """`GET /v1/voices/{name or id}/preview`: a sentence of it, or `text`, as audio."""
    if request.method == "HEAD":
        # Starlette lets it in beside GET; only speaking would tell what the head says.
        return Response(status_code=405, headers={"Allow": "GET"})
    query = request.query_params
    entry = services.speech.catalog.resolve(request.path_params["voice"])
    text = query.get("text", "") or previews.sentence(entry.voice.language)
    if len(text) > limits.MAX_PREVIEW_CHARACTERS:
        message = f"Text is over {limits.MAX_PREVIEW_CHARACTERS} characters!"
        raise SpeechError(ErrorCode.TEXT_TOO_LONG, message)
    audio_format = _audio_format(query.get("format", "") or PREVIEW_FORMAT)
    options = SpeechOptions(
        voice=entry.id,
        audio_format=audio_format,
        sample_rate_hz=_sample_rate_hz(query.get("sample_rate", "")),
    )
    session = services.speech.open(
        options, tenant=tenant, protocol=PROTOCOL, task_id=uuid.uuid4().hex
    )
    speech = HttpSpeech(session, text)
    if not await speech.begin(request.receive):
        raise SpeechError(ErrorCode.TEXT_MISSING, "No text specified that can be spoken!")
    return SpeechResponse(
        speech,
        send_timeout_s=services.settings.send_timeout_s,
        media_type=CONTENT_TYPES[audio_format],
    )


def _audio_format(name: str) -> AudioFormat:
    try:
        return AudioFormat(name.lower())
    except ValueError:
        message = f"Unsupported format: not one of {', '.join(AudioFormat)}!"
        raise SpeechError(ErrorCode.FORMAT_UNSUPPORTED, message) from None


def _sample_rate_hz(digits: str) -> int | None:
    """None for the model's own."""
    if not digits:
        return None
    for rate_hz in limits.SAMPLE_RATES_HZ:
        if digits == str(rate_hz):
            return rate_hz
    message = f"Unsupported sample_rate: not one of {', '.join(map(str, limits.SAMPLE_RATES_HZ))}!"
    raise SpeechError(ErrorCode.SAMPLE_RATE_UNSUPPORTED, message)


def _unavailable(clone: ClonedVoice) -> dict[str, Any]:
    facts = clone.facts
    return {
        "id": facts.id,
        "name": facts.name,
        "model": facts.model,
        "language": facts.language,
        "kind": "clone",
        "available": False,
        "reason": why_silent(clone),
    }


def _particulars(clone: ClonedVoice) -> dict[str, Any]:
    facts = clone.facts
    return {
        "made_with": facts.model,
        "clone_format": facts.clone_format,
        "text": facts.transcript,
        "created_at": facts.created_at,
        "report": facts.report,
    }


def _json(body: object, status: int = 200) -> Response:
    return Response(_encoder.encode(body), status, media_type="application/json")


def _failed(error: SpeechError) -> Response:
    body: dict[str, Any] = {"code": error.code.value, "message": error.message}
    if isinstance(error, RecordingRefusedError):
        body["report"] = error.report
    response = _json({"error": body}, http_status(error.code))
    if error.code is ErrorCode.TOKEN_INVALID:
        response.headers["WWW-Authenticate"] = "Bearer"
    response.headers.update(refusal_headers(error))
    return response
