"""Qiniu's voice API: what speaking, recognising and the voice list share.

The vendor's page says how success looks and nothing of failure. Ours is the form of the OpenAI-like
API beside it, `{"error": {"code", "message"}}`, with a `reqid` that also stands in the log.
"""

from __future__ import annotations

import uuid

import msgspec

from server.errors import ErrorCode, SpeechError

REQID_HEADER = "X-Reqid"
"""As all of Qiniu's services name it."""
_HTTP_STATUS = {
    ErrorCode.TOKEN_INVALID: 401,
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


class ErrorDetail(msgspec.Struct, kw_only=True):
    """What went wrong."""

    code: str
    """A value of `server.errors.ErrorCode`."""
    message: str


class Failure(msgspec.Struct, kw_only=True):
    """The body of an HTTP error."""

    reqid: str
    error: ErrorDetail


def new_reqid() -> str:
    """32 hexadecimal characters."""
    return uuid.uuid4().hex


def http_status(code: ErrorCode) -> int:
    """The HTTP status that goes with an error."""
    return _HTTP_STATUS.get(code, _BAD_REQUEST)


def detail(error: SpeechError) -> ErrorDetail:
    """An error as its object."""
    return ErrorDetail(code=error.code.value, message=error.message)


def render_failure(error: SpeechError, *, reqid: str) -> bytes:
    """An error as the body of an HTTP response."""
    return msgspec.json.encode(Failure(reqid=reqid, error=detail(error)))


def read_header(value: str) -> str:
    """A header's value, which arrives as Latin-1 and is UTF-8 from most clients."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
