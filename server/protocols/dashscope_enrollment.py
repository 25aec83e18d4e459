"""DashScope's `services/audio/tts/customization`: voices made of recordings, by the cloud's names.

Sources: the package's `VoiceEnrollmentService`, and Model Studio's page of error codes.

A voice of this interface is a cloned voice whose name is its voice_id, `{model}-{prefix}-{unique}`.
So the name says which model it was made for, and needs nothing else to be remembered.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from server.errors import ErrorCode, SpeechError
from server.protocols import dashscope, nls
from server.protocols.dashscope import NamedError, invalid, missing
from server.protocols.dashscope_enrollment_parameters import (
    LONGEST_S,
    MODEL,
    PREFIX,
    TARGET_MODEL,
    EnrollmentInput,
)
from server.protocols.dashscope_http import parse_object, read_input
from server.protocols.fields import Fields

MAX_RECORDING_BYTES = 10_000_000
_UNIQUE_DIGITS = 12
_TARGET_MODEL, _PREFIX = re.compile(TARGET_MODEL), re.compile(PREFIX)
_VOICE_ID = re.compile(rf"({TARGET_MODEL})-({PREFIX})-[0-9a-f]{{{_UNIQUE_DIGITS}}}")
_FIELDS = Fields(EnrollmentInput)
_REFUSALS = {
    "nothing_heard": "Audio.AudioSilentError",
    "little_speech": "Audio.AudioSilentError",
    "too_short": "Audio.AudioShortError",
    "too_long": "Audio.DurationLimitError",
}
"""By the codes of `recording_report`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a voice is to be made of."""

    url: str
    text: str
    """What is said in it; empty if nobody wrote it down."""
    language: str
    """Empty for what the text's script speaks for."""
    longest_s: float


@dataclass(frozen=True, slots=True)
class CreateVoice:
    """Make a voice for a model."""

    target_model: str
    voice_id: str
    source: Source


@dataclass(frozen=True, slots=True)
class ListVoices:
    """Tell a page of the voices, those with a prefix if there is one."""

    prefix: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class QueryVoice:
    """Tell what is known of a voice."""

    voice_id: str


@dataclass(frozen=True, slots=True)
class UpdateVoice:
    """Give a voice another recording."""

    voice_id: str
    source: Source


@dataclass(frozen=True, slots=True)
class DeleteVoice:
    """Delete a voice."""

    voice_id: str


EnrollmentRequest = CreateVoice | ListVoices | QueryVoice | UpdateVoice | DeleteVoice


@dataclass(frozen=True, slots=True)
class VoiceName:
    """What a voice_id says."""

    target_model: str
    prefix: str


def parse_voice_id(name: str) -> VoiceName | None:
    """What a voice's name says, if it is one of this interface."""
    found = _VOICE_ID.fullmatch(name)
    return None if found is None else VoiceName(found.group(1), found.group(2))


def read_request(body: bytes) -> EnrollmentRequest:
    """Check a request.

    Raises:
        SpeechError: something is missing, has the wrong type or is out of range.
    """
    message = parse_object(body)
    model = nls.string(message, "model", "")
    if not model:
        raise missing("model")
    if model != MODEL:
        raise invalid(f"Invalid model '{nls.echo(model)}', use {MODEL}!")
    given = read_input(message)
    match given.get("action"):
        case "create_voice":
            return _create(given)
        case "list_voice":
            return _list(given)
        case "query_voice":
            return QueryVoice(_needed(given, "voice_id"))
        case "update_voice":
            return UpdateVoice(_needed(given, "voice_id"), _source(given))
        case "delete_voice":
            return DeleteVoice(_needed(given, "voice_id"))
        case None | "":
            raise missing("input.action")
        case action:
            raise invalid(f"Unknown action '{nls.echo(action)}'!")


