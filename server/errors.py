"""Every failure that a client can be told of.

There is one exception, `SpeechError`, with one `ErrorCode` and a public message. Each protocol
module maps codes to its own vocabulary (an NLS status, an HTTP status, a vendor's string).

    SpeechError
    |-- the client's message
    |   |-- MESSAGE_INVALID         not JSON, no header, wrong types, a binary frame
    |   |-- MESSAGE_UNKNOWN         a message name that the protocol does not have
    |   |-- NAMESPACE_UNKNOWN       a service that the protocol does not have
    |   |-- STATE_CONFLICT          a known message at the wrong time
    |   `-- TASK_MISMATCH           a message for a task that is not running here
    |-- the client's parameters
    |   |-- PARAMETER_INVALID       a type or a range
    |   |-- FORMAT_UNSUPPORTED
    |   |-- SAMPLE_RATE_UNSUPPORTED
    |   |-- VOICE_UNKNOWN
    |   |-- VOICE_EXISTS            a new voice has another's name, or recording
    |   |-- TEXT_MISSING
    |   |-- TEXT_TOO_LONG
    |   |-- SSML_INVALID
    |   `-- NOT_SUPPORTED           a known wish that the chosen model cannot fulfil
    |-- the client's rights
    |   |-- TOKEN_INVALID           missing or wrong
    |   |-- APPKEY_MISSING
    |   `-- QUOTA_EXCEEDED          the key has used up its characters of the day
    |-- the moment
    |   |-- CAPACITY_EXCEEDED       the server, or this token, has as many tasks as it may
    |   |-- IDLE_TIMEOUT            nothing came for too long
    |   |-- CLIENT_TOO_SLOW         nothing could be sent for too long
    |   `-- SHUTTING_DOWN           the server drains
    `-- our fault
        |-- MODEL_FAILED            the model raised
        |-- WORKER_LOST             its process died and the sentence could not be retried
        |-- MODEL_UNAVAILABLE       no worker became ready in time
        `-- INTERNAL
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """What went wrong; see the tree in the module's docstring."""

    MESSAGE_INVALID = "message_invalid"
    MESSAGE_UNKNOWN = "message_unknown"
    NAMESPACE_UNKNOWN = "namespace_unknown"
    STATE_CONFLICT = "state_conflict"
    TASK_MISMATCH = "task_mismatch"
    PARAMETER_INVALID = "parameter_invalid"
    FORMAT_UNSUPPORTED = "format_unsupported"
    SAMPLE_RATE_UNSUPPORTED = "sample_rate_unsupported"
    VOICE_UNKNOWN = "voice_unknown"
    VOICE_EXISTS = "voice_exists"
    TEXT_MISSING = "text_missing"
    TEXT_TOO_LONG = "text_too_long"
    SSML_INVALID = "ssml_invalid"
    NOT_SUPPORTED = "not_supported"
    TOKEN_INVALID = "token_invalid"  # noqa: S105 - a code, not a secret
    APPKEY_MISSING = "appkey_missing"
    QUOTA_EXCEEDED = "quota_exceeded"
    CAPACITY_EXCEEDED = "capacity_exceeded"
    IDLE_TIMEOUT = "idle_timeout"
    CLIENT_TOO_SLOW = "client_too_slow"
    SHUTTING_DOWN = "shutting_down"
    MODEL_FAILED = "model_failed"
    WORKER_LOST = "worker_lost"
    MODEL_UNAVAILABLE = "model_unavailable"
    INTERNAL = "internal"


SERVER_FAULTS = frozenset(
    {
        ErrorCode.MODEL_FAILED,
        ErrorCode.WORKER_LOST,
        ErrorCode.MODEL_UNAVAILABLE,
        ErrorCode.INTERNAL,
    }
)
"""Codes of which the client is not the cause; these are logged as errors."""


class SpeechError(Exception):
    """A failure with a code and a message that may be shown to the client.

    Args:
        code: what went wrong.
        message: for people; names the field or the value, never a path, a host or a traceback.
        retry_after_s: when it makes sense to try again, where known.
    """

    def __init__(
        self, code: ErrorCode, message: str, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
