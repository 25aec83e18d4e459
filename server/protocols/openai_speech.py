"""OpenAI's speech API: a JSON request in; audio, or server-sent events, or one error envelope out.

Sources: OpenAI's API reference and the types of its Python package (3.54). The package and many
clients look at all four keys of an error, so none of them is ever left out.
"""

from __future__ import annotations

import base64
import math
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.speech.types import AudioFormat, Prosody, SpeechOptions

REQUEST_ID_HEADER = "x-request-id"
"""What the official packages call `_request_id`."""
MODEL_ALIASES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""Clients have these built in."""
VOICE_ALIASES = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage",
    "shimmer", "verse",
)  # fmt: skip
SAMPLE_RATE_HZ = 24_000
"""Of every format: clients take raw pcm for this, and LiveKit all others as well."""
MAX_INPUT_CHARACTERS = 4096
SPEEDS = (0.25, 4.0)
AUDIO_TOKENS_PER_S = 25
"""What `usage` counts audio by: the rate of CosyVoice 2's speech tokens."""
CONTENT_TYPES = {
    AudioFormat.MP3: "audio/mpeg",
    AudioFormat.OPUS: "audio/opus",
    AudioFormat.AAC: "audio/aac",
    AudioFormat.FLAC: "audio/flac",
    AudioFormat.WAV: "audio/wav",
    AudioFormat.PCM: "audio/pcm",
}
EVENT_STREAM = "text/event-stream"
_STREAM_FORMATS = ("audio", "sse")


# --- Messages --------------------------------------------------------------------------------


class VoiceReference(msgspec.Struct, frozen=True):
    """A voice by its id, as the package names voices of one's own."""

    id: str


class SpeechMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request; unknown fields are dropped, and null is as good as absent."""

    model: str
    input: str
    voice: str | VoiceReference
    response_format: str | None = None
    speed: float | None = None
    instructions: str | None = None
    stream_format: str | None = None


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


class Usage(msgspec.Struct, kw_only=True):
    """How much was spoken. There are no text tokens here: characters are counted instead."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class AudioDelta(msgspec.Struct, kw_only=True, tag="speech.audio.delta", tag_field="type"):
    """More audio."""

    audio: str
    """Base64, padded in every event."""


class AudioDone(msgspec.Struct, kw_only=True, tag="speech.audio.done", tag_field="type"):
    """Nothing comes after this."""

    usage: Usage


class ErrorEvent(msgspec.Struct, kw_only=True, tag="error", tag_field="type"):
    """The audio has ended too early."""

    error: ErrorDetail


class Model(msgspec.Struct, kw_only=True):
    """One model of `GET /v1/models`."""

    id: str
    object: str = "model"
    created: int
    """Unix time in seconds."""
    owned_by: str = "cosystream"


class ModelList(msgspec.Struct, kw_only=True):
    """All models."""

    object: str = "list"
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


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A checked request."""

    model: str
    """As the client wrote it."""
    text: str
    options: SpeechOptions
    events: bool
    """The audio shall come in server-sent events."""


# --- Requests --------------------------------------------------------------------------------


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


_FIELDS = msgspec.structs.fields(SpeechMessage)
_encoder = msgspec.json.Encoder()


def new_request_id() -> str:
    """A request's name, also in the log."""
    return f"req_{uuid.uuid4().hex}"


def read_request(body: bytes) -> SpeechRequest:
    """Check a request.

    Raises:
        ParameterError: a field is missing, has the wrong type or is out of range.
        SpeechError: it is no JSON object.
    """
    message = _convert(_parse(body))
    voice = message.voice if isinstance(message.voice, str) else message.voice.id
    options = SpeechOptions(
        voice=voice,
        audio_format=_audio_format(message.response_format),
        sample_rate_hz=SAMPLE_RATE_HZ,
        prosody=Prosody(speed=_speed(message.speed)),
        instruction=(message.instructions or "").strip(),
    )
    return SpeechRequest(
        model=message.model,
        text=_text(message.input),
        options=options,
        events=_stream_format(message.stream_format) == "sse",
    )


