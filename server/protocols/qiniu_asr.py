"""What Qiniu's speech recognition is asked for and answers, in JSON.

`POST /voice/asr` names a URL of the audio, or brings it (`audio.data`, our extension); the first
frame of `WS /voice/asr` says how the audio comes. Sources: the vendor's page and sample clients.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from server.errors import ErrorCode, SpeechError
from server.protocols.qiniu_asr_frames import Frame, MessageType

MAX_INLINE_BYTES = 32 << 20
"""Of the JSON body that carries its audio itself."""
SAMPLE_RATES_HZ = range(8000, 48_001)
CHANNELS = (1, 2)
_DEFAULT_SAMPLE_RATE_HZ = 16_000
_MODEL = "asr"


class AudioContainer(StrEnum):
    """What `audio.format` may be."""

    RAW = "raw"
    """Signed 16 bit little endian without a header."""
    WAV = "wav"
    MP3 = "mp3"
    OGG = "ogg"


class RecordingPart(msgspec.Struct, frozen=True, kw_only=True):
    """The recording: exactly one of `url` and `data` is there. Null is as good as absent."""

    format: Annotated[
        AudioContainer,
        Meta(description="`raw` is signed 16 bit little endian without a header."),
    ]
    url: Annotated[
        str,
        Meta(
            description="Where the server fetches it; addresses that are not public only if the "
            "server is set to allow them."
        ),
    ] = ""
    data: Annotated[str, Meta(description="Its bytes as base64. Ours.")] = ""
    sample_rate: Annotated[
        int,
        Meta(
            description="In Hz, of `raw`; other containers say theirs themselves.",
            extra_json_schema={"minimum": SAMPLE_RATES_HZ[0], "maximum": SAMPLE_RATES_HZ[-1]},
        ),
    ] = _DEFAULT_SAMPLE_RATE_HZ
    channel: Annotated[
        int,
        Meta(description="Channels of `raw`.", extra_json_schema={"enum": list(CHANNELS)}),
    ] = CHANNELS[0]
    language: Annotated[str, Meta(description="BCP 47 tag, if it is known.")] = ""


class AsrMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request, as the document of the HTTP endpoints shows it.

    Its fields are read one by one below; `tests/openapi` compares both.
    """

    audio: RecordingPart
    model: Annotated[str, Meta(description="The recogniser.")] = _MODEL
    language: Annotated[str, Meta(description="The same as the recording's, which goes first.")] = (
        ""
    )


class StreamFormat(msgspec.Struct, frozen=True, kw_only=True):
    """How the audio of a stream comes."""

    sample_rate_hz: int
    channels: int
    language: str
    punctuation: bool


class AsrRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked `POST /voice/asr`: exactly one of `url` and `data` is there."""

    model: str
    container: AudioContainer
    url: str
    data: bytes
    sample_rate_hz: int
    channels: int
    language: str


def read_configuration(frame: Frame) -> StreamFormat:
    """Check the first frame of a connection.

    Raises:
        SpeechError: STATE_CONFLICT, MESSAGE_INVALID, FORMAT_UNSUPPORTED, SAMPLE_RATE_UNSUPPORTED or
            PARAMETER_INVALID.
    """
    if frame.type is not MessageType.CONFIGURATION:
        raise SpeechError(ErrorCode.STATE_CONFLICT, "audio came before the configuration")
    fields = _json_object(frame.payload)
    audio = _object(fields, "audio", required=True)
    request = _object(fields, "request", required=False)
    container = _text(audio, "audio.format", "pcm")
    codec = _text(audio, "audio.codec", "raw")
    if container not in {"pcm", "raw"} or codec not in {"raw", "pcm"}:
        raise SpeechError(
            ErrorCode.FORMAT_UNSUPPORTED,
            f"audio.format {container[:20]!r} with codec {codec[:20]!r} is not streamed; use pcm",
        )
    if _number(audio, "audio.bits", 16) != 16:  # noqa: PLR2004 - the one depth that there is
        raise SpeechError(ErrorCode.FORMAT_UNSUPPORTED, "audio.bits must be 16")
    return StreamFormat(
        sample_rate_hz=_sample_rate(audio),
        channels=_channels(audio),
        language=_text(request, "request.language", "") or _text(audio, "audio.language", ""),
        punctuation=_flag(request, "request.enable_punc", default=True),
    )


def read_request(body: bytes) -> AsrRequest:
    """Check the body of `POST /voice/asr`.

    Raises:
        SpeechError: MESSAGE_INVALID, PARAMETER_INVALID or FORMAT_UNSUPPORTED.
    """
    fields = _json_object(body)
    audio = _object(fields, "audio", required=True)
    name = _text(audio, "audio.format", "")
    if name not in list(AudioContainer):
        accepted = ", ".join(AudioContainer)
        raise SpeechError(
            ErrorCode.FORMAT_UNSUPPORTED,
            f"audio.format {name[:20]!r} is not one of {accepted}",
        )
    url, inline = _text(audio, "audio.url", ""), _text(audio, "audio.data", "")
    if bool(url) == bool(inline):
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID, "audio needs either url, or data with base64"
        )
    return AsrRequest(
        model=_text(fields, "model", _MODEL),
        container=AudioContainer(name),
        url=url,
        data=_base64(inline),
        sample_rate_hz=_sample_rate(audio),
        channels=_channels(audio),
        language=_text(audio, "audio.language", "") or _text(fields, "language", ""),
    )


def render_result(text: str, *, audio_s: float, reqid: str) -> dict[str, Any]:
    """The body of a successful `POST /voice/asr`."""
    duration_ms = round(audio_s * 1000)
    result = {"additions": {"duration": str(duration_ms)}, "text": text}
    return {
        "reqid": reqid,
        "operation": "asr",
        "data": {"audio_info": {"duration": duration_ms}, "result": result},
    }


# --- Fields ----------------------------------------------------------------------------------


def _json_object(payload: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        fields = None
    if not isinstance(fields, dict):
        raise SpeechError(ErrorCode.MESSAGE_INVALID, "the message is no JSON object")
    return fields


def _object(fields: dict[str, Any], name: str, *, required: bool) -> dict[str, Any]:
    value = fields.get(name)
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        raise SpeechError(ErrorCode.PARAMETER_INVALID, f"{name} must be an object")
    return value


def _text(fields: dict[str, Any], path: str, default: str) -> str:
    value = fields.get(path.rpartition(".")[2])
    if value is None:
        return default
    if not isinstance(value, str):
        raise SpeechError(ErrorCode.PARAMETER_INVALID, f"{path} must be a string")
    return value


def _number(fields: dict[str, Any], path: str, default: int) -> int:
    value = fields.get(path.rpartition(".")[2])
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise SpeechError(ErrorCode.PARAMETER_INVALID, f"{path} must be an integer")
    return value


def _flag(fields: dict[str, Any], path: str, *, default: bool) -> bool:
    value = fields.get(path.rpartition(".")[2])
    if value is None:
        return default
    if not isinstance(value, bool):
        raise SpeechError(ErrorCode.PARAMETER_INVALID, f"{path} must be true or false")
    return value


def _sample_rate(audio: dict[str, Any]) -> int:
    rate_hz = _number(audio, "audio.sample_rate", _DEFAULT_SAMPLE_RATE_HZ)
    if rate_hz not in SAMPLE_RATES_HZ:
        raise SpeechError(
            ErrorCode.SAMPLE_RATE_UNSUPPORTED, "audio.sample_rate must be from 8000 to 48000"
        )
    return rate_hz


def _channels(audio: dict[str, Any]) -> int:
    channels = _number(audio, "audio.channel", CHANNELS[0])
    if channels not in CHANNELS:
        raise SpeechError(ErrorCode.FORMAT_UNSUPPORTED, "audio.channel must be 1 or 2")
    return channels


def _base64(text: str) -> bytes:
    try:
        return msgspec.convert(text, bytes)
    except msgspec.ValidationError:
        raise SpeechError(ErrorCode.PARAMETER_INVALID, "audio.data is no base64") from None
