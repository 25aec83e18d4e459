"""`POST /v1/audio/speech`: OpenAI's speech, as audio or as server-sent events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server.endpoints.openai_refusal import broken, refusal
from server.endpoints.request_body import read_body
from server.endpoints.services import Services
from server.endpoints.speech_response import HttpSpeech, SpeechResponse
from server.errors import ErrorCode, SpeechError
from server.protocols import openai, openai_speech
from server.protocols.openai_speech import SpeechRequest
from server.speech.session import SpeechSession
from server.speech.voices import VoiceEntry

PROTOCOL = "openai"
_IGNORED_HEADER = "x-ignored-parameters"
_CLIENT_CLOSED_REQUEST = 499
"""nginx's status for it; nobody reads it."""


async def create_speech(request: Request) -> Response:
    """Speak `input`; errors come as JSON before the first byte of audio."""
    request_id = openai.new_request_id()
    try:
        return await _speak(request, request_id)
    except SpeechError as error:
        return refusal(error, request_id)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    except Exception:  # noqa: BLE001 - a defect is told in the protocol's form, too
        return broken(request, request_id)


async def _speak(request: Request, request_id: str) -> Response:
    services: Services = request.app.state.services
    tenant = services.authenticator.identify(request.headers, request.query_params)
    wanted = openai_speech.read_request(await read_body(request))
    voice = _find_voice(services, wanted)
    headers = {openai.REQUEST_ID_HEADER: request_id}
    options = replace(wanted.options, voice=_full_name(voice))
    if options.instruction and not services.pool.models[voice.model].capabilities.instruction:
        # OpenAI's own tts-1 takes no notice of them either, and clients send them to any model.
        options = replace(options, instruction="")
        headers[_IGNORED_HEADER] = "instructions"
    session = services.speech.open(options, tenant=tenant, protocol=PROTOCOL, task_id=request_id)
    media_type = openai_speech.CONTENT_TYPES[options.audio_format]
    speech = HttpSpeech(session, wanted.text)
    if wanted.events:
        speech = _EventSpeech(session, wanted.text)
        media_type = openai_speech.EVENT_STREAM
        headers["Cache-Control"] = "no-cache"
    if not await speech.begin(request.receive):
        raise openai_speech.nothing_to_say()
    return SpeechResponse(
        speech,
        send_timeout_s=services.settings.send_timeout_s,
        media_type=media_type,
        headers=headers,
    )


class _EventSpeech(HttpSpeech):
    """Speech whose bytes stand in server-sent events."""

    def __init__(self, session: SpeechSession, text: str) -> None:
        super().__init__(session, text)
        self._characters = len(text)

    async def audio(self) -> AsyncGenerator[bytes]:
        try:
            async with contextlib.aclosing(super().audio()) as audio:
                async for data in audio:
                    yield openai_speech.render_audio(data)
        except SpeechError as error:
            yield openai_speech.render_broken(error)
            raise
        yield openai_speech.render_done(characters=self._characters, audio_s=self.duration_s)


def _find_voice(services: Services, wanted: SpeechRequest) -> VoiceEntry:
    """The voice that is meant, of the model that is meant if that is one of ours.

    Raises:
        SpeechError: there is no such voice.
    """
    name = wanted.options.voice
    voice = services.speech.catalog.resolve(name)
    if wanted.model not in services.pool.models or voice.model == wanted.model:
        return voice
    # An alias stands for the first voice that is there; the model may have another one for it.
    try:
        return services.speech.catalog_of(wanted.model).resolve(name)
    except SpeechError as error:
        if error.code is not ErrorCode.VOICE_UNKNOWN:
            raise
        raise openai_speech.wrong_model(name, wanted.model, speaks=voice.model) from None


def _full_name(voice: VoiceEntry) -> str:
    """What means this voice and no other, whichever models there are."""
    return f"{voice.model}/{voice.voice.name}" if voice.clone is None else voice.id
