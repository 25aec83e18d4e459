"""The voice list as the seed names it: `GET /stream/v1/tts/voices`, `/info` and `/refresh`."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.endpoints.services import Services
from server.errors import SpeechError
from server.protocols import nls
from server.speech.voices import VoiceEntry

_encoder = msgspec.json.Encoder()


async def list_voices(request: Request) -> Response:
    """Names first, for programs that only need these, then every voice with its facts."""
    return _answer(request, _listing)


async def voice_info(request: Request) -> Response:
    """One voice (`?voice=`), or all of them with the models that speak them."""
    name = request.query_params.get("voice", "")
    return _answer(request, lambda services: _info(services, name))


async def refresh_voices(request: Request) -> Response:
    """Read the workers' voices anew, then answer as the list does."""
    services: Services = request.app.state.services
    services.speech.refresh()
    return _answer(request, _listing)


def _answer(request: Request, make: Any) -> Response:  # noqa: ANN401
    services: Services = request.app.state.services
    try:
        services.authenticator.identify(request.headers, request.query_params)
        return Response(_encoder.encode(make(services)), media_type="application/json")
    except SpeechError as error:
        status, prefix = nls.STATUS_BY_CODE[error.code]
        http_status = 403 if status == nls.STATUS_TOKEN else 400
        return JSONResponse({"status": status, "message": prefix + error.message}, http_status)


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
        "model": entry.model,
        "language": entry.voice.language,
        "gender": entry.voice.gender,
        "kind": entry.voice.kind,
        "description": entry.voice.description,
        "sample_rate": entry.sample_rate_hz,
        "aliases": list(entry.aliases),
    }
