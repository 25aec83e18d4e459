"""Qiniu: speech, recognition and the voice list, each with `/v1` and without."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from server.errors import ErrorCode
from server.openapi.operation import (
    ASKED,
    BODY_READ,
    SPOKEN,
    VOICE_FOUND,
    WORK_DONE,
    Example,
    Failures,
    Operation,
    Reply,
    Section,
)
from server.protocols import qiniu, qiniu_asr, qiniu_tts
from server.speech import previews

_REQID = {qiniu.REQID_HEADER: "The request's id, which also stands in the server's log."}


class AudioInfo(msgspec.Struct, kw_only=True):
    """What is known of the audio."""

    duration: Annotated[int, Meta(description="In milliseconds.")]


class Additions(msgspec.Struct, kw_only=True):
    """What else there is to say."""

    duration: Annotated[str, Meta(description="In milliseconds.")]


class AsrResult(msgspec.Struct, kw_only=True):
    """What was said."""

    text: str
    additions: Additions


class AsrData(msgspec.Struct, kw_only=True):
    """What was asked for."""

    audio_info: AudioInfo
    result: AsrResult


class AsrReply(msgspec.Struct, kw_only=True):
    """The reply."""

    reqid: str
    operation: str
    data: AsrData


class PreviewQuery(msgspec.Struct, kw_only=True):
    """Who may hear it."""

    signature: Annotated[
        str, Meta(description="Of the list's addresses; stands for a token, for this voice only.")
    ] = ""


def _told(code: ErrorCode) -> tuple[int, str]:
    return qiniu.http_status(code), code.value


_FAILURES = Failures(
    kind=qiniu.Failure,
    told=_told,
    headers=_REQID,
)

SECTION = Section(
    name="Qiniu",
    prefix="Qiniu",
    about="What programs for Qiniu's voice API speak to. All paths also work without `/v1`.",
    page="protocols/qiniu.md",
    operations=(
        Operation(
            method="POST",
            path="/v1/voice/tts",
            aliases=("/voice/tts",),
            summary="Speak a text",
            headers={"VoiceType": "The voice, for a request that names none itself."},
            body=qiniu_tts.TtsMessage,
            replies=(
                Reply(
                    about="One JSON object, sent as its audio is made.",
                    kind=qiniu_tts.TtsReply,
                    headers=_REQID,
                ),
            ),
            failures=_FAILURES,
            errors=ASKED | BODY_READ | SPOKEN,
            examples=(
                Example(
                    title="MP3 in a JSON reply",
                    body={
                        "audio": {
                            "voice_type": "qiniu_zh_female_wwxkjx",
                            "encoding": "mp3",
                            "speed_ratio": 1.0,
                        },
                        "request": {"text": "你好，世界！"},
                    },
                    output="reply.json",
                ),
            ),
        ),
        Operation(
            method="GET",
            path="/v1/voice/list",
            aliases=("/voice/list",),
            summary="List the voices",
            replies=(
                Reply(
                    about="All voices, and Qiniu's names that stand for one.",
                    kind=list[qiniu_tts.VoiceItem],
                    headers=_REQID,
                ),
            ),
            failures=_FAILURES,
            errors=ASKED,
            examples=(Example(title="All voices"),),
        ),
        Operation(
            method="GET",
            path="/v1/voice/preview/{voice}",
            aliases=("/voice/preview/{voice}",),
            summary="Hear a voice",
            about="The list's addresses lead here, and need no token besides.",
            path_parameters={"voice": "A name of the list, with or without `.mp3`."},
            query=PreviewQuery,
            replies=(
                Reply(
                    about="A sentence in its language.",
                    media_types=(previews.CONTENT_TYPE,),
                    headers=_REQID,
                ),
            ),
            failures=_FAILURES,
            errors=ASKED | VOICE_FOUND | WORK_DONE,
            examples=(
                Example(
                    title="A voice's sentence",
                    path="/v1/voice/preview/xiaoyun.mp3",
                    output="xiaoyun.mp3",
                ),
            ),
        ),
        Operation(
            method="POST",
            path="/v1/voice/asr",
            aliases=("/voice/asr",),
            summary="Write down what a recording says",
            body=qiniu_asr.AsrMessage,
            replies=(Reply(about="The text.", kind=AsrReply, headers=_REQID),),
            failures=_FAILURES,
            errors=ASKED
            | BODY_READ
            | WORK_DONE
            | {
                ErrorCode.FORMAT_UNSUPPORTED,
                ErrorCode.SAMPLE_RATE_UNSUPPORTED,
                ErrorCode.NOT_SUPPORTED,
            },
            examples=(
                Example(
                    title="A file",
                    stdin='printf \'{"audio": {"format": "mp3", "data": "%s"}}\' '
                    "\"$(base64 < fox.mp3 | tr -d '\\n')\"",
                ),
            ),
        ),
    ),
)