def _parse(body: bytes) -> dict[str, Any]:
    try:
        parameters = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        parameters = None
    if not isinstance(parameters, dict):
        raise SpeechError(
            ErrorCode.MESSAGE_INVALID,
            "We could not parse the JSON body of your request: it must be a JSON object!",
        )
    return parameters


def _convert(parameters: dict[str, Any]) -> SpeechMessage:
    """Field by field, so that an error knows whose it is."""
    values = {}
    for field in _FIELDS:
        value = parameters.get(field.name)
        if value is None:
            if field.required:
                raise ParameterError(
                    field.name,
                    "missing_required_parameter",
                    f"Missing required parameter: '{field.name}'!",
                )
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            # It names the types, and holds nothing of the value.
            raise ParameterError(
                field.name, "invalid_type", f"Invalid type for '{field.name}': {error}!"
            ) from None
    return SpeechMessage(**values)


def _text(text: str) -> str:
    if not text:
        raise ParameterError(
            "input", "string_below_min_length", "Invalid 'input': it is empty, nothing to speak!"
        )
    if len(text) > MAX_INPUT_CHARACTERS:
        raise ParameterError(
            "input",
            "string_above_max_length",
            f"Invalid 'input': string too long. It has {len(text)} characters, "
            f"{MAX_INPUT_CHARACTERS} are allowed!",
        )
    return text


def _audio_format(name: str | None) -> AudioFormat:
    if name is None:
        return AudioFormat.MP3
    for audio_format in CONTENT_TYPES:
        if name.lower() == audio_format.value:
            return audio_format
    raise _no_such_value("response_format", name, tuple(CONTENT_TYPES))


def _stream_format(name: str | None) -> str:
    if name is None or name in _STREAM_FORMATS:
        return name or _STREAM_FORMATS[0]
    raise _no_such_value("stream_format", name, _STREAM_FORMATS)


def _no_such_value(param: str, value: str, known: tuple[str, ...]) -> ParameterError:
    return ParameterError(
        param,
        "invalid_value",
        f"Invalid {param} '{nls.echo(value)}'! Supported values are: {', '.join(known)}.",
    )


def _speed(speed: float | None) -> float:
    if speed is None:
        return 1.0
    low, high = SPEEDS
    if not low <= speed <= high:
        side = "below_min" if speed < low else "above_max"
        raise ParameterError(
            "speed",
            f"decimal_{side}_value",
            f"Invalid 'speed': {speed:g} is not from {low:g} to {high:g}!",
        )
    return speed


def wrong_model(voice: str, model: str, *, speaks: str) -> ParameterError:
    """Why a voice cannot be had with one model: another one speaks it."""
    return ParameterError(
        "voice",
        "invalid_value",
        f"Voice '{nls.echo(voice)}' is spoken by the model '{speaks}', not by '{model}'!",
    )


# --- Replies ---------------------------------------------------------------------------------


def render(message: msgspec.Struct) -> bytes:
    """A message as JSON."""
    return _encoder.encode(message)


def render_audio(data: bytes) -> bytes:
    """Audio as an event."""
    return _event(AudioDelta(audio=base64.b64encode(data).decode()))


def render_done(*, characters: int, audio_s: float) -> bytes:
    """The last event of audio that is whole."""
    output_tokens = math.ceil(audio_s * AUDIO_TOKENS_PER_S)
    usage = Usage(
        input_tokens=characters,
        output_tokens=output_tokens,
        total_tokens=characters + output_tokens,
    )
    return _event(AudioDone(usage=usage))


def render_broken(error: SpeechError) -> bytes:
    """The last event of audio that is not."""
    return _event(ErrorEvent(error=detail(error)))


def _event(message: msgspec.Struct) -> bytes:
    return b"data: " + _encoder.encode(message) + b"\n\n"


def nothing_to_say() -> ParameterError:
    """Why a request without a word in it fails."""
    return ParameterError(
        "input", "invalid_value", "Invalid 'input': it has nothing that can be spoken!"
    )


# --- Errors ----------------------------------------------------------------------------------

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
