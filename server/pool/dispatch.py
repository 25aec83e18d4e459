"""The streams that one worker has: what it owes, what it said, and how much room that leaves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Protocol, TypeAlias

import structlog

from server.errors import ErrorCode, SpeechError
from server.pool.messages import (
    FRAME_AUDIO_S,
    AppendText,
    Cancel,
    Cancelled,
    ChannelError,
    Computed,
    Failed,
    FailureCode,
    Finished,
    FrontMessage,
    GrantCredit,
    Pcm,
    Recall,
    Started,
    Synthesize,
)
from server.pool.options import ModelInfo, PoolObserver
from server.pool.stream import PoolStream

log = structlog.get_logger()

StreamMessage: TypeAlias = Pcm | Started | Computed | Finished | Failed | Cancelled

_SAMPLE_BYTES = 4
_PUBLIC_CODES: dict[FailureCode, ErrorCode] = {
    "voice_unknown": ErrorCode.VOICE_UNKNOWN,
    "unsupported": ErrorCode.NOT_SUPPORTED,
    "failed": ErrorCode.MODEL_FAILED,
}


class StreamListener(Protocol):
    """The pool, as far as it hears of streams on workers."""

    def stream_lost(self, stream: PoolStream) -> None:
        """The worker died with it."""

    def stream_returned(self, stream: PoolStream) -> None:
        """The worker gave it back before it had begun."""

    def stream_ended(self, stream: PoolStream) -> None:
        """It has finished or failed."""


class Dispatch:
    """One try of one stream on one worker; outlives the stream's interest until it is confirmed."""

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
        self.started = False
        self.computed = False
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
        computing = self.started and not self.computed and self.stream.text_ended
        return self.cancelled or (computing and self._unused_credit_samples >= frame_samples)


class DispatchTable:
    """All streams of one worker.

    Args:
        info: what the worker hosts.
        send: puts a message on its channel.
        listener: hears how streams end.
        observer: hears figures.
        changed: called when there may be more room, or nothing left.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        info: ModelInfo,
        *,
        send: Callable[[FrontMessage], None],
        listener: StreamListener,
        observer: PoolObserver,
        changed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._info = info
        self._send = send
        self._listener = listener
        self._observer = observer
        self._changed = changed
        self._clock = clock
        self._numbers = count(1)
        self._dispatches: dict[int, Dispatch] = {}
        self.computing = 0
        """Streams that hold a slot or wait inside the worker for one."""
        self.taken = 0
        """All that were ever given to it."""

    def __len__(self) -> int:
        return len(self._dispatches)

    @property
    def free_slots(self) -> int:
        """Slots without work; negative if a stream waits inside the worker for one."""
        return self._info.capabilities.slots - self.computing

    def take(self, stream: PoolStream) -> None:
        """Give the worker a stream."""
        if stream.more_text and not self._info.capabilities.text_stream:
            message = f"model {self._info.name!r} does not take text piece by piece"
            stream.fail(SpeechError(ErrorCode.NOT_SUPPORTED, message))
            self._listener.stream_ended(stream)
            return
        dispatch = Dispatch(next(self._numbers), stream, send=self._send, clock=self._clock)
        self._dispatches[dispatch.number] = dispatch
        self.computing += 1
        self.taken += 1
        dispatch.begin(self._info)

    def recall(self) -> None:
        """Ask for a stream back that waits inside the worker for a slot."""
        for dispatch in self._dispatches.values():
            if not (dispatch.started or dispatch.recalled or dispatch.cancelled):
                dispatch.recalled = True
                self._send(Recall(dispatch.number))
                return

    def lose_all(self) -> None:
        """The worker is gone."""
        lost = [d.stream for d in self._dispatches.values() if not d.cancelled]
        self._dispatches.clear()
        self.computing = 0
        for stream in lost:
            self._listener.stream_lost(stream)

    def stalled(self, timeout_s: float) -> bool:
        """Whether the worker has owed something for so long."""
        limit_s = self._clock() - timeout_s
        frame_samples = int(self._info.sample_rate_hz * FRAME_AUDIO_S)
        return any(d.stalled(limit_s, frame_samples) for d in self._dispatches.values())

    # --- What the worker says --------------------------------------------------------------

    def receive(self, message: StreamMessage) -> None:
        """Handle a message about a stream.

        Raises:
            ChannelError: the worker does not have such a stream.
        """
        dispatch = self._dispatches.get(message.stream)
        if dispatch is None:
            raise ChannelError(f"{type(message).__name__} for an unknown stream")
        match message:
            case Pcm():
                self._receive_pcm(dispatch, message)
            case Started():
                self._receive_started(dispatch)
            case Computed():
                self._receive_computed(dispatch, message)
            case Finished():
                self._end(dispatch)
                self._finish(dispatch, None)
            case Failed():
                self._end(dispatch)
                self._receive_failed(dispatch, message)
            case Cancelled():
                self._end(dispatch)
                if not dispatch.cancelled:
                    self._receive_returned(dispatch)
        if not isinstance(message, Pcm | Started):
            self._changed()

    def _receive_pcm(self, dispatch: Dispatch, pcm: Pcm) -> None:
        stream = dispatch.stream
        if stream.model_first_chunk_s is None and not dispatch.cancelled:
            stream.model_first_chunk_s = pcm.compute_s
            self._observer.first_chunk_computed(self._info.name, pcm.compute_s)
        dispatch.receive(pcm)

    def _receive_started(self, dispatch: Dispatch) -> None:
        dispatch.started = True
        dispatch.recalled = False
        dispatch.touch()
        if not dispatch.cancelled:
            waited_s = self._clock() - dispatch.stream.offered_at_s
            dispatch.stream.started(waited_s)
            self._observer.queue_waited(self._info.name, waited_s)

    def _receive_computed(self, dispatch: Dispatch, message: Computed) -> None:
        dispatch.computed = True
        dispatch.touch()
        self.computing -= 1
        dispatch.stream.compute_s = message.compute_s
        audio_s = message.samples / self._info.sample_rate_hz
        self._observer.synthesized(self._info.name, audio_s, message.compute_s)

    def _receive_failed(self, dispatch: Dispatch, message: Failed) -> None:
        if message.detail:
            log.error("model_failed", model=self._info.name, detail=message.detail)
        self._finish(dispatch, SpeechError(_PUBLIC_CODES[message.code], message.message))

    def _receive_returned(self, dispatch: Dispatch) -> None:
        if not dispatch.recalled:
            raise ChannelError("Cancelled for a stream that was not cancelled")
        dispatch.stream.detach()
        self._listener.stream_returned(dispatch.stream)

    def _end(self, dispatch: Dispatch) -> None:
        del self._dispatches[dispatch.number]
        if not dispatch.computed:
            self.computing -= 1

    def _finish(self, dispatch: Dispatch, error: SpeechError | None) -> None:
        if dispatch.cancelled:
            return
        if error is None:
            dispatch.stream.finish()
        else:
            dispatch.stream.fail(error)
        self._listener.stream_ended(dispatch.stream)
