"""What the document says of one operation, of its replies and of its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from server.errors import ErrorCode, SpeechError

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
UPLOAD = "multipart/form-data"
EVENT_STREAM = "text/event-stream"

ASKED = frozenset({ErrorCode.TOKEN_INVALID, ErrorCode.INTERNAL})
"""What any request for which a token is needed may be answered with."""
BODY_READ = frozenset(
    {
        ErrorCode.MESSAGE_INVALID,
        ErrorCode.PARAMETER_INVALID,
        ErrorCode.TEXT_TOO_LONG,
        ErrorCode.IDLE_TIMEOUT,
    }
)
"""What a body may be answered with."""
VOICE_FOUND = frozenset({ErrorCode.VOICE_UNKNOWN, ErrorCode.MODEL_UNAVAILABLE})
WORK_DONE = frozenset(
    {
        ErrorCode.CAPACITY_EXCEEDED,
        ErrorCode.QUOTA_EXCEEDED,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.MODEL_FAILED,
        ErrorCode.MODEL_UNAVAILABLE,
        ErrorCode.WORKER_LOST,
    }
)
"""What anything that needs a model may be answered with."""
SPOKEN = (
    VOICE_FOUND
    | WORK_DONE
    | {
        ErrorCode.FORMAT_UNSUPPORTED,
        ErrorCode.SAMPLE_RATE_UNSUPPORTED,
        ErrorCode.NOT_SUPPORTED,
        ErrorCode.SSML_INVALID,
        ErrorCode.TEXT_MISSING,
        ErrorCode.TEXT_TOO_LONG,
    }
)
"""What a request for speech may be answered with."""

Message = type[msgspec.Struct]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that is no error.

    Attributes:
        kind: the type of a JSON body, or a tuple of types that it may have.
        media_types: of a body that is no JSON, or not always.
        headers: what they say, by their names.
    """

    about: str
    status: int = 200
    kind: Any = None
    media_types: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """How a protocol tells errors.

    Attributes:
        kind: the type of the body.
        told: HTTP status and the vendor's own name of an error.
        headers: what they say, by their names.
    """

    kind: Message
    told: Callable[[ErrorCode], tuple[int, str]]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A request that works on a server with the embedded model, and is tested to.

    Attributes:
        title: what it shows.
        path: with its parameters' values; empty if it has none.
        query: by names; a value may be a variable of the shell, `$NAME`.
        body: a JSON body.
        form: fields of an upload, a file as `@name`.
        stdin: a shell command whose output is the body.
        output: the file that the reply goes to; empty to show it.
    """

    title: str
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A method of a path.

    Attributes:
        aliases: other paths that do the same.
        path_parameters: what they are, by their names.
        headers: request headers, the same way.
        query: fields of this type may stand in the query.
        body: the type of the body.
        body_types: media types that it may have.
        errors: what can go wrong; told as `failures` says.
        public: needs no token, even if there are some.
    """

    method: str
    path: str
    summary: str
    about: str = ""
    aliases: tuple[str, ...] = ()
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Message | None = None
    body: Message | None = None
    body_types: tuple[str, ...] = (JSON,)
    replies: tuple[Reply, ...]
    failures: Failures | None = None
    errors: frozenset[ErrorCode] = frozenset()
    public: bool = False
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A protocol's operations.

    Attributes:
        name: also the tag.
        prefix: of its schemas' names.
        page: the compatibility page, below `docs/`.
    """

    name: str
    prefix: str
    about: str
    page: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """A WebSocket, which OpenAPI has no words for."""

    paths: tuple[str, ...]
    summary: str
    page: str


def failure(code: ErrorCode) -> SpeechError:
    """An error of a code, to ask a protocol how it tells it."""
    return SpeechError(code, "")
