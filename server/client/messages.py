"""The protocol's messages as a client sees them: typed events from text frames."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from server.client.errors import ServerMessageError, TaskFailed


class Subtitle(msgspec.Struct, frozen=True):
    """A sentence or a word with its place: times in ms of the whole audio, indices in the text."""

    text: str = ""
    begin_time: int = 0
    end_time: int = 0
    begin_index: int = 0
    end_index: int = 0
    sentence: bool = False


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Payload of `StartSynthesis`; what keeps its default is not sent, and is the server's."""

    voice: str = ""
    format: str = ""
    sample_rate: int = 0
    """Hz."""
    volume: int = 50
    """0 to 100."""
    speech_rate: int = 0
    """-500 (half speed) to 500 (double)."""
    pitch_rate: int = 0
    """-500 to 500, likewise."""
    enable_subtitle: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """What the server said, and when it was heard (seconds of `time.perf_counter`)."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Started(Event):
    """The task is accepted."""


@dataclass(frozen=True, slots=True)
class SentenceBegin(Event):
    """The audio of a sentence follows."""

    index: int


@dataclass(frozen=True, slots=True)
class Audio(Event):
    """Bytes of the task's one audio file."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Subtitles(Event):
    """What is known of the sentence that is being sent."""

    index: int
    items: tuple[Subtitle, ...]


@dataclass(frozen=True, slots=True)
class SentenceEnd(Event):
    """All audio of a sentence is here; `items` is empty unless subtitles were asked for."""

    index: int
    items: tuple[Subtitle, ...]


@dataclass(frozen=True, slots=True)
class Completed(Event):
    """The task is over and all audio is here."""

    characters: int
    """As the server counts them for billing: a Han character is 2. 0 if it does not say."""


class _Header(msgspec.Struct):
    name: str
    status: int = 0
    status_text: str = ""
    status_message: str = ""


class _Payload(msgspec.Struct, rename="camel"):
    index: int = 0
    subtitles: tuple[Subtitle, ...] = ()
    measure_length: int = 0


class _ServerMessage(msgspec.Struct):
    header: _Header
    payload: _Payload | None = None


_decoder = msgspec.json.Decoder(_ServerMessage)


def parse_message(message: str | bytes, at_s: float) -> Event | None:
    """The event that a text frame tells; None for message names that mean nothing here.

    Raises:
        ServerMessageError: not a message of the protocol.
        TaskFailed: the server says so.
    """
    try:
        decoded = _decoder.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ServerMessageError(f"the server sent what is no message: {error}") from error
    header, payload = decoded.header, decoded.payload or _Payload()
    match header.name:
        case "SynthesisStarted":
            return Started(at_s)
        case "SentenceBegin":
            return SentenceBegin(at_s, payload.index)
        case "SentenceSynthesis":
            return Subtitles(at_s, payload.index, payload.subtitles)
        case "SentenceEnd":
            return SentenceEnd(at_s, payload.index, payload.subtitles)
        case "SynthesisCompleted":
            return Completed(at_s, payload.measure_length)
        case "TaskFailed":
            raise TaskFailed(header.status, header.status_message or header.status_text)
        case _:
            return None
