"""DashScope (Alibaba Model Studio): what its WebSocket and its HTTP interface have in common.

Errors, parameters of speech, and how characters are counted. Sources: Model Studio's "CosyVoice
WebSocket API" page and the package `dashscope` (2.0.2); what is done here with each field stands in
`docs/protocols/dashscope.md`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from server import limits
from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.dashscope_parameters import (
    DEFAULT_FORMAT,
    DEFAULT_SAMPLE_RATE_HZ,
    FACTORS,
    FORMATS,
    MAX_INSTRUCTION_CHARACTERS,
    TEXT_TYPES,
    SpeechParameters,
)
from server.protocols.fields import Fields
from server.protocols.nls_options import count_characters
from server.speech.types import AudioFormat, Prosody, SpeechOptions

_FIELDS = Fields(SpeechParameters)
_TAG = re.compile(r"<[^<>]*>")


# --- Errors ----------------------------------------------------------------------------------


_INVALID = ("InvalidParameter", 400)
_INTERNAL = ("InternalError", 500)
_UNAVAILABLE = ("ServiceUnavailable", 503)
_CODES = {
    ErrorCode.TOKEN_INVALID: ("InvalidApiKey", 401),
    ErrorCode.CAPACITY_EXCEEDED: ("Throttling.RateQuota", 429),
    ErrorCode.QUOTA_EXCEEDED: ("Throttling.AllocationQuota", 429),
    ErrorCode.SHUTTING_DOWN: _UNAVAILABLE,
    ErrorCode.MODEL_UNAVAILABLE: _UNAVAILABLE,
    ErrorCode.MODEL_FAILED: _INTERNAL,
    ErrorCode.WORKER_LOST: _INTERNAL,
    ErrorCode.INTERNAL: _INTERNAL,
}
"""DashScope's name of an error, and its HTTP status; all others are `InvalidParameter`."""


class NamedError(SpeechError):
    """An error for which DashScope has a name of its own.

    Args:
        code: see `SpeechError`.
        message: see `SpeechError`.
        name: what DashScope calls it.
    """

    def __init__(self, code: ErrorCode, message: str, *, name: str) -> None:
        super().__init__(code, message)
        self.name = name


class Failure(msgspec.Struct, kw_only=True):
    """The body of an HTTP error."""

    code: str
    message: str
    request_id: str


def error_code(error: SpeechError) -> str:
    """What DashScope calls an error."""
    return error.name if isinstance(error, NamedError) else _CODES.get(error.code, _INVALID)[0]


def http_status(error: SpeechError) -> int:
    """The HTTP status that goes with an error."""
    return _CODES.get(error.code, _INVALID)[1]


def error_message(error: SpeechError) -> str:
    """An error's text; clients look for the number of an unknown voice."""
    if error.code is ErrorCode.VOICE_UNKNOWN:
        return f"[tts:]Engine return error code: 418: {error.message}"
    return error.message


def render_failure(error: SpeechError, *, request_id: str) -> bytes:
    """The body of an HTTP error."""
    return msgspec.json.encode(
        Failure(code=error_code(error), message=error_message(error), request_id=request_id)
    )


def invalid(message: str) -> SpeechError:
    """A parameter that cannot be used."""
    return SpeechError(ErrorCode.PARAMETER_INVALID, message)


def missing(name: str) -> SpeechError:
    """A parameter that must be there, in the vendor's words."""
    return invalid(f"Missing required parameter '{name}'! Please follow the protocol!")


def nothing_to_say() -> SpeechError:
    """Why a task without a word in it fails."""
    return SpeechError(ErrorCode.TEXT_MISSING, "[tts:]Please ensure input text is valid.")


# --- Parameters ------------------------------------------------------------------------------


