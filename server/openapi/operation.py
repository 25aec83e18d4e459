"""What the document says of one operation, of its replies and of its errors."""

from __future__ import annotations

import json
import shlex
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


def curl(operation: Operation, example: Example, base_url: str, *, token: bool) -> str:
    """An example for a POSIX shell.

    Args:
        operation: what is asked for.
        example: how.
        base_url: of the server, without a slash at its end.
        token: whether one is needed; the shell has it in `$TOKEN`.
    """
    url = base_url + (example.path or operation.path)
    lines = ["curl --fail-with-body"]
    if operation.method == "GET" and example.query:
        lines[0] += " --get"
    elif operation.method not in {"GET", "POST"} or (
        operation.method == "POST" and not _sends(example)
    ):
        lines[0] += f" --request {operation.method}"
    lines[0] += f" {shlex.quote(url)}"
    if token and not operation.public:
        lines.append('--header "Authorization: Bearer $TOKEN"')
    if example.body is not None or example.stdin:
        lines.append(f"--header 'Content-Type: {JSON}'")
    lines += [
        f"--header {shlex.quote(f'{name}: {value}')}" for name, value in example.headers.items()
    ]
    lines += [
        f"--data-urlencode {shlex.quote(f'{name}={value}')}"
        for name, value in example.query.items()
    ]
    lines += [f"--form {shlex.quote(f'{name}={value}')}" for name, value in example.form.items()]
    if example.body is not None:
        lines.append(f"--data-raw {shlex.quote(json.dumps(example.body, ensure_ascii=False))}")
    if example.stdin:
        lines.append("--data-binary @-")
    if example.output:
        lines.append(f"--output {shlex.quote(example.output)}")
    program = " \\\n  ".join(lines)
    return f"{example.stdin} |\n  {program}" if example.stdin else program


def _sends(example: Example) -> bool:
    return example.body is not None or bool(example.form or example.stdin)


def failure(code: ErrorCode) -> SpeechError:
    """An error of a code, to ask a protocol how it tells it."""
    return SpeechError(code, "")
