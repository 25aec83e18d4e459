"""Aliyun NLS: the envelope of every message, and how errors are told.

Sources: Aliyun's "streaming-text-tts-wss" and "restful-api-3" pages for fields and status codes;
the SDKs (Python, Node, Java, Go, C++) for what is read: `status` must be an integer, `namespace`
the request's or "Default", and both `status_text` (SDKs) and `status_message` (documents,
hand-written clients) are looked at.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from server.errors import ErrorCode, SpeechError

SUCCESS = 20_000_000
STATUS_TOKEN = 40_000_001
SUCCESS_TEXT = "GATEWAY|SUCCESS|Success."
_MAX_ID_CHARACTERS = 128
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_ECHO_CHARACTERS = 64

STATUS_BY_CODE: dict[ErrorCode, tuple[int, str]] = {
    ErrorCode.MESSAGE_INVALID: (40_000_002, "Gateway:MESSAGE_INVALID:"),
    ErrorCode.TASK_MISMATCH: (40_000_002, "Gateway:MESSAGE_INVALID:"),
    ErrorCode.MESSAGE_UNKNOWN: (40_010_002, "Gateway:DIRECTIVE_NOT_SUPPORTED:"),
    ErrorCode.NAMESPACE_UNKNOWN: (40_010_001, "Gateway:NAMESPACE_NOT_FOUND:"),
    ErrorCode.STATE_CONFLICT: (40_010_005, "Gateway:TASK_STATE_ERROR:"),
    ErrorCode.PARAMETER_INVALID: (40_000_003, "Gateway:PARAMETER_INVALID:"),
    ErrorCode.VOICE_UNKNOWN: (40_000_003, "Gateway:PARAMETER_INVALID:"),
    ErrorCode.VOICE_EXISTS: (40_000_003, "Gateway:PARAMETER_INVALID:"),
    ErrorCode.TEXT_TOO_LONG: (40_000_003, "Gateway:PARAMETER_INVALID:"),
    ErrorCode.NOT_SUPPORTED: (40_000_003, "Gateway:PARAMETER_INVALID:"),
    ErrorCode.APPKEY_MISSING: (40_000_003, "Gateway:PARAMETER_INVALID:"),
    ErrorCode.FORMAT_UNSUPPORTED: (40_010_003, "Gateway:DIRECTIVE_INVALID:"),
    ErrorCode.TEXT_MISSING: (40_010_003, "Gateway:DIRECTIVE_INVALID:"),
    ErrorCode.SAMPLE_RATE_UNSUPPORTED: (41_010_101, "TTS:UNSUPPORTED_SAMPLE_RATE:"),
    ErrorCode.SSML_INVALID: (41_020_001, "TTS:TtsClientError:"),
    ErrorCode.TOKEN_INVALID: (STATUS_TOKEN, "Gateway:ACCESS_DENIED:"),
    ErrorCode.CAPACITY_EXCEEDED: (40_000_005, "Gateway:TOO_MANY_REQUESTS:"),
    # The gateway's answer when an allowance is used up; 40000005 would invite to try again.
    ErrorCode.QUOTA_EXCEEDED: (40_000_010, "Gateway:FREE_TRIAL_EXPIRED:"),
    ErrorCode.IDLE_TIMEOUT: (40_000_004, "Gateway:IDLE_TIMEOUT:"),
    ErrorCode.CLIENT_TOO_SLOW: (40_010_004, "Gateway:CLIENT_DISCONNECT:"),
    ErrorCode.SHUTTING_DOWN: (50_000_000, "Gateway:SERVER_ERROR:"),
    ErrorCode.MODEL_FAILED: (51_020_001, "TTS:TtsServerError:"),
    ErrorCode.WORKER_LOST: (51_020_001, "TTS:TtsServerError:"),
    ErrorCode.MODEL_UNAVAILABLE: (51_020_001, "TTS:TtsServerError:"),
    ErrorCode.INTERNAL: (50_000_000, "Gateway:SERVER_ERROR:"),
}
"""NLS status and the prefix of its text; the numbers are those of Aliyun's error tables."""


class ServerHeader(msgspec.Struct, kw_only=True):
    """The header of every message to the client."""

    message_id: str
    task_id: str
    namespace: str
    name: str
    status: int = SUCCESS
    status_text: str = SUCCESS_TEXT
    status_message: str = SUCCESS_TEXT


class ServerMessage(msgspec.Struct, kw_only=True, omit_defaults=False):
    """A text frame to the client."""

    header: ServerHeader
    payload: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """A text frame from the client, its envelope checked. Unknown content is dropped."""

    name: str
    namespace: str
    task_id: str
    appkey: str
    payload: dict[str, Any]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def new_id() -> str:
    """32 hexadecimal characters, as NLS ids are."""
    return uuid.uuid4().hex