def read_options(
    parameters: dict[str, Any],
    *,
    voice: str,
    audio_format: AudioFormat = DEFAULT_FORMAT,
    sample_rate_hz: int | None = DEFAULT_SAMPLE_RATE_HZ,
) -> SpeechOptions:
    """The parameters of a task; unknown ones are ignored, and null is as good as absent.

    Args:
        parameters: `payload.parameters` of run-task, or `input` of an HTTP request.
        voice: for parameters without a `voice`; empty if they must have one.
        audio_format: for parameters without a format, or with `Default`.
        sample_rate_hz: for parameters without a rate, or with 0.

    Raises:
        SpeechError: a value is missing, has the wrong type or is out of range.
    """
    check_language_hints(parameters.get("language_hints"))
    if parameters.get("hot_fix"):
        raise SpeechError(ErrorCode.NOT_SUPPORTED, "hot_fix is not supported!")
    volume = _FIELDS.integer(parameters, "volume")
    # The package sends 0 when its user chose none.
    seed = _FIELDS.integer(parameters, "seed") or None
    chosen = _audio_format(parameters.get("format"), audio_format)
    return SpeechOptions(
        voice=_voice(parameters, voice),
        audio_format=chosen,
        sample_rate_hz=_sample_rate_hz(parameters.get("sample_rate"), sample_rate_hz),
        bit_rate=_bit_rate(parameters) if chosen is AudioFormat.OPUS else None,
        prosody=Prosody(
            speed=_factor(parameters, "rate"),
            pitch=_factor(parameters, "pitch"),
            gain=(50 if volume is None else volume) / 50,
        ),
        subtitles=_FIELDS.boolean(parameters, "word_timestamp_enabled"),
        ssml=_is_ssml(parameters),
        clean_markup=_FIELDS.boolean(parameters, "enable_markdown_filter"),
        instruction=_instruction(parameters),
        seed=seed,
    )


def count(text: str, *, ssml: bool) -> int:
    """Characters as they are billed: a Han character is 2, tags of SSML are free."""
    return count_characters(_TAG.sub("", text) if ssml else text)


def _voice(parameters: dict[str, Any], default: str) -> str:
    voice = parameters.get("voice")
    if voice is None or voice == "":
        voice = default
    if not voice or not isinstance(voice, str):
        raise invalid("Request voice is invalid!")
    return nls.string({"voice": voice}, "voice", "")


def _audio_format(value: object, default: AudioFormat) -> AudioFormat:
    if value is None or value == "":
        return default
    name = value.lower() if isinstance(value, str) else ""
    if name == "default":
        return default
    if name in FORMATS:
        return AudioFormat(name)
    raise SpeechError(
        ErrorCode.FORMAT_UNSUPPORTED,
        f"Invalid format '{nls.echo(value)}', use one of {', '.join(FORMATS)}!",
    )


def _sample_rate_hz(value: object, default: int | None) -> int | None:
    if value is None or (value == 0 and not isinstance(value, bool)):
        return default
    if isinstance(value, bool) or value not in limits.SAMPLE_RATES_HZ:
        allowed = ", ".join(str(rate) for rate in limits.SAMPLE_RATES_HZ)
        raise SpeechError(
            ErrorCode.SAMPLE_RATE_UNSUPPORTED,
            f"Invalid sample_rate '{nls.echo(value)}', use one of {allowed}!",
        )
    return int(str(value).partition(".")[0])


def _bit_rate(parameters: dict[str, Any]) -> int | None:
    kbps = _FIELDS.integer(parameters, "bit_rate")
    return None if kbps is None else kbps * 1000


def _factor(parameters: dict[str, Any], name: str) -> float:
    low, high = FACTORS
    return nls.number(parameters, name, low=low, high=high, default=1.0)


def _is_ssml(parameters: dict[str, Any]) -> bool:
    plain, ssml = TEXT_TYPES
    text_type = _FIELDS.string(parameters, "text_type")
    if text_type.lower() not in {plain.lower(), ssml.lower()}:
        raise invalid(f"Invalid text_type '{nls.echo(text_type)}', use {plain} or {ssml}!")
    enabled = _FIELDS.boolean(parameters, "enable_ssml")
    return enabled or text_type.lower() == ssml.lower()


def _instruction(parameters: dict[str, Any]) -> str:
    instruction = _FIELDS.string(parameters, "instruction").strip()
    if len(instruction) > MAX_INSTRUCTION_CHARACTERS:
        raise invalid(
            f"Invalid instruction: it has {len(instruction)} characters, "
            f"{MAX_INSTRUCTION_CHARACTERS} are allowed!"
        )
    return instruction


def check_language_hints(value: object) -> None:
    """Make sure that these are hints, if there are any.

    Raises:
        SpeechError: they are not.
    """
    if value is None:
        return
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise invalid(f"Invalid language_hints '{nls.echo(value)}': not a list of strings!")
