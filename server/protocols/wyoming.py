"""Wyoming, the protocol of Home Assistant's voice services: text in, speech out.

The state machine of one TCP connection, without I/O. `receive` turns a client's event into what is
to be done, a `Reply` turns what a speech session tells into the events that go out.

    idle --synthesize--> idle (a whole task)
    idle --synthesize-start--> streaming --synthesize-stop--> idle
             any error of the task --> skipping --synthesize-stop--> idle

Home Assistant sends, within a streamed task, all of its text once more as one `synthesize`, for
servers that do not know the others; it is not spoken twice. A client that waits for the end of a
task gets it after an error as well: Home Assistant does not look at `error`. Sources: the package
`wyoming` (1.10), `homeassistant/components/wyoming/tts.py`, and Piper's handler.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeVar

import msgspec
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import Describe, SelectProgram
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
)

from server import limits
from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.speech.types import AudioProduced, SessionEvent, SessionFinished

PROGRAM = "cosystream"
"""The name of all our services in `info`."""
_WIDTH_BYTES = 2
_CHANNELS = 1
_Data = TypeVar("_Data", bound=msgspec.Struct)


class VoiceWish(msgspec.Struct, frozen=True, kw_only=True):
    """Which voice shall speak; see `wyoming_voices.choose`."""

    name: str | None = None
    language: str | None = None
    speaker: str | None = None


class _StartData(msgspec.Struct, frozen=True, kw_only=True):
    voice: VoiceWish | None = None
    text_format: Literal["text", "ssml"] | None = None


class _SynthesizeData(_StartData, frozen=True, kw_only=True):
    text: str


class _ChunkData(msgspec.Struct, frozen=True, kw_only=True):
    text: str


class _ProgramData(msgspec.Struct, frozen=True, kw_only=True):
    name: str


class State(StrEnum):
    """Where the connection stands."""

    IDLE = "idle"
    STREAMING = "streaming"
    SKIPPING = "skipping"
    """A streamed task has failed; what still comes of it is dropped."""


@dataclass(frozen=True, slots=True)
class StartTask:
    """Open a speech session, and answer with `reply`."""

    voice: VoiceWish
    ssml: bool
    reply: Reply


@dataclass(frozen=True, slots=True)
class FeedText:
    """Give this text to the session."""

    text: str


@dataclass(frozen=True, slots=True)
class FinishTask:
    """No more text comes: speak to the end before anything else is done."""


@dataclass(frozen=True, slots=True)
class TellInfo:
    """Send what this server can do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this."""

    event: Event


Command = StartTask | FeedText | FinishTask | TellInfo | Answer


class Connection:
    """One client's connection."""

    def __init__(self) -> None:
        self.state = State.IDLE
        self._reply: Reply | None = None
        self._characters = 0

    def receive(self, event: Event) -> tuple[Command, ...]:
        """Take an event; unknown ones are dropped, as the package's documentation asks.

        Raises:
            SpeechError: the task that it belongs to has failed; `fail` tells the client.
        """
        for kind, take in (
            (Synthesize, self._synthesize),
            (SynthesizeStart, self._start),
            (SynthesizeChunk, self._chunk),
            (SynthesizeStop, self._stop),
            (Describe, _tell_info),
            (SelectProgram, _select),
        ):
            if kind.is_type(event.type):
                return take(event)
        return ()

    def fail(self, error: SpeechError) -> tuple[Event, ...]:
        """Tell of an error, with which the current task ends if it has not ended yet."""
        if self.state is State.STREAMING:
            self.state = State.SKIPPING
        return self._reply.fail(error) if self._reply is not None else (render(error),)

    # --- Events ------------------------------------------------------------------------------

    def _synthesize(self, event: Event) -> tuple[Command, ...]:
        if self.state is not State.IDLE:
            return ()
        self._reply = Reply(streamed=False)
        self._characters = 0
        data = read_data(_SynthesizeData, event)
        self._count(data.text)
        return (_task(data, self._reply), FeedText(data.text), FinishTask())

    def _start(self, event: Event) -> tuple[Command, ...]:
        if self.state is State.STREAMING:
            return (_misplaced("The task before it has no synthesize-stop yet"),)
        self.state = State.STREAMING
        self._reply = Reply(streamed=True)
        self._characters = 0
        return (_task(read_data(_StartData, event), self._reply),)

    def _chunk(self, event: Event) -> tuple[Command, ...]:
        if self.state is State.IDLE:
            return (_misplaced("synthesize-chunk comes without synthesize-start"),)
        if self.state is State.SKIPPING:
            return ()
        text = read_data(_ChunkData, event).text
        self._count(text)
        return (FeedText(text),)

    def _stop(self, _event: Event) -> tuple[Command, ...]:
        state, self.state = self.state, State.IDLE
        if state is State.IDLE:
            return (_misplaced("synthesize-stop comes without synthesize-start"),)
        return (FinishTask(),) if state is State.STREAMING else ()

    def _count(self, text: str) -> None:
        self._characters += len(text)
        if self._characters > limits.MAX_TASK_CHARACTERS:
            raise SpeechError(
                ErrorCode.TEXT_TOO_LONG,
                f"The text is longer than {limits.MAX_TASK_CHARACTERS} characters!",
            )


