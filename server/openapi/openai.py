"""OpenAI: `/v1/audio/speech`, models and voices."""

from __future__ import annotations

from server.errors import ErrorCode
from server.openapi.operation import (
    ASKED,
    BODY_READ,
    EVENT_STREAM,
    SPOKEN,
    Example,
    Failures,
    Operation,
    Reply,
    Section,
    failure,
)
from server.protocols import openai, openai_speech

_REQUEST_ID = {openai.REQUEST_ID_HEADER: "The request's id, which also stands in the server's log."}


def _told(code: ErrorCode) -> tuple[int, str]:
    error = failure(code)
    detail = openai.detail(error)
    return openai.http_status(error), detail.code or detail.type


_FAILURES = Failures(
    kind=openai.Failure,
    told=_told,
    headers=_REQUEST_ID,
)
_SPEECH = Reply(
    about="The audio as it is made, or server-sent events: `speech.audio.delta` with base64, at "
    "the end `speech.audio.done`, or `error`.",
    media_types=(*openai_speech.CONTENT_TYPES.values(), EVENT_STREAM),
    headers=_REQUEST_ID
    | {"x-ignored-parameters": "`instructions`, if the voice's model takes none."},
)

SECTION = Section(
    name="OpenAI",
    prefix="Openai",
    about="What the `openai` package, Open WebUI, LiveKit, Pipecat and Dify speak to.",
    page="protocols/openai.md",
    operations=(
        Operation(
            method="POST",
            path="/v1/audio/speech",
            summary="Speak a text",
            body=openai_speech.SpeechMessage,
            replies=(_SPEECH,),
            failures=_FAILURES,
            errors=ASKED | BODY_READ | SPOKEN - {ErrorCode.SAMPLE_RATE_UNSUPPORTED},
            examples=(
                Example(
                    title="MP3",
                    body={
                        "model": "tts-1",
                        "voice": "alloy",
                        "input": "The quick brown fox jumps over the lazy dog.",
                    },
                    output="fox.mp3",
                ),
                Example(
                    title="PCM in server-sent events",
                    body={
                        "model": "gpt-4o-mini-tts",
                        "voice": "nova",
                        "input": "Hello there.",
                        "response_format": "pcm",
                        "speed": 1.25,
                        "stream_format": "sse",
                    },
                ),
            ),
        ),
        Operation(
            method="GET",
            path="/v1/models",
            summary="List the models",
            about="Those that are loaded, and OpenAI's names, which any voice answers to.",
            replies=(Reply(about="All models.", kind=openai.ModelList, headers=_REQUEST_ID),),
            failures=_FAILURES,
            errors=ASKED,
            examples=(Example(title="All models"),),
        ),
        Operation(
            method="GET",
            path="/v1/models/{model}",
            summary="Show a model",
            path_parameters={"model": "Its id."},
            replies=(
                Reply(about="The model.", kind=openai.Model, headers=_REQUEST_ID),
                Reply(
                    about=f"There is no such model: `{openai.MODEL_NOT_FOUND}`",
                    status=404,
                    kind=openai.Failure,
                    headers=_REQUEST_ID,
                ),
            ),
            failures=_FAILURES,
            errors=ASKED,
            examples=(Example(title="One model", path="/v1/models/tts-1"),),
        ),
        Operation(
            method="GET",
            path="/v1/audio/models",
            summary="List the models, as Open WebUI asks for them",
            replies=(Reply(about="All models.", kind=openai.AudioModelList, headers=_REQUEST_ID),),
            failures=_FAILURES,
            errors=ASKED,
            examples=(Example(title="All models"),),
        ),
        Operation(
            method="GET",
            path="/v1/audio/voices",
            summary="List the voices, as Open WebUI asks for them",
            replies=(
                Reply(
                    about="All voices, and OpenAI's names that stand for one.",
                    kind=openai.VoiceList,
                    headers=_REQUEST_ID,
                ),
            ),
            failures=_FAILURES,
            errors=ASKED,
            examples=(Example(title="All voices"),),
        ),
    ),
)
