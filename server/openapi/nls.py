"""Aliyun NLS over HTTP: `/stream/v1/tts`, and the voice list beside it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from server.errors import ErrorCode
from server.openapi.operation import (
    ASKED,
    BODY_READ,
    FORM,
    JSON,
    SPOKEN,
    Example,
    Failures,
    Operation,
    Reply,
    Section,
    failure,
)
from server.openapi.voice import Voice
from server.protocols import nls, nls_rest
from server.protocols.nls_parameters import HttpParameters

_REQUEST_ID = {"X-NLS-RequestId": "The task's id, which also stands in the server's log."}


class Failure(msgspec.Struct, kw_only=True):
    """The body of an error."""

    task_id: str
    result: str
    status: Annotated[int, Meta(description="Eight digits, of Aliyun's tables.")]
    message: str


class VoicesFailure(msgspec.Struct, kw_only=True):
    """The body of an error."""

    status: Annotated[int, Meta(description="Eight digits, of Aliyun's tables.")]
    message: str


class VoiceList(msgspec.Struct, kw_only=True):
    """All voices."""

    count: int
    names: list[str]
    voices: list[Voice]


class ModelFacts(msgspec.Struct, kw_only=True):
    """A loaded model."""

    name: str
    sample_rate: Annotated[int, Meta(description="In Hz.")]
    voices: Annotated[int, Meta(description="How many it has.")]
    slots: Annotated[int, Meta(description="Sentences that a worker computes at once.")]
    text_stream: Annotated[bool, Meta(description="It takes text that is still being written.")]
    word_times: Annotated[bool, Meta(description="It says when each word is heard.")]
    instruction: Annotated[bool, Meta(description="It follows instructions.")]
    sampling: Annotated[bool, Meta(description="It never says a text in the same way twice.")]
    cloning: Annotated[bool, Meta(description="It makes voices of recordings.")]


class VoiceInfo(VoiceList, kw_only=True):
    """All models and all voices."""

    models: list[ModelFacts]


class VoiceQuery(msgspec.Struct, kw_only=True):
    """Which voice."""

    voice: Annotated[str, Meta(description="A name or an alias; empty for all of them.")] = ""


def _told(code: ErrorCode) -> tuple[int, str]:
    """The body of HTTP errors is the protocol's own, and says which status it is."""
    status, body = nls_rest.render_failure(failure(code), task_id="")
    return status, str(msgspec.json.decode(body, type=Failure).status)


def _voices_told(code: ErrorCode) -> tuple[int, str]:
    status, _ = nls.STATUS_BY_CODE[code]
    return nls_rest.http_status(code), str(status)


_FAILURES = Failures(
    kind=Failure,
    told=_told,
    headers=_REQUEST_ID,
)
_VOICES_FAILURES = Failures(kind=VoicesFailure, told=_voices_told)
_AUDIO = Reply(
    about="The audio as it is made. Its type is the same for every format, as the vendor's samples "
    "demand.",
    media_types=(nls_rest.CONTENT_TYPE,),
    headers=_REQUEST_ID,
)
_LISTED = Reply(about="All voices.", kind=VoiceList)

SECTION = Section(
    name="Aliyun NLS",
    prefix="Nls",
    about="What Aliyun's REST samples and clients speak to.",
    page="protocols/aliyun.md",
    operations=(
        Operation(
            method="GET",
            path="/stream/v1/tts",
            summary="Speak a text, with the parameters in the query",
            query=HttpParameters,
            replies=(_AUDIO,),
            failures=_FAILURES,
            errors=ASKED | SPOKEN | {ErrorCode.PARAMETER_INVALID, ErrorCode.APPKEY_MISSING},
            examples=(
                Example(
                    title="MP3 of a query",
                    query={"text": "你好，很高兴认识你。", "voice": "中文女", "format": "mp3"},
                    output="hello.mp3",
                ),
            ),
        ),
        Operation(
            method="POST",
            path="/stream/v1/tts",
            summary="Speak a text",
            body=HttpParameters,
            body_types=(JSON, FORM),
            replies=(_AUDIO,),
            failures=_FAILURES,
            errors=ASKED | BODY_READ | SPOKEN | {ErrorCode.APPKEY_MISSING},
            examples=(
                Example(
                    title="MP3",
                    body={"text": "你好，很高兴认识你。", "voice": "中文女", "format": "mp3"},
                    output="hello.mp3",
                ),
                Example(
                    title="WAV, faster and louder",
                    body={
                        "text": "The train for Oxford leaves at 9:30.",
                        "voice": "英文女",
                        "format": "wav",
                        "sample_rate": 24_000,
                        "speech_rate": 150,
                        "volume": 70,
                    },
                    output="train.wav",
                ),
            ),
        ),
        Operation(
            method="GET",
            path="/stream/v1/tts/voices",
            summary="List the voices",
            replies=(_LISTED,),
            failures=_VOICES_FAILURES,
            errors=ASKED,
            examples=(Example(title="All voices"),),
        ),
        Operation(
            method="GET",
            path="/stream/v1/tts/voices/info",
            summary="Show a voice, or all models and voices",
            query=VoiceQuery,
            replies=(
                Reply(
                    about="The voice; without one, all models and voices.", kind=(Voice, VoiceInfo)
                ),
            ),
            failures=_VOICES_FAILURES,
            errors=ASKED | {ErrorCode.VOICE_UNKNOWN, ErrorCode.MODEL_UNAVAILABLE},
            examples=(
                Example(title="One voice", query={"voice": "xiaoyun"}),
                Example(title="All models and voices"),
            ),
        ),
        *(
            Operation(
                method=method,
                path="/stream/v1/tts/voices/refresh",
                summary="Read the alias files again, and list the voices",
                about="A file that cannot be used changes nothing.",
                replies=(_LISTED,),
                failures=_VOICES_FAILURES,
                errors=ASKED,
                examples=(Example(title="Refresh"),),
            )
            for method in ("GET", "POST")
        ),
    ),
)
