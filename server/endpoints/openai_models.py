"""What there is to speak with, as OpenAI's clients and those like Open WebUI ask for it.

`/v1/models` and `/v1/models/{id}` are OpenAI's. `/v1/audio/models` and `/v1/audio/voices` are what
Open WebUI asks servers for that are not OpenAI's; `/v1/voices`, where voices are made, is ours.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import psutil
from starlette.requests import Request
from starlette.responses import Response

from server.endpoints.openai_refusal import broken, failed, refusal
from server.endpoints.services import Services
from server.errors import SpeechError
from server.protocols import openai
from server.protocols.openai import (
    AudioModel,
    AudioModelList,
    Model,
    ModelList,
    VoiceItem,
    VoiceList,
)
from server.speech.voices import VoiceCatalog, VoiceEntry

_NOT_FOUND = 404
_OWNER = "cosystream"


async def list_models(request: Request) -> Response:
    """`GET /v1/models`: the loaded models, and OpenAI's names, which any voice answers to."""
    return _answer(request, lambda services: ModelList(data=_models(services)))


async def list_audio_models(request: Request) -> Response:
    """`GET /v1/audio/models`: the same, as Open WebUI asks for it."""
    return _answer(
        request,
        lambda services: AudioModelList(
            models=[AudioModel(id=model.id, name=model.id) for model in _models(services)]
        ),
    )


async def show_model(request: Request) -> Response:
    """`GET /v1/models/{id}`."""
    name = request.path_params["model"]
    return _answer(
        request, lambda services: next((m for m in _models(services) if m.id == name), None)
    )


async def list_voices(request: Request) -> Response:
    """`GET /v1/audio/voices`: every voice, and every name of OpenAI's that stands for one."""
    return _answer(request, lambda services: _voices(services.speech.catalog))


def _answer(request: Request, make: Callable[[Services], msgspec.Struct | None]) -> Response:
    request_id = openai.new_request_id()
    services: Services = request.app.state.services
    try:
        services.authenticator.identify(request.headers, request.query_params)
        message = make(services)
    except SpeechError as error:
        return refusal(error, request_id)
    except Exception:  # noqa: BLE001 - a defect is told in the protocol's form, too
        return broken(request, request_id)
    if message is None:
        detail = openai.invalid_request(
            "There is no such model!", param="model", code=openai.MODEL_NOT_FOUND
        )
        return failed(_NOT_FOUND, detail, request_id)
    return Response(
        openai.render(message),
        headers={openai.REQUEST_ID_HEADER: request_id},
        media_type="application/json",
    )


def _models(services: Services) -> list[Model]:
    # Nobody knows when a model was made; all of them came up with this process.
    created = int(psutil.Process().create_time())
    names = dict.fromkeys((*services.pool.models, *openai.MODEL_ALIASES))
    return [Model(id=name, created=created, owned_by=_OWNER) for name in names]


def _voices(catalog: VoiceCatalog) -> VoiceList:
    entries = catalog.entries()
    own = [_item(entry, entry.id, entry.name) for entry in entries]
    aliases = [
        _item(entry, alias, f"{alias} ({entry.name})")
        for entry in entries
        for alias in entry.aliases
        if alias in openai.VOICE_ALIASES
    ]
    return VoiceList(voices=own + aliases)


def _item(entry: VoiceEntry, voice_id: str, name: str) -> VoiceItem:
    return VoiceItem(
        id=voice_id,
        name=name,
        model=entry.model,
        language=entry.voice.language,
        gender=entry.voice.gender,
        kind=entry.voice.kind,
    )