def _create(given: dict[str, Any]) -> CreateVoice:
    target_model, prefix = _needed(given, "target_model"), _needed(given, "prefix")
    if not _TARGET_MODEL.fullmatch(target_model):
        raise invalid(
            f"Invalid target_model '{nls.echo(target_model)}': up to 40 letters, digits, dots, "
            "underscores and hyphens!"
        )
    if not _PREFIX.fullmatch(prefix):
        raise invalid(
            f"Invalid prefix '{nls.echo(prefix)}': 1 to 10 letters, digits and underscores!"
        )
    source = _source(given)
    voice_id = f"{target_model}-{prefix}-{uuid.uuid4().hex[:_UNIQUE_DIGITS]}"
    return CreateVoice(target_model, voice_id, source)


def _list(given: dict[str, Any]) -> ListVoices:
    index = _FIELDS.integer(given, "page_index") or 0
    size = _FIELDS.integer(given, "page_size") or 0
    return ListVoices(_FIELDS.string(given, "prefix"), index * size, size)


def _source(given: dict[str, Any]) -> Source:
    if given.get("voice_prompt"):
        message = "Voices are made of a recording (url) here, not of a description (voice_prompt)!"
        raise SpeechError(ErrorCode.NOT_SUPPORTED, message)
    return Source(
        url=_needed(given, "url"),
        text=_FIELDS.string(given, "text"),
        language=_language(given.get("language_hints")),
        longest_s=_longest_s(given),
    )


def _needed(given: dict[str, Any], name: str) -> str:
    value = _FIELDS.string(given, name)
    if not value:
        raise missing(f"input.{name}")
    return value


def _language(hints: object) -> str:
    """The first hint: the others are ignored by the vendor, too."""
    dashscope.check_language_hints(hints)
    return str(hints[0]) if isinstance(hints, list) and hints else ""


def _longest_s(given: dict[str, Any]) -> float:
    name = "max_prompt_audio_length"
    low, high = LONGEST_S
    return nls.number(given, name, low=low, high=high, default=_FIELDS.default(name))


# --- To the client ---------------------------------------------------------------------------


def render(output: dict[str, Any], *, request_id: str) -> bytes:
    """The body of a reply."""
    return msgspec.json.encode({"output": output, "usage": {"count": 1}, "request_id": request_id})


def state(created_at: str, changed_at: str, *, speaks: bool) -> dict[str, str]:
    """What is told of a voice: times as `YYYY-MM-DD HH:MM:SS` in UTC, and how it is.

    Args:
        created_at: ISO 8601.
        changed_at: the same, or empty.
        speaks: a model is loaded that can speak it.
    """
    created, changed = (
        datetime.fromisoformat(one).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        for one in (created_at, changed_at or created_at)
    )
    status = "OK" if speaks else "UNDEPLOYED"
    return {"gmt_create": created, "gmt_modified": changed, "status": status}


def unknown_voice(voice_id: str) -> SpeechError:
    """There is no such voice, or it was not made here."""
    return NamedError(
        ErrorCode.PARAMETER_INVALID,
        f"The required resource does not exist: no voice_id '{nls.echo(voice_id)}'!",
        name="BadRequest.ResourceNotExist",
    )


def not_downloaded(reason: str) -> SpeechError:
    """The recording cannot be fetched."""
    return NamedError(
        ErrorCode.PARAMETER_INVALID,
        f"Failed to download the recording: url {reason}!",
        name="BadRequest.InputDownloadFailed",
    )


def not_decoded(message: str) -> SpeechError:
    """The recording cannot be read."""
    return NamedError(ErrorCode.PARAMETER_INVALID, message, name="Audio.DecoderError")


def refused(code: str, message: str) -> SpeechError:
    """No voice can be made of the recording.

    Args:
        code: of the first remark of its report.
        message: of the same.
    """
    name = _REFUSALS.get(code, "Audio.PreprocessError")
    return NamedError(ErrorCode.PARAMETER_INVALID, message, name=name)


def no_text() -> SpeechError:
    """What is said in the recording is not known, and nobody here can write it down."""
    return SpeechError(
        ErrorCode.NOT_SUPPORTED,
        "It is not known what is said in the recording: this server has no recogniser that takes "
        "dictation, such as SenseVoice. Add the words to the request, as input.text!",
    )
