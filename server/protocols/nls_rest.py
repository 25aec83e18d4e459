"""Aliyun NLS over HTTP, `/stream/v1/tts`: parameters in, one audio file or one JSON error out.

Sources: Aliyun's "restful-api-3" page and its official samples, which take a reply for audio only
if its type is `audio/mpeg`, whatever the format.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec import inspect

from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.fields import Fields
from server.protocols.nls_options import read_options, read_text
from server.protocols.nls_parameters import HttpParameters
from server.speech.types import SpeechOptions

CONTENT_TYPE = "audio/mpeg"
"""Of every format: the official samples compare for equality."""
_FIELDS = Fields(HttpParameters)
_NUMBERS = _FIELDS.of_type(inspect.IntType)
_FLAGS = _FIELDS.of_type(inspect.BoolType)
_HTTP_STATUS = {
    ErrorCode.TOKEN_INVALID: 403,
    ErrorCode.IDLE_TIMEOUT: 408,
    ErrorCode.CAPACITY_EXCEEDED: 429,
    ErrorCode.QUOTA_EXCEEDED: 429,
    ErrorCode.SHUTTING_DOWN: 503,
    ErrorCode.MODEL_UNAVAILABLE: 503,
    ErrorCode.MODEL_FAILED: 500,
    ErrorCode.WORKER_LOST: 500,
    ErrorCode.INTERNAL: 500,
}
_BAD_REQUEST = 400
_MAX_DIGITS = 18
"""More digits are in no range, and Python refuses to convert more than 4300."""


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A checked request."""

    options: SpeechOptions
    text: str


def parse_json(body: bytes) -> dict[str, Any]:
    """Read a POST body.

    Raises:
        SpeechError: MESSAGE_INVALID.
    """
    try:
        parameters = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        parameters = None
    if not isinstance(parameters, dict):
        raise SpeechError(ErrorCode.MESSAGE_INVALID, "in post data, json format illegal")
    return parameters


def parse_text_fields(fields: dict[str, str]) -> dict[str, Any]:
    """Read a query or a form, in which numbers and flags arrive as text; an empty one is absent."""
    parameters: dict[str, Any] = {name: value for name, value in fields.items() if value}
    for name in _NUMBERS:
        digits = fields.get(name, "").removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS:
            parameters[name] = int(fields[name])
    for name in _FLAGS:
        if fields.get(name, "").lower() in {"true", "false"}:
            parameters[name] = fields[name].lower() == "true"
    return parameters


def read_request(parameters: dict[str, Any], *, require_appkey: bool) -> SpeechRequest:
    """Check the parameters.

    Raises:
        SpeechError: one is missing, has the wrong type or is out of range.
    """
    if require_appkey and not nls.string(parameters, "appkey", ""):
        raise SpeechError(ErrorCode.APPKEY_MISSING, "appkey not set")
    text = read_text(parameters)
    # Nobody could be told timestamps.
    options = replace(read_options(parameters, _FIELDS), subtitles=False)
    return SpeechRequest(options, text)


def http_status(code: ErrorCode) -> int:
    """The HTTP status that goes with an error."""
    return _HTTP_STATUS.get(code, _BAD_REQUEST)


def render_failure(error: SpeechError, *, task_id: str) -> tuple[int, bytes]:
    """HTTP status and JSON body of an error."""
    status, prefix = nls.STATUS_BY_CODE[error.code]
    if error.code is ErrorCode.MESSAGE_INVALID:
        status, prefix = 40_000_000, "Gateway:CLIENT_ERROR:"
    body = {"task_id": task_id, "result": "", "status": status, "message": prefix + error.message}
    return http_status(error.code), msgspec.json.encode(body)
