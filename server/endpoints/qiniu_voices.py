"""Qiniu's voice list, `GET /voice/list`, and what its addresses lead to."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from server.endpoints.qiniu_refusal import refusal
from server.endpoints.services import Services
from server.errors import SpeechError
from server.protocols import qiniu, qiniu_tts
from server.speech import previews
from server.speech.voices import VoiceEntry

PREVIEW_PATH = "/voice/preview/{voice:path}"
_PREVIEW_MAX_AGE_S = 3600
_ALIAS_PREFIX = "qiniu_"
_CATEGORIES = {"preset": "传统音色", "clone": "克隆音色"}


async def list_voices(request: Request) -> Response:
    """`GET /voice/list`: every voice, and every name of Qiniu's that stands for one."""
    reqid = qiniu.new_reqid()
    services: Services = request.app.state.services
    try:
        services.authenticator.identify(request.headers, request.query_params)
    except SpeechError as error:
        return refusal(error, reqid)
    entries = services.speech.catalog.entries()
    own = [_item(request, entry, entry.name) for entry in entries]
    vendors = [
        _item(request, entry, alias)
        for entry in entries
        for alias in entry.aliases
        if alias.startswith(_ALIAS_PREFIX)
    ]
    return Response(
        qiniu_tts.render_voices(own + vendors),
        headers={qiniu.REQID_HEADER: reqid},
        media_type="application/json",
    )


def _item(request: Request, entry: VoiceEntry, name: str) -> qiniu_tts.VoiceItem:
    services: Services = request.app.state.services
    shown = entry.name if name == entry.name else f"{entry.name} ({name})"
    return qiniu_tts.VoiceItem(
        voice_name=shown,
        voice_type=name,
        url=_preview_url(request, entry),
        category=_CATEGORIES[entry.voice.kind],
        updatetime=services.previews.updated_ms(entry),
    )


def _preview_url(request: Request, entry: VoiceEntry) -> str:
    """Where a browser's audio element, which shows no key, can hear the voice."""
    services: Services = request.app.state.services
    url = f"{request.base_url}voice/preview/{quote(entry.name, safe='')}.mp3"
    if not services.authenticator.required:
        return url
    return f"{url}?signature={services.authenticator.sign(_signed(entry.name))}"


def _signed(voice: str) -> str:
    return f"voice preview {voice}"


async def preview(request: Request) -> Response:
    """A voice's sentence, for whoever has the list's address of it, or a key."""
    reqid = qiniu.new_reqid()
    services: Services = request.app.state.services
    name = request.path_params["voice"].removesuffix(".mp3")
    signature = request.query_params.get("signature", "")
    try:
        if not services.authenticator.signed(_signed(name), signature):
            services.authenticator.identify(request.headers, request.query_params)
        file = await services.previews.get(services.speech.catalog.resolve(name))
    except SpeechError as error:
        return refusal(error, reqid)
    headers = {
        qiniu.REQID_HEADER: reqid,
        "Cache-Control": f"private, max-age={_PREVIEW_MAX_AGE_S}",
    }
    return Response(file, headers=headers, media_type=previews.CONTENT_TYPE)
