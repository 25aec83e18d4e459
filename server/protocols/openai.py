"""OpenAI's API: errors, models and voices, which its paths share.

Sources: OpenAI's API reference and the types of its Python package (3.54). The package and many
clients look at all four keys of an error, so none of them is ever left out.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import msgspec

from server.errors import ErrorCode, SpeechError

REQUEST_ID_HEADER = "x-request-id"
"""What the official packages call `_request_id`."""
MODEL_ALIASES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""Clients have these built in."""
VOICE_ALIASES = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage",
    "shimmer", "verse",
)  # fmt: skip
_encoder = msgspec.json.Encoder()


def new_request_id() -> str:
    """A request's name, also in the log."""
    return f"req_{uuid.uuid4().hex}"


def render(message: msgspec.Struct) -> bytes:
    """A message as JSON."""
    return _encoder.encode(message)


# --- Models and voices -----------------------------------------------------------------------


class Model(msgspec.Struct, kw_only=True, tag="model", tag_field="object"):
    """One model of `GET /v1/models`."""

    id: str
    created: int
    """Unix time in seconds."""
    owned_by: str


class ModelList(msgspec.Struct, kw_only=True, tag="list", tag_field="object"):
    """All models."""

    data: list[Model]


class AudioModel(msgspec.Struct, kw_only=True):
    """One model of `GET /v1/audio/models`, which Open WebUI asks for."""

    id: str
    name: str


class AudioModelList(msgspec.Struct, kw_only=True):
    """All models."""

    models: list[AudioModel]


class VoiceItem(msgspec.Struct, kw_only=True):
    """One voice of `GET /v1/audio/voices`; Open WebUI reads `id` and `name`."""

    id: str
    """What a request names it by."""
    name: str
    model: str
    language: str
    gender: str
    kind: str


class VoiceList(msgspec.Struct, kw_only=True):
    """All voices."""

    voices: list[VoiceItem]


# --- Errors ----------------------------------------------------------------------------------


class ErrorDetail(msgspec.Struct, kw_only=True):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    """The field of the request that is to blame."""
    code: str | None


class Failure(msgspec.Struct, kw_only=True):
    """The body of an HTTP error."""

    error: ErrorDetail


class ParameterError(SpeechError):
    """A field of the request cannot be used.

    Args:
        param: the field.
        reason: OpenAI's code for what is wrong with it.
        message: for people.
    """

    def __init__(self, param: str, reason: str, message: str) -> None:
        super().__init__(ErrorCode.PARAMETER_INVALID, message)
        self.param = param
        self.reason = reason


_INVALID_REQUEST = "invalid_request_error"
_SERVER_ERROR = "server_error"


@dataclass(frozen=True, slots=True)
class _Kind:
    """How an error is told; `code` and `param` may be set by the error itself."""

    status: int
    type: str = _INVALID_REQUEST
    code: str | None = None
    param: str | None = None


_KINDS = {
    ErrorCode.MESSAGE_INVALID: _Kind(400),
    ErrorCode.VOICE_UNKNOWN: _Kind(400, code="invalid_value", param="voice"),
    ErrorCode.FORMAT_UNSUPPORTED: _Kind(400, code="invalid_value", param="response_format"),
    ErrorCode.TEXT_MISSING: _Kind(400, code="invalid_value", param="input"),
    ErrorCode.TEXT_TOO_LONG: _Kind(400, code="string_above_max_length", param="input"),
    ErrorCode.NOT_SUPPORTED: _Kind(400, code="unsupported_value"),
    ErrorCode.TOKEN_INVALID: _Kind(401, code="invalid_api_key"),
    ErrorCode.IDLE_TIMEOUT: _Kind(408, code="request_timeout"),
    ErrorCode.CAPACITY_EXCEEDED: _Kind(429, "requests", "rate_limit_exceeded"),
    ErrorCode.QUOTA_EXCEEDED: _Kind(429, "insufficient_quota", "insufficient_quota"),
    ErrorCode.SHUTTING_DOWN: _Kind(503, _SERVER_ERROR),
    ErrorCode.MODEL_UNAVAILABLE: _Kind(503, _SERVER_ERROR),
    ErrorCode.MODEL_FAILED: _Kind(500, _SERVER_ERROR),
    ErrorCode.WORKER_LOST: _Kind(500, _SERVER_ERROR),
    ErrorCode.INTERNAL: _Kind(500, _SERVER_ERROR),
}
_BAD_REQUEST = _Kind(400)
MODEL_NOT_FOUND = "model_not_found"
METHOD_NOT_SUPPORTED = "method_not_supported"
UNKNOWN_URL = "unknown_url"


def http_status(error: SpeechError) -> int:
    """The HTTP status that goes with an error."""
    return _KINDS.get(error.code, _BAD_REQUEST).status


def detail(error: SpeechError) -> ErrorDetail:
    """An error as its object."""
    if isinstance(error, ParameterError):
        return invalid_request(error.message, param=error.param, code=error.reason)
    kind = _KINDS.get(error.code, _BAD_REQUEST)
    code = kind.code or (error.code.value if kind.type == _SERVER_ERROR else None)
    return ErrorDetail(message=error.message, type=kind.type, param=kind.param, code=code)


def invalid_request(message: str, *, param: str | None = None, code: str | None) -> ErrorDetail:
    """An error that is the client's fault."""
    return ErrorDetail(message=message, type=_INVALID_REQUEST, param=param, code=code)
