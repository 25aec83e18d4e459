"""`/v1/voices`: the voices of this server, and how they are made."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from server import limits
from server.endpoints import voice_library
from server.errors import ErrorCode
from server.openapi.operation import (
    ASKED,
    BODY_READ,
    SPOKEN,
    UPLOAD,
    WORK_DONE,
    Example,
    Failures,
    Operation,
    Reply,
    Section,
)
from server.openapi.voice import Voice
from server.speech.recording_report import RecordingReport
from server.speech.types import AudioFormat

_VOICE = {"voice": "A name, an alias or an id; one with slashes as it is."}


class UnavailableVoice(msgspec.Struct, kw_only=True):
    """A cloned voice that no loaded model can speak."""

    id: str
    name: str
    model: str
    language: str
    kind: str
    available: bool
    reason: str


class DamagedVoice(msgspec.Struct, kw_only=True):
    """A cloned voice whose files cannot be used."""

    id: str
    reason: str


class VoiceList(msgspec.Struct, kw_only=True):
    """All voices."""

    voices: list[Voice]
    unavailable: list[UnavailableVoice]
    damaged: list[DamagedVoice]


_Text = Annotated[str, Meta(description="What the recording says.")]
_CreatedAt = Annotated[str, Meta(description="ISO 8601.")]
_Format = Annotated[str, Meta(description="Models with the same one can speak it.")]


class ShownVoice(Voice, kw_only=True):
    """A voice; a cloned one with more."""

    available: bool
    made_with: str | msgspec.UnsetType = msgspec.UNSET
    clone_format: _Format | msgspec.UnsetType = msgspec.UNSET
    text: _Text | msgspec.UnsetType = msgspec.UNSET
    created_at: _CreatedAt | msgspec.UnsetType = msgspec.UNSET
    report: RecordingReport | msgspec.UnsetType = msgspec.UNSET


class ShownUnavailable(UnavailableVoice, kw_only=True):
    """A cloned voice that no loaded model can speak."""

    made_with: str
    clone_format: _Format
    text: _Text
    created_at: _CreatedAt
    report: RecordingReport


class NewVoice(msgspec.Struct, kw_only=True):
    """What is to be made."""

    name: Annotated[str, Meta(description="How it shall be called; no other voice may be.")]
    audio: Annotated[
        str,
        Meta(
            description="The recording, in any common format: up to "
            f"{limits.MAX_RECORDING_BYTES >> 20} MiB and {limits.MAX_RECORDING_S:g} s.",
            # 3.1 says it in the first way; what makes clients of it mostly reads 3.0's.
            extra_json_schema={
                "contentMediaType": "application/octet-stream",
                "format": "binary",
            },
        ),
    ]
    text: Annotated[
        str,
        Meta(description="What it says; may be left out where a recogniser takes dictation."),
    ] = ""
    model: Annotated[str, Meta(description="Which makes it; the first one that clones.")] = ""
    language: Annotated[str, Meta(description="BCP 47 tag; as the text's script has it.")] = ""


class MadeVoice(msgspec.Struct, kw_only=True):
    """The new voice."""

    name: str
    id: str
    model: str
    language: str
    report: RecordingReport


class PreviewQuery(msgspec.Struct, kw_only=True):
    """What is to be heard."""

    text: Annotated[
        str,
        Meta(
            description="A sentence in the voice's language if it is empty.",
            extra_json_schema={"maxLength": limits.MAX_PREVIEW_CHARACTERS},
        ),
    ] = ""
    format: AudioFormat = voice_library.PREVIEW_FORMAT
    sample_rate: Annotated[
        int | None,
        Meta(
            description="In Hz; the model's own.",
            extra_json_schema={"enum": list(limits.SAMPLE_RATES_HZ)},
        ),
    ] = None


class ErrorDetail(msgspec.Struct, kw_only=True):
    """What went wrong."""

    code: str
    message: str
    report: Annotated[
        RecordingReport | msgspec.UnsetType, Meta(description="Of a recording that was refused.")
    ] = msgspec.UNSET


class Failure(msgspec.Struct, kw_only=True):
    """The body of an error."""

    error: ErrorDetail


def _told(code: ErrorCode) -> tuple[int, str]:
    return voice_library.http_status(code), code.value


_FAILURES = Failures(
    kind=Failure,
    told=_told,
)

SECTION = Section(
    name="Voices",
    prefix="Voices",
    about="The voices of this server: listed, heard, made of recordings and deleted.",
    page="voices.md",
    operations=(
        Operation(
            method="GET",
            path="/v1/voices",
            summary="List the voices, and what became of the others",
            replies=(Reply(about="All voices.", kind=VoiceList),),
            failures=_FAILURES,
            errors=ASKED,
            examples=(Example(title="All voices"),),
        ),
        Operation(
            method="POST",
            path="/v1/voices",
            summary="Make a voice of a recording",
            body=NewVoice,
            body_types=(UPLOAD,),
            replies=(
                Reply(about="The new voice.", status=201, kind=MadeVoice),
                Reply(about="There is this very voice already.", status=200, kind=MadeVoice),
            ),
            failures=_FAILURES,
            errors=ASKED
            | BODY_READ
            | WORK_DONE
            | {ErrorCode.VOICE_EXISTS, ErrorCode.NOT_SUPPORTED},
            examples=(
                Example(
                    title="A voice of voice.wav (needs a model that clones)",
                    form={
                        "name": "my voice",
                        "text": "What is said in the recording, word for word.",
                        "audio": "@voice.wav",
                    },
                ),
            ),
        ),
        Operation(
            method="GET",
            path="/v1/voices/{voice}",
            summary="Show a voice",
            path_parameters=_VOICE,
            replies=(Reply(about="What is known of it.", kind=(ShownVoice, ShownUnavailable)),),
            failures=_FAILURES,
            errors=ASKED | {ErrorCode.VOICE_UNKNOWN, ErrorCode.MODEL_UNAVAILABLE},
            examples=(Example(title="One voice", path="/v1/voices/xiaoyun"),),
        ),
        Operation(
            method="GET",
            path="/v1/voices/{voice}/preview",
            summary="Hear a voice",
            path_parameters=_VOICE,
            query=PreviewQuery,
            replies=(
                Reply(
                    about="The audio as it is made.",
                    media_types=tuple(voice_library.CONTENT_TYPES.values()),
                ),
            ),
            failures=_FAILURES,
            errors=ASKED | SPOKEN - {ErrorCode.SSML_INVALID},
            examples=(
                Example(
                    title="A sentence of one's own",
                    path="/v1/voices/xiaoyun/preview",
                    query={"text": "你好！", "format": "wav"},
                    output="preview.wav",
                ),
            ),
        ),
        Operation(
            method="DELETE",
            path="/v1/voices/{voice}",
            summary="Delete a cloned voice",
            about="All that was kept of it is deleted.",
            path_parameters=_VOICE,
            replies=(Reply(about="It is gone.", status=204),),
            failures=_FAILURES,
            errors=ASKED | {ErrorCode.VOICE_UNKNOWN, ErrorCode.NOT_SUPPORTED},
            examples=(Example(title="Delete my voice", path="/v1/voices/my%20voice"),),
        ),
    ),
)