def parse(frame: str | bytes) -> ClientMessage:
    """Check the envelope of a frame.

    Raises:
        SpeechError: MESSAGE_INVALID, with what is wrong.
    """
    message = _decode(frame)
    if not isinstance(message, dict):
        raise _invalid("Message is not a JSON object!")
    header = message.get("header")
    if not isinstance(header, dict):
        raise _invalid("Missing message header!")
    payload = message.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise _invalid("Invalid payload: not a JSON object!")
    _identifier(header, "message_id", required=False)
    return ClientMessage(
        name=_identifier(header, "name"),
        namespace=_identifier(header, "namespace"),
        task_id=_identifier(header, "task_id"),
        appkey=_identifier(header, "appkey", required=False),
        payload=payload or {},
    )


def peek_task_id(frame: str | bytes) -> str:
    """The task id of a frame, whatever else is wrong with it; an empty string if it has none."""
    try:
        message = _decode(frame)
        header = message.get("header") if isinstance(message, dict) else None
        return _identifier(header, "task_id") if isinstance(header, dict) else ""
    except SpeechError:
        return ""


def _decode(frame: str | bytes) -> object:
    if isinstance(frame, bytes):
        raise _invalid("Binary messages are not part of this protocol!")
    try:
        return parse_json(frame)
    except ValueError:
        raise _invalid("Message is not JSON!") from None


def parse_json(text: str | bytes) -> object:
    r"""Parse JSON, also what JavaScript writes and msgspec refuses: half a surrogate pair.

    A page that cuts text by UTF-16 units sends "好\\ud83d" and then "\\ude00"; the halves are
    joined when the text is spoken.

    Raises:
        ValueError: it is no JSON, or nested without end.
    """
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError):
        pass
    try:
        value: object = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def render(
    name: str, *, task_id: str, namespace: str, payload: dict[str, Any] | None = None
) -> str:
    """A message that tells of success."""
    return _encode(
        ServerMessage(
            header=ServerHeader(
                message_id=new_id(), task_id=task_id, namespace=namespace, name=name
            ),
            payload=msgspec.UNSET if payload is None else payload,
        )
    )


def render_failure(error: SpeechError, *, task_id: str) -> str:
    """`TaskFailed`, which ends the task. Its namespace is "Default", as every SDK accepts."""
    status, prefix = STATUS_BY_CODE[error.code]
    text = prefix + error.message
    return _encode(
        ServerMessage(
            header=ServerHeader(
                message_id=new_id(),
                task_id=task_id,
                namespace="Default",
                name="TaskFailed",
                status=status,
                status_text=text,
                status_message=text,
            )
        )
    )


def echo(value: object) -> str:
    """A client's value as it may stand in an error message: short and printable."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= _MAX_ECHO_CHARACTERS else text[:_MAX_ECHO_CHARACTERS] + "..."


def integer(
    payload: dict[str, Any], name: str, *, low: int, high: int, default: int | None
) -> int | None:
    """A number of the payload; absent or null gives the default.

    Raises:
        SpeechError: PARAMETER_INVALID, for anything but a whole number from low to high. A bool is
            no number here.
    """
    value = payload.get(name)
    if value is None:
        return default
    whole = isinstance(value, int) or (
        isinstance(value, float) and math.isfinite(value) and value == int(value)
    )
    if isinstance(value, bool) or not whole:
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID, f"Invalid {name} '{echo(value)}': not an integer!"
        )
    if not low <= value <= high:
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID,
            f"Invalid {name} '{echo(value)}': must be from {low} to {high}!",
        )
    return int(value)


def number(payload: dict[str, Any], name: str, *, low: float, high: float, default: float) -> float:
    """A number of the payload, whole or not; absent or null gives the default.

    Raises:
        SpeechError: PARAMETER_INVALID, for anything but a number from low to high. A bool is no
            number here.
    """
    value = payload.get(name)
    if value is None:
        return default
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Also refuses what is no number of Python's floats: NaN, or an int that is too large for them.
    if not is_number or not low <= value <= high:
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID,
            f"Invalid {name} '{echo(value)}': must be a number from {low:g} to {high:g}!",
        )
    return float(value)


def string(payload: dict[str, Any], name: str, default: str) -> str:
    """A string of the payload; absent, null or empty gives the default.

    Raises:
        SpeechError: PARAMETER_INVALID, for another type.
    """
    value = payload.get(name)
    if value is None or value == "":
        return default
    if not isinstance(value, str) or _SURROGATE.search(value):
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID, f"Invalid {name} '{echo(value)}': not a string!"
        )
    return value


def boolean(payload: dict[str, Any], name: str, *, default: bool) -> bool:
    """A flag of the payload; absent or null gives the default.

    Raises:
        SpeechError: PARAMETER_INVALID, for another type.
    """
    value = payload.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID, f"Invalid {name} '{echo(value)}': not a boolean!"
        )
    return value


def _identifier(header: dict[str, Any], name: str, *, required: bool = True) -> str:
    value = header.get(name)
    if value is None or value == "":
        if required:
            raise _invalid(f"Missing {name} in message header!")
        return ""
    if not isinstance(value, str) or len(value) > _MAX_ID_CHARACTERS or not value.isprintable():
        raise _invalid(f"Invalid {name} '{echo(value)}'!")
    return value


def _invalid(message: str) -> SpeechError:
    return SpeechError(ErrorCode.MESSAGE_INVALID, message)


def _encode(message: ServerMessage) -> str:
    return _encoder.encode(message).decode()
