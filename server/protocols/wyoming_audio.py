"""Wyoming's events that bring audio to be recognised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from server.errors import ErrorCode, SpeechError
from server.protocols.wyoming import read_data
from server.protocols.wyoming_voices import listed_tag

_WIDTH_BYTES = 2


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """What shall be listened for, from `transcribe`."""

    name: str = ""
    language: str = ""


class AudioFormat(msgspec.Struct, frozen=True, kw_only=True):
    """How samples are written."""

    rate: Annotated[int, msgspec.Meta(ge=4000, le=192_000)]
    """Hertz."""
    width: int
    """Bytes of a sample."""
    channels: Annotated[int, msgspec.Meta(ge=1, le=2)]


@dataclass(frozen=True, slots=True)
class BeginAudio:
    """Audio of this format follows."""

    audio_format: AudioFormat


@dataclass(frozen=True, slots=True)
class HearAudio:
    """A piece of audio."""

    audio_format: AudioFormat
    data: bytes


@dataclass(frozen=True, slots=True)
class EndAudio:
    """That was all."""


def read(event: Event) -> Listen | BeginAudio | HearAudio | EndAudio | None:
    """Take an event; None if it is none of these.

    Raises:
        SpeechError: PARAMETER_INVALID or FORMAT_UNSUPPORTED.
    """
    if Transcribe.is_type(event.type):
        return read_data(Listen, event)
    if AudioStart.is_type(event.type):
        return BeginAudio(_format(event))
    if AudioChunk.is_type(event.type):
        return HearAudio(_format(event), event.payload or b"")
    if AudioStop.is_type(event.type):
        return EndAudio()
    return None


def own_tag(language: str, known: Sequence[str]) -> str:
    """What the recogniser calls a language that `info` has listed."""
    wanted = language.replace("_", "-").lower()
    return next((tag for tag in known if listed_tag(tag).lower() == wanted), language)


def _format(event: Event) -> AudioFormat:
    audio_format = read_data(AudioFormat, event)
    if audio_format.width != _WIDTH_BYTES:
        raise SpeechError(
            ErrorCode.FORMAT_UNSUPPORTED,
            f"Samples have {audio_format.width} bytes; {_WIDTH_BYTES} are understood!",
        )
    return audio_format
