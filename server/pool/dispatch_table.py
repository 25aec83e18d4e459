"""The streams that one worker has: what it owes, what it said, and how much room that leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Protocol, TypeAlias

import structlog

from server.errors import ErrorCode, SpeechError
from server.pool.clones import GivenVoices
from server.pool.dispatch import (
    AnyDispatch,
    Phase,
    PhaseMessage,
    RecognitionDispatch,
    SpeechDispatch,
)
from server.pool.framing import ChannelError
from server.pool.messages import (
    AudioTaken,
    Cancelled,
    Computed,
    Failed,
    FailureCode,
    Finished,
    FrontMessage,
    Heard,
    Parked,
    Pcm,
    Resumed,
    Started,
)
from server.pool.options import ModelInfo, PoolObserver, RecognizerInfo
from server.pool.recognition_stream import RecognitionStream
from server.pool.stream import PoolStream
from server.pool.worker_stream import AnyStream

log = structlog.get_logger()

StreamMessage: TypeAlias = Pcm | AudioTaken | Heard | PhaseMessage | Finished | Failed | Cancelled

_PUBLIC_CODES: dict[FailureCode, ErrorCode] = {
    "voice_unknown": ErrorCode.VOICE_UNKNOWN,
    "unsupported": ErrorCode.NOT_SUPPORTED,
    "failed": ErrorCode.MODEL_FAILED,
}


class StreamListener(Protocol):
    """The pool, as far as it hears of streams on workers."""

    def stream_lost(self, stream: AnyStream) -> None:
        """The worker died with it."""

    def stream_returned(self, stream: AnyStream) -> None:
        """The worker gave it back before it had begun."""

    def stream_ended(self, stream: AnyStream) -> None:
        """It has finished or failed."""


class DispatchTable:
    """All streams of one worker.

    Args:
        info: what the worker hosts.
        send: puts a message on its channel.
        listener: hears how streams end.
        observer: hears figures.
        changed: called when there may be more room or less, or nothing left.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        info: ModelInfo | RecognizerInfo,
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
        self._dispatches: dict[int, AnyDispatch] = {}
        self._phases: Counter[Phase] = Counter()
        self._voices = GivenVoices(send)
        self.slots = info.capabilities.slots
        """Streams that compute at once now."""
        self.taken = 0
        """All that were ever given to it."""

    def __len__(self) -> int:
        return len(self._dispatches)

    @property
    def computing(self) -> int:
        """Streams that hold a slot or wait inside the worker for their first one."""
        return self._phases["computing"] + self._phases["waiting"]

    @property
    def parked(self) -> int:
        """Streams that hold no slot until their listener takes audio, or more comes in."""
        return self._phases["parked"]

    @property
    def free_slots(self) -> int:
        """Streams that could begin at once; negative if some wait inside the worker to begin.

        It is also negative for a time when a parked stream goes on while its slot was given away:
        the two messages crossed, and the worker's own line sees to the order. And it is when the
        worker has become slower and takes fewer than it has.
        """
        return min(self.slots - self.computing, self._openable)

    @property
    def room(self) -> int:
        """Streams that it takes: what could begin at once, and one that waits inside.

        That one waits for a stream that computes, never for the listener of a parked one.
        """
        free = self.free_slots
        return free + 1 if free > 0 or self.computing else free

    @property
    def _openable(self) -> int:
        capabilities = self._info.capabilities
        return capabilities.slots + capabilities.parked - self.computing - self.parked

    def limit(self, capacity: int | None) -> bool:
        """Have no more streams compute than the worker says; None for no other number than before.

        Returns:
            Whether that changes something.
        """
        before = self.slots
        if capacity is not None:
            self.slots = capacity
        return self.slots != before

    def take(self, stream: AnyStream) -> None:
        """Give the worker a stream, of the kind that its model is for."""
        try:
            if stream.sample_rate_hz not in (None, self._info.sample_rate_hz):
                message = f"model {self._info.name!r} has changed; try again"
                raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message)
            dispatch = self._dispatch(stream)
        except SpeechError as error:
            stream.fail(error)
            self._listener.stream_ended(stream)
            return
        self._dispatches[dispatch.number] = dispatch
        self._phases[dispatch.phase] += 1
        self.taken += 1
        dispatch.begin()

    def _dispatch(self, stream: AnyStream) -> AnyDispatch:
        number, rate_hz = next(self._numbers), self._info.sample_rate_hz
        if isinstance(stream, RecognitionStream):
            return RecognitionDispatch(number, stream, rate_hz, send=self._send, clock=self._clock)
        if not isinstance(stream, PoolStream):
            raise TypeError(f"a {type(stream).__name__} is nothing for a worker")
        if stream.more_text and not self._takes_text_stream:
            message = f"model {self._info.name!r} does not take text piece by piece"
            raise SpeechError(ErrorCode.NOT_SUPPORTED, message)
        if stream.clone is not None:
            self._voices.give(stream.clone)
        return SpeechDispatch(number, stream, rate_hz, send=self._send, clock=self._clock)

    @property
    def _takes_text_stream(self) -> bool:
        return isinstance(self._info, ModelInfo) and self._info.capabilities.text_stream

    def remove_voice(self, name: str) -> None:
        """Have the worker forget a clone, after the streams that it has with it."""
        self._voices.remove(name)
        self._sweep_voices()

    def _sweep_voices(self) -> None:
        if self._voices.to_sweep:
            self._voices.sweep(
                dispatch.stream.request.voice
                for dispatch in self._dispatches.values()
                if isinstance(dispatch, SpeechDispatch)
            )

    def recall(self) -> bool:
        """Ask for a stream back that waits inside the worker to begin; False if there is none."""
        for dispatch in self._dispatches.values():
            if dispatch.phase == "waiting" and not (dispatch.recalled or dispatch.cancelled):
                dispatch.recall()
                return True
        return False

    def lose_all(self) -> None:
        """The worker is gone."""
        lost = [d.stream for d in self._dispatches.values() if not d.cancelled]
        self._dispatches.clear()
        self._phases.clear()
        for stream in lost:
            self._listener.stream_lost(stream)

    def stalled(self, timeout_s: float) -> bool:
        """Whether the worker has owed something for so long."""
        limit_s = self._clock() - timeout_s
        return any(dispatch.stalled(limit_s) for dispatch in self._dispatches.values())

    # --- What the worker says --------------------------------------------------------------

    def receive(self, message: StreamMessage) -> None:
        """Handle a message about a stream.

        Raises:
            ChannelError: the worker does not have such a stream.
        """
        dispatch = self._dispatches.get(message.stream)
        if dispatch is None:
            raise ChannelError(f"{type(message).__name__} for an unknown stream")
        if isinstance(message, Pcm | AudioTaken | Heard):
            self._receive_output(dispatch, message)
            return
        match message:
            case Started() | Parked() | Resumed() | Computed():
                self._receive_phase(dispatch, message)
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
        if not isinstance(message, Started):
            self._changed()

    def _receive_output(self, dispatch: AnyDispatch, message: Pcm | AudioTaken | Heard) -> None:
        match dispatch, message:
            case SpeechDispatch(), Pcm():
                self._receive_pcm(dispatch, message)
            case RecognitionDispatch(), AudioTaken() | Heard():
                dispatch.receive(message)
            case _:
                raise ChannelError(f"{type(message).__name__} for another kind of stream")

    def _receive_pcm(self, dispatch: SpeechDispatch, pcm: Pcm) -> None:
        stream = dispatch.stream
        if stream.model_first_chunk_s is None and not dispatch.cancelled:
            stream.model_first_chunk_s = pcm.compute_s
            self._observer.first_chunk_computed(self._info.name, pcm.compute_s)
        dispatch.receive(pcm)

    def _receive_phase(self, dispatch: AnyDispatch, message: PhaseMessage) -> None:
        before = dispatch.phase
        dispatch.enter(message)
        self._phases[before] -= 1
        self._phases[dispatch.phase] += 1
        match message:
            case Started():
                self._receive_started(dispatch)
            case Parked():
                self._release_stuck()
            case Computed():
                self._receive_computed(dispatch, message)

    def _release_stuck(self) -> None:
        """Have a stream given back that could only begin after a parked one has ended."""
        if self._openable < 0 and not self._phases["computing"]:
            self.recall()

    def _receive_started(self, dispatch: AnyDispatch) -> None:
        dispatch.recalled = False
        if not dispatch.cancelled:
            waited_s = self._clock() - dispatch.stream.offered_at_s
            dispatch.stream.started(waited_s)
            self._observer.queue_waited(self._info.name, waited_s)

    def _receive_computed(self, dispatch: AnyDispatch, message: Computed) -> None:
        dispatch.stream.compute_s = message.compute_s
        audio_s = message.samples / self._info.sample_rate_hz
        self._observer.synthesized(self._info.name, audio_s, message.compute_s)

    def _receive_failed(self, dispatch: AnyDispatch, message: Failed) -> None:
        if message.detail:
            log.error("model_failed", model=self._info.name, detail=message.detail)
        self._finish(dispatch, SpeechError(_PUBLIC_CODES[message.code], message.message))

    def _receive_returned(self, dispatch: AnyDispatch) -> None:
        if not dispatch.recalled:
            raise ChannelError("Cancelled for a stream that was not cancelled")
        dispatch.stream.detach()
        self._listener.stream_returned(dispatch.stream)

    def _end(self, dispatch: AnyDispatch) -> None:
        del self._dispatches[dispatch.number]
        self._phases[dispatch.phase] -= 1
        self._sweep_voices()

    def _finish(self, dispatch: AnyDispatch, error: SpeechError | None) -> None:
        if dispatch.cancelled:
            return
        if error is None:
            dispatch.stream.complete()
        else:
            dispatch.stream.fail(error)
        self._listener.stream_ended(dispatch.stream)
