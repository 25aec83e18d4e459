"""Aliyun NLS: `/rest/v1/tts/async`, long texts that become files."""

from __future__ import annotations

from server.errors import ErrorCode
from server.openapi.operation import (
    ASKED,
    BODY_READ,
    SPOKEN,
    Example,
    Failures,
    Operation,
    Reply,
    Section,
    failure,
)
from server.protocols import nls_async
from server.protocols.nls_async_messages import (
    AsyncMessage,
    AsyncQuery,
    TextFailure,
    TextProgressReply,
    TextTakenReply,
)


def _told(code: ErrorCode) -> tuple[int, str]:
    status, _ = nls_async.told(failure(code))
    return nls_async.http_status(code), str(status)


_FAILURES = Failures(kind=TextFailure, told=_told)
_ASKING = ASKED | {ErrorCode.PARAMETER_INVALID, ErrorCode.APPKEY_MISSING}

SECTION = Section(
    name="Aliyun NLS, long texts",
    prefix="NlsAsync",
    about="Texts that are spoken into files while nobody waits, and survive a restart.",
    page="protocols/aliyun.md",
    operations=(
        Operation(
            method="POST",
            path=nls_async.PATH,
            summary="Hand in a text",
            body=AsyncMessage,
            replies=(Reply(about="It was taken on.", kind=TextTakenReply),),
            failures=_FAILURES,
            errors=_ASKING | BODY_READ | SPOKEN,
            examples=(
                Example(
                    title="A text, for a WAV file with times",
                    body={
                        "header": {"appkey": "default"},
                        "payload": {
                            "tts_request": {
                                "text": "第一章。清晨的码头还很安静。",
                                "voice": "xiaoyun",
                                "format": "wav",
                                "enable_subtitle": True,
                            },
                            "enable_notify": False,
                        },
                    },
                ),
            ),
        ),
        Operation(
            method="GET",
            path=nls_async.PATH,
            summary="Ask how far a text is",
            about="A text that failed is answered with 400, too, with its reason and `data`.",
            query=AsyncQuery,
            replies=(Reply(about="How far it is.", kind=TextProgressReply),),
            failures=_FAILURES,
            errors=_ASKING,
            examples=(Example(title="A text's state", query={"task_id": "$TASK_ID"}),),
        ),
        Operation(
            method="DELETE",
            path=nls_async.PATH,
            summary="Stop and forget a text",
            query=AsyncQuery,
            replies=(Reply(about="It is forgotten, with its file.", kind=TextTakenReply),),
            failures=_FAILURES,
            errors=_ASKING,
            examples=(Example(title="Forget a text", query={"task_id": "$TASK_ID"}),),
        ),
        Operation(
            method="GET",
            path=nls_async.FILES_PATH + "{name}",
            summary="Fetch a text's file",
            about="Its address stands in the reply that tells of it, and is its key.",
            path_parameters={"name": "Of the file."},
            replies=(
                Reply(about="The file.", media_types=tuple(nls_async.CONTENT_TYPES.values())),
                Reply(about="There is none, or no more.", status=404, media_types=("text/plain",)),
            ),
            public=True,
        ),
    ),
)
