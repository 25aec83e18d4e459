"""OpenAI's `/v1/audio/speech`: a JSON request in; audio, or server-sent events with it, out."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.openai import ErrorDetail, ParameterError, detail, render
from server.speech.types import AudioFormat, Prosody, SpeechOptions

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

    model: Annotated[
        str,
        Meta(
            description="The name of a model of this server narrows the voices to its own; any "
            "other name, such as OpenAI's, does not matter."
        ),
    ]
    input: Annotated[
        str,
        Meta(
            description="What shall be said.",
            extra_json_schema={"minLength": 1, "maxLength": MAX_INPUT_CHARACTERS},
        ),
    ]
    voice: Annotated[
        str | VoiceReference,
        Meta(description="A name or an alias of the voice list, such as OpenAI's names."),
    ]
    response_format: Annotated[
        str,
        Meta(
            description="The container, in any case; `pcm` is signed 16 bit little endian mono. "
            f"All of them have {SAMPLE_RATE_HZ} Hz.",
            extra_json_schema={"enum": [str(name) for name in CONTENT_TYPES]},
        ),
    ] = str(AudioFormat.MP3)
    speed: Annotated[
        float,
        Meta(
            description="Factor on the tempo.",
            extra_json_schema={"minimum": SPEEDS[0], "maximum": SPEEDS[1]},
        ),
    ] = 1.0
    instructions: Annotated[
        str,
        Meta(
            description="How to say it. A voice that takes no instructions speaks without, and "
            "the reply's header `x-ignored-parameters` says so."
        ),
    ] = ""
    stream_format: Annotated[
        str,
        Meta(
            description="`sse` is audio in server-sent events.",
            extra_json_schema={"enum": list(_STREAM_FORMATS)},
        ),
    ] = _STREAM_FORMATS[0]


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


_FIELDS = msgspec.structs.fields(SpeechMessage)


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
        instruction=message.instructions.strip(),
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


def _audio_format(name: str) -> AudioFormat:
    for audio_format in CONTENT_TYPES:
        if name.lower() == audio_format.value:
            return audio_format
    raise _no_such_value("response_format", name, tuple(CONTENT_TYPES))


def _stream_format(name: str) -> str:
    if name in _STREAM_FORMATS:
        return name
    raise _no_such_value("stream_format", name, _STREAM_FORMATS)


def _no_such_value(param: str, value: str, known: tuple[str, ...]) -> ParameterError:
    return ParameterError(
        param,
        "invalid_value",
        f"Invalid {param} '{nls.echo(value)}'! Supported values are: {', '.join(known)}.",
    )


def _speed(speed: float) -> float:
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
    return b"data: " + render(message) + b"\n\n"


def nothing_to_say() -> ParameterError:
    """Why a request without a word in it fails."""
    return ParameterError(
        "input", "invalid_value", "Invalid 'input': it has nothing that can be spoken!"
    )
