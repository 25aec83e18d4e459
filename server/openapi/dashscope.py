"""DashScope over HTTP: speech, and the files that it leaves."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from server.errors import ErrorCode
from server.openapi.operation import (
    ASKED,
    BODY_READ,
    EVENT_STREAM,
    SPOKEN,
    WORK_DONE,
    Example,
    Failures,
    Operation,
    Reply,
    Section,
    failure,
)
from server.protocols import dashscope, dashscope_http
from server.protocols.dashscope_enrollment_parameters import EnrollmentMessage
from server.protocols.dashscope_parameters import SpeechMessage


class SpokenAudio(msgspec.Struct, kw_only=True):
    """The whole audio."""

    data: Annotated[str, Meta(description="Empty: the audio is at the address.")]
    url: Annotated[str, Meta(description="Where it can be fetched, without a token.")]
    id: str
    expires_at: Annotated[int, Meta(description="When it is deleted, in seconds since 1970.")]


class SpokenOutput(msgspec.Struct, kw_only=True):
    """What was asked for."""

    finish_reason: str
    audio: SpokenAudio


class SpokenUsage(msgspec.Struct, kw_only=True):
    """What is counted."""

    characters: Annotated[int, Meta(description="Of the text, a Han character counting 2.")]


class Spoken(msgspec.Struct, kw_only=True):
    """The reply, when all has been spoken."""

    request_id: str
    output: SpokenOutput
    usage: SpokenUsage


class ListedVoice(msgspec.Struct, kw_only=True):
    """A voice that was made here."""

    voice_id: str
    gmt_create: Annotated[str, Meta(description="`YYYY-MM-DD HH:MM:SS`, UTC.")]
    gmt_modified: str
    status: Annotated[str, Meta(description="`OK`, or `UNDEPLOYED`: no loaded model speaks it.")]


class EnrollmentOutput(msgspec.Struct, kw_only=True):
    """What the action brings: nothing for `update_voice` and `delete_voice`."""

    voice_id: Annotated[str | msgspec.UnsetType, Meta(description="Of `create_voice`.")] = (
        msgspec.UNSET
    )
    voice_list: Annotated[
        list[ListedVoice] | msgspec.UnsetType, Meta(description="Of `list_voice`.")
    ] = msgspec.UNSET
    target_model: Annotated[
        str | msgspec.UnsetType, Meta(description="Of `query_voice`, as all below.")
    ] = msgspec.UNSET
    resource_link: Annotated[
        str | msgspec.UnsetType, Meta(description="Empty: recordings are not given out.")
    ] = msgspec.UNSET
    gmt_create: str | msgspec.UnsetType = msgspec.UNSET
    gmt_modified: str | msgspec.UnsetType = msgspec.UNSET
    status: str | msgspec.UnsetType = msgspec.UNSET


class EnrollmentUsage(msgspec.Struct, kw_only=True):
    """What is counted."""

    count: int


class Enrolled(msgspec.Struct, kw_only=True):
    """The reply."""

    output: EnrollmentOutput
    usage: EnrollmentUsage
    request_id: str


def _told(code: ErrorCode) -> tuple[int, str]:
    error = failure(code)
    return dashscope.http_status(error), dashscope.error_code(error)


_FAILURES = Failures(
    kind=dashscope.Failure,
    told=_told,
)

SECTION = Section(
    name="DashScope",
    prefix="Dashscope",
    about="What the package `dashscope` and Alibaba Model Studio's samples speak to over HTTP.",
    page="protocols/dashscope.md",
    operations=(
        Operation(
            method="POST",
            path="/api/v1/services/audio/tts/SpeechSynthesizer",
            summary="Speak a text",
            headers={
                "X-DashScope-SSE": "`enable` for server-sent events, which bring the audio as it "
                "is made."
            },
            body=SpeechMessage,
            replies=(
                Reply(
                    about="Where the audio can be fetched, when all of it is there; or "
                    "server-sent events with `sentence-begin`, `sentence-synthesis` (base64) and "
                    "`sentence-end`, and the same reply as the last one.",
                    kind=Spoken,
                    media_types=(EVENT_STREAM,),
                ),
            ),
            failures=_FAILURES,
            errors=ASKED | BODY_READ | SPOKEN,
            examples=(
                Example(
                    title="An MP3's address",
                    body={
                        "model": "cosyvoice-v2",
                        "input": {"text": "今天天气怎么样？", "voice": "longxiaochun_v2"},
                    },
                ),
                Example(
                    title="PCM in server-sent events",
                    headers={"X-DashScope-SSE": "enable"},
                    body={
                        "model": "cosyvoice-v2",
                        "input": {
                            "text": "今天天气怎么样？",
                            "voice": "longxiaochun_v2",
                            "format": "pcm",
                            "sample_rate": 24_000,
                            "word_timestamp_enabled": True,
                        },
                    },
                ),
            ),
        ),
        Operation(
            method="POST",
            path="/api/v1/services/audio/tts/customization",
            summary="Make, list, show, change and delete voices",
            about="Voices are made of recordings, which needs a model that clones. Errors of a "
            "recording have the vendor's names, such as `Audio.AudioShortError`.",
            body=EnrollmentMessage,
            replies=(Reply(about="What the action brings.", kind=Enrolled),),
            failures=_FAILURES,
            errors=ASKED | BODY_READ | WORK_DONE | {ErrorCode.NOT_SUPPORTED},
            examples=(
                Example(
                    title="The voices with a prefix",
                    body={
                        "model": "voice-enrollment",
                        "input": {"action": "list_voice", "prefix": "mine", "page_size": 5},
                    },
                ),
            ),
        ),
        Operation(
            method="GET",
            path="/api/v1/files/spoken/{name}",
            summary="Fetch a file that was spoken",
            about="Its address stands in the reply that tells of it, and is its key.",
            path_parameters={"name": "Of the file."},
            replies=(
                Reply(about="The file.", media_types=tuple(dashscope_http.CONTENT_TYPES.values())),
                Reply(about="There is none, or no more.", status=404, media_types=("text/plain",)),
            ),
            public=True,
        ),
    ),
)
