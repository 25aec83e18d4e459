"""One try of one stream on one worker, as the front sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from server.pool.framing import ChannelError
from server.pool.messages import (
    FRAME_AUDIO_S,
    AppendAudio,
    AppendText,
    AudioTaken,
    Cancel,
    Computed,
    FrontMessage,
    GrantCredit,
    Heard,
    Parked,
    Pcm,
    Recall,
    Recognize,
    Resumed,
    Started,
    Synthesize,
)
from server.pool.recognition_stream import RecognitionStream
from server.pool.stream import PoolStream
from server.pool.worker_stream import AnyStream

Phase: TypeAlias = Literal["waiting", "computing", "parked", "computed"]
"""A dispatch waits inside the worker for its first slot, holds one, or holds none for a time; in
the end the model is done with it, though audio may still come."""
PhaseMessage: TypeAlias = Started | Parked | Resumed | Computed
Stream = TypeVar("Stream", bound=AnyStream)

_SAMPLE_BYTES = 4
_PHASES: dict[type[PhaseMessage], tuple[Phase, Phase]] = {
    Started: ("waiting", "computing"),
    Parked: ("computing", "parked"),
    Resumed: ("parked", "computing"),
    Computed: ("computing", "computed"),
}


class Dispatch(ABC, Generic[Stream]):
    """Outlives the interest in its stream until the worker has confirmed its end.

    Args:
        number: of the stream on this worker.
        stream: the stream.
        sample_rate_hz: of its audio.
        send: puts a message on the worker's channel.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        number: int,
        stream: Stream,
        sample_rate_hz: int,
        *,
        send: Callable[[FrontMessage], None],
        clock: Callable[[], float],
    ) -> None:
        self.number = number
        self.stream = stream
        self.phase: Phase = "waiting"
        self.cancelled = False
        self.recalled = False
        self._sample_rate_hz = sample_rate_hz
        self._send = send
        self._clock = clock
        self._active_at_s = clock()

    @abstractmethod
    def begin(self) -> None:
        """Send the order."""

    def cancel(self) -> None:
        """Stop the work; the slot counts as busy until the worker confirms it."""
        self.touch()
        self.cancelled = True
        self._send(Cancel(self.number))

    def recall(self) -> None:
        """Ask for the stream back, if no slot has taken it up yet."""
        self.recalled = True
        self._send(Recall(self.number))

    def enter(self, message: PhaseMessage) -> None:
        """Go to the phase that the worker tells.

        Raises:
            ChannelError: there is no way there from the present one.
        """
        before, after = _PHASES[type(message)]
        if self.phase != before:
            raise ChannelError(f"{type(message).__name__} for a stream that is {self.phase}")
        self.phase = after
        self.touch()

    def touch(self) -> None:
        """Note that something moved."""
        self._active_at_s = self._clock()

    def stalled(self, limit_s: float) -> bool:
        """Whether the worker has owed something, without any move, since before `limit_s`."""
        if self._active_at_s >= limit_s:
            return False
        return self.cancelled or (self.phase == "computing" and self._owes)

    @property
    @abstractmethod
    def _owes(self) -> bool:
        """Whether a stream that holds a slot could go on."""


AnyDispatch: TypeAlias = Dispatch[Any]


class SpeechDispatch(Dispatch[PoolStream]):
    """A segment that is spoken."""

    _unused_credit_samples = 0

    def begin(self) -> None:
        """As in the base class."""
        credit_samples = self.stream.attach(self, self._sample_rate_hz)
        self._unused_credit_samples = credit_samples
        self._send(
            Synthesize(
                self.number,
                self.stream.request,
                self.stream.text,
                not self.stream.text_ended,
                credit_samples,
            )
        )

    def grant(self, samples: int) -> None:
        """Let the worker send so many samples more."""
        self.touch()
        self._unused_credit_samples += samples
        self._send(GrantCredit(self.number, samples))

    def append_text(self, text: str, *, last: bool) -> None:
        """Pass a piece of text on."""
        self.touch()
        self._send(AppendText(self.number, text, last))

    def receive(self, pcm: Pcm) -> None:
        """Pass audio on."""
        self.touch()
        self._unused_credit_samples -= len(pcm.samples) // _SAMPLE_BYTES
        if not self.cancelled:
            self.stream.receive(pcm)

    @property
    def _owes(self) -> bool:
        # Without all its text it may wait for more in a thread of the model's own, unparked.
        frame_samples = int(self._sample_rate_hz * FRAME_AUDIO_S)
        return self.stream.text_ended and self._unused_credit_samples >= frame_samples


class RecognitionDispatch(Dispatch[RecognitionStream]):
    """A stream that is listened to."""

    def begin(self) -> None:
        """As in the base class."""
        self._send(Recognize(self.number, self.stream.request))
        self.stream.attach(self)

    def append_audio(self, samples: bytes, *, last: bool) -> None:
        """Pass a piece of audio on."""
        self._send(AppendAudio(self.number, samples, last))

    def receive(self, message: AudioTaken | Heard) -> None:
        """Pass on what was understood, and how far it got."""
        self.touch()
        if self.cancelled:
            return
        match message:
            case AudioTaken():
                self.stream.audio_taken(message.samples)
            case Heard():
                self.stream.receive(message)

    @property
    def _owes(self) -> bool:
        # While it waits for audio it is parked.
        return True
