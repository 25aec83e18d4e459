"""The voice list as the seed names it: `GET /stream/v1/tts/voices`, `/info` and `/refresh`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.protocols import nls, nls_rest
from server.speech.voices import VoiceEntry

_encoder = msgspec.json.Encoder()
_log = structlog.get_logger(__name__)


async def list_voices(request: Request) -> Response:
    """Names first, for programs that only need these, then every voice with its facts."""
    return _answer(request, _listing)


async def voice_info(request: Request) -> Response:
    """One voice (`?voice=`), or all of them with the models that speak them."""
    name = request.query_params.get("voice", "")
    return _answer(request, lambda services: _info(services, name))


async def refresh_voices(request: Request) -> Response:
    """Read the alias files again and build the list anew, then answer as the list does.

    A file that cannot be used leaves all names as they were.
    """
    services: Services = request.app.state.services
    try:
        _identify(request)
        await asyncio.to_thread(services.speech.refresh)
    except SpeechError as error:
        return _failed(error)
    except (ValueError, RecursionError) as error:
        # The reason has paths in it, which are the operator's business only.
        _log.error("voice aliases not refreshed", reason=str(error))
        return _failed(
            SpeechError(
                ErrorCode.INTERNAL,
                "The alias file cannot be used, its old names stay; the server's log says why!",
            )
        )
    return _answer(request, _listing)


def _answer(request: Request, make: Callable[[Services], dict[str, Any]]) -> Response:
    try:
        _identify(request)
        body = make(request.app.state.services)
    except SpeechError as error:
        return _failed(error)
    return Response(_encoder.encode(body), media_type="application/json")


def _identify(request: Request) -> None:
    services: Services = request.app.state.services
    services.authenticator.identify(request.headers, request.query_params)


def _failed(error: SpeechError) -> Response:
    status, prefix = nls.STATUS_BY_CODE[error.code]
    body = {"status": status, "message": prefix + error.message}
    return JSONResponse(body, nls_rest.http_status(error.code))


def _listing(services: Services) -> dict[str, Any]:
    entries = services.speech.catalog.entries()
    return {
        "count": len(entries),
        "names": [entry.name for entry in entries],
        "voices": [describe(entry) for entry in entries],
    }


def _info(services: Services, name: str) -> dict[str, Any]:
    if name:
        return describe(services.speech.catalog.resolve(name))
    models = [
        {
            "name": info.name,
            "sample_rate": info.sample_rate_hz,
            "voices": len(info.voices),
            "slots": info.capabilities.slots,
            "text_stream": info.capabilities.text_stream,
            "word_times": info.capabilities.word_times,
            "instruction": info.capabilities.instruction,
            "sampling": info.capabilities.sampling,
            "cloning": info.capabilities.cloning,
        }
        for info in services.pool.models.values()
    ]
    return {"models": models, **_listing(services)}


def describe(entry: VoiceEntry) -> dict[str, Any]:
    """A voice as JSON."""
    return {
        "name": entry.name,
        "id": entry.id,
        "model": entry.model,
        "language": entry.voice.language,
        "gender": entry.voice.gender,
        "kind": entry.voice.kind,
        "description": entry.voice.description,
        "sample_rate": entry.sample_rate_hz,
        "aliases": list(entry.aliases),
    }
