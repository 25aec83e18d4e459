"""One try of one stream on one worker, as the front sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from server.pool.framing import ChannelError
from server.pool.messages import (
    AppendText,
    Cancel,
    Computed,
    FrontMessage,
    GrantCredit,
    Parked,
    Pcm,
    Recall,
    Resumed,
    Started,
    Synthesize,
)
from server.pool.options import ModelInfo
from server.pool.stream import PoolStream

Phase: TypeAlias = Literal["waiting", "computing", "parked", "computed"]
"""A dispatch waits inside the worker for its first slot, holds one, or holds none for a time; in
the end the model is done with it, though audio may still come."""
PhaseMessage: TypeAlias = Started | Parked | Resumed | Computed

_SAMPLE_BYTES = 4
_PHASES: dict[type[PhaseMessage], tuple[Phase, Phase]] = {
    Started: ("waiting", "computing"),
    Parked: ("computing", "parked"),
    Resumed: ("parked", "computing"),
    Computed: ("computing", "computed"),
}


class Dispatch:
    """Outlives the interest in its stream until the worker has confirmed its end."""

    def __init__(
        self,
        number: int,
        stream: PoolStream,
        *,
        send: Callable[[FrontMessage], None],
        clock: Callable[[], float],
    ) -> None:
        self.number = number
        self.stream = stream
        self.phase: Phase = "waiting"
        self.cancelled = False
        self.recalled = False
        self._send = send
        self._clock = clock
        self._unused_credit_samples = 0
        self._active_at_s = clock()

    def begin(self, info: ModelInfo) -> None:
        """Send the order."""
        credit_samples = self.stream.attach(self, info.sample_rate_hz)
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

    def cancel(self) -> None:
        """Stop the synthesis; the slot counts as busy until the worker confirms it."""
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

    def receive(self, pcm: Pcm) -> None:
        """Pass audio on."""
        self.touch()
        self._unused_credit_samples -= len(pcm.samples) // _SAMPLE_BYTES
        if not self.cancelled:
            self.stream.receive(pcm)

    def stalled(self, limit_s: float, frame_samples: int) -> bool:
        """Whether the worker has owed something, without any move, since before `limit_s`."""
        if self._active_at_s >= limit_s:
            return False
        # Without all its text it may wait for more in a thread of the model's own, unparked.
        computing = self.phase == "computing" and self.stream.text_ended
        return self.cancelled or (computing and self._unused_credit_samples >= frame_samples)
