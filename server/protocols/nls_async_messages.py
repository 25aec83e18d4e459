"""Aliyun NLS over HTTP, `/rest/v1/tts/async`: the messages, as the vendor's samples read them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from server.protocols.nls_parameters import TextParameters


class AsyncParameters(TextParameters, frozen=True, kw_only=True):
    """What shall be said, and how."""

    enable_subtitle: Annotated[
        bool, Meta(description="`sentences` with their times in the reply, when all is spoken.")
    ] = False


class AsyncPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The text, and who is told of its end."""

    tts_request: AsyncParameters
    enable_notify: Annotated[bool, Meta(description="Tell `notify_url` of the end, by a POST.")] = (
        False
    )
    notify_url: Annotated[
        str,
        Meta(description="A public address by its name, or one in the allowed networks."),
    ] = ""


class AsyncContext(msgspec.Struct, frozen=True, kw_only=True):
    """Ignored."""

    device_id: str = ""


class AsyncHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    appkey: Annotated[
        str, Meta(description="Any, or none, unless the server is set to require one.")
    ] = ""
    token: Annotated[str, Meta(description="Or a header, or `token` in the query.")] = ""


class AsyncMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A request; null is as good as absent, unknown fields are ignored."""

    payload: AsyncPayload
    header: AsyncHeader = AsyncHeader()
    context: AsyncContext = AsyncContext()


class AsyncQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which task."""

    task_id: Annotated[str, Meta(description="Of the reply to the text.")]
    appkey: Annotated[
        str, Meta(description="Any, or none, unless the server is set to require one.")
    ] = ""
    token: Annotated[str, Meta(description="Where no header can be set.")] = ""
    request_id: Annotated[str, Meta(description="Ignored.")] = ""


class TextTaken(msgspec.Struct, kw_only=True):
    """What is said of a text that was taken on."""

    task_id: str


class TextSentence(msgspec.Struct, kw_only=True):
    """Where a sentence is heard."""

    text: str
    begin_time: Annotated[str, Meta(description="In ms, as text.")]
    end_time: str


class TextProgress(msgspec.Struct, kw_only=True):
    """How far a task is."""

    task_id: str
    audio_address: Annotated[
        str | None, Meta(description="Null until all is spoken. It needs no token.")
    ]
    notify_custom: Annotated[str | None, Meta(description="Null, in the end empty.")]
    sentences: Annotated[
        list[TextSentence] | msgspec.UnsetType,
        Meta(description="When all is spoken; empty without `enable_subtitle`."),
    ] = msgspec.UNSET


class TextTakenReply(msgspec.Struct, kw_only=True):
    """The reply to a text."""

    status: int
    error_code: int
    error_message: str
    request_id: str
    data: TextTaken


class TextProgressReply(msgspec.Struct, kw_only=True):
    """The reply to a question."""

    status: int
    error_code: int
    error_message: Annotated[str, Meta(description="`QUEUEING`, `RUNNING` or `SUCCESS`.")]
    request_id: str
    data: TextProgress


class TextFailure(msgspec.Struct, kw_only=True):
    """The body of an error; `data` is there if it is the task that failed."""

    error_message: str
    error_code: Annotated[int, Meta(description="Eight digits, of Aliyun's tables.")]
    request_id: str
    url: str
    status: Annotated[int, Meta(description="The HTTP status.")]
    data: TextProgress | msgspec.UnsetType = msgspec.UNSET


class TextNotice(msgspec.Struct, kw_only=True):
    """What is sent to `notify_url`."""

    data: TextProgress
    request_id: str
    status: int
    error_code: int
    error_message: str