class Reply:
    """The events that answer one task.

    Args:
        streamed: its text came in chunks.
    """

    def __init__(self, *, streamed: bool) -> None:
        self.sample_rate_hz = 0
        """To be set before anything is sent."""
        self._streamed = streamed
        self._started = False
        self._ended = False

    def send(self, event: SessionEvent) -> tuple[Event, ...]:
        """What the client is told of a session's event.

        A text without anything to speak in it is answered by audio without samples.
        """
        match event:
            case AudioProduced(data):
                chunk = AudioChunk(self.sample_rate_hz, _WIDTH_BYTES, _CHANNELS, data)
                return (*self._start(), chunk.event())
            case SessionFinished():
                return (*self._start(), *self._end())
            case _:
                return ()

    def fail(self, error: SpeechError) -> tuple[Event, ...]:
        """Tell of an error, with which the task ends if it has not ended yet."""
        return (render(error),) if self._ended else (render(error), *self._end())

    def _start(self) -> tuple[Event, ...]:
        if self._started:
            return ()
        self._started = True
        return (AudioStart(self.sample_rate_hz, _WIDTH_BYTES, _CHANNELS).event(),)

    def _end(self) -> tuple[Event, ...]:
        self._ended = True
        ends: list[Eventable] = []
        # Clients of a whole task wait for it, whether or not anything has begun.
        if self._started or not self._streamed:
            ends.append(AudioStop())
        if self._streamed:
            ends.append(SynthesizeStopped())
        return tuple(end.event() for end in ends)


def render(error: SpeechError) -> Event:
    """The `error` event."""
    return Error(text=error.message, code=error.code.value).event()


def _misplaced(problem: str) -> Answer:
    """An error that is no task's."""
    return Answer(render(SpeechError(ErrorCode.STATE_CONFLICT, f"{problem}!")))


def _task(data: _StartData, reply: Reply) -> StartTask:
    return StartTask(data.voice or VoiceWish(), data.text_format == "ssml", reply)


def _tell_info(_event: Event) -> tuple[Command, ...]:
    return (TellInfo(),)


def _select(event: Event) -> tuple[Command, ...]:
    try:
        name = read_data(_ProgramData, event).name
        if name != PROGRAM:
            raise SpeechError(
                ErrorCode.PARAMETER_INVALID,
                f"Invalid program '{nls.echo(name)}'! There is only '{PROGRAM}'.",
            )
    except SpeechError as error:
        return (Answer(render(error)),)
    return ()


def read_data(kind: type[_Data], event: Event) -> _Data:
    """The event's fields; null is as good as absent where a field may be."""
    try:
        return msgspec.convert(_without_nulls(event.data), kind)
    except msgspec.ValidationError as error:
        # It names the field and the types, and holds nothing of the value.
        raise SpeechError(ErrorCode.PARAMETER_INVALID, f"{event.type}: {error}!") from None


def _without_nulls(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None}
