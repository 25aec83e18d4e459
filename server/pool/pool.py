"""The worker pool: segments of text go in, streams of audio come out.

This is what the rest of the server sees. Which worker gets which segment is the business of
`server.pool.dispatcher`, which workers there are that of `server.pool.group`. All of it belongs to
one event loop and blocks it nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

from models.base import Samples, SynthesisRequest
from models.recognition import RecognitionRequest
from server.errors import ErrorCode, SpeechError
from server.pool.clones import Clone
from server.pool.dispatcher import Dispatcher
from server.pool.group import ModelGroup
from server.pool.options import (
    ModelInfo,
    ModelSpec,
    PoolObserver,
    PoolOptions,
    RecognizerInfo,
    SilentObserver,
    StopReason,
)
from server.pool.process import PackageView
from server.pool.recognition_stream import RecognitionStream
from server.pool.seat import report_crash
from server.pool.snapshot import PoolSnapshot, WorkerSnapshot
from server.pool.stream import PoolStream

__all__ = [
    "Clone",
    "ModelInfo",
    "ModelSpec",
    "PoolObserver",
    "PoolOptions",
    "PoolSnapshot",
    "PoolStream",
    "RecognitionStream",
    "RecognizerInfo",
    "SilentObserver",
    "StopReason",
    "WorkerPool",
    "WorkerSnapshot",
]

_DEFAULT_OPTIONS = PoolOptions()
_SILENT = SilentObserver()
_RETRY_AFTER_S = 1.0


class WorkerPool:
    """Workers of one or more models.

    Args:
        specs: the models, with distinct names.
        options: bounds and patience.
        observer: hears the figures.
        clock: monotonic seconds; deadlines are on this clock.

    Raises:
        ValueError: two models have one name, or one has no workers, or is lazy and not described.
        TypeError: a model's options are not JSON-like.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        *,
        options: PoolOptions = _DEFAULT_OPTIONS,
        observer: PoolObserver = _SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._dispatcher = Dispatcher(specs, options, observer=observer, clock=clock)
        self._groups = self._dispatcher.groups
        self._view: PackageView | None = None
        self._check_task: asyncio.Task[None] | None = None
        self._closing = False

    # --- Life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the processes; returns at once."""
        if any(group.spec.interpreter for group in self._groups.values()):
            self._view = PackageView()
        for group in self._groups.values():
            group.open(self._view)
        self._check_task = asyncio.create_task(self._check())
        self._check_task.add_done_callback(report_crash)

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until each model has a ready worker, but for those that wait for a request.

        Raises:
            SpeechError: MODEL_UNAVAILABLE after `timeout_s`, with the model's name and what its
                worker said last; a message for the operator, not for clients.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for group in self._groups.values():
                    await group.loading.usable.wait()
        except TimeoutError:
            late = next(
                group for group in self._groups.values() if not group.loading.usable.is_set()
            )
            reason = late.last_error or "it is still starting"
            message = f"model {late.spec.name!r} is not ready after {timeout_s:g} s: {reason}"
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message) from None

    async def close(self, grace_s: float = 0.0) -> None:
        """End everything: open streams may go on for `grace_s`, no new one is taken."""
        self._closing = True
        if grace_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._dispatcher.no_streams.wait()
        self._dispatcher.interrupt_all(_shutting_down())
        if self._check_task is not None:
            self._check_task.cancel()
            await asyncio.gather(self._check_task, return_exceptions=True)
        await asyncio.gather(*(group.close(_shutting_down()) for group in self._groups.values()))
        if self._view is not None:
            self._view.close()
            self._view = None

    async def _check(self) -> None:
        """Visit the workers and the queue, again and again."""
        while True:
            await asyncio.sleep(self._options.check_interval_s)
            for group in self._groups.values():
                group.check()
            self._dispatcher.fail_overdue()

    # --- What it is like -------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether each model has a ready worker, or starts one for the next request."""
        return all(group.loading.usable.is_set() for group in self._groups.values())

    @property
    def models(self) -> Mapping[str, ModelInfo]:
        """What is known of the models that speak: reported by workers, or told by their specs."""
        infos = {name: group.info for name, group in self._groups.items()}
        return {name: info for name, info in infos.items() if isinstance(info, ModelInfo)}

    @property
    def recognizers(self) -> Mapping[str, RecognizerInfo]:
        """The same of those that listen."""
        infos = {name: group.info for name, group in self._groups.items()}
        return {name: info for name, info in infos.items() if isinstance(info, RecognizerInfo)}

    @property
    def queued(self) -> int:
        """Segments that wait for a worker."""
        return self._dispatcher.queued

    def waiting(self, model: str) -> int:
        """Those of them that wait for a worker of one model."""
        return self._dispatcher.waiting(model)

    def snapshot(self) -> PoolSnapshot:
        """The state of all workers, and of the queue."""
        workers = tuple(
            WorkerSnapshot.of(name, seat)
            for name, group in self._groups.items()
            for seat in group.seats
        )
        return PoolSnapshot(
            workers=workers, queued=self.queued, streams=len(self._dispatcher.streams)
        )

    # --- Streams ---------------------------------------------------------------------------

    def open(
        self,
        model: str,
        request: SynthesisRequest,
        text: str,
        *,
        deadline_s: float,
        more_text: bool = False,
        clone: Clone | None = None,
    ) -> PoolStream:
        """Have a segment spoken.

        Args:
            model: a spec's name.
            request: voice and manner.
            text: the segment, or with `more_text` the beginning of it.
            deadline_s: when its first sample is needed, on the pool's clock.
            more_text: text follows by `PoolStream.append_text`.
            clone: the voice that `request` names, if it is a cloned one. Workers that do not have
                it are given it first.

        Raises:
            SpeechError: CAPACITY_EXCEEDED if the queue is full, MODEL_UNAVAILABLE if there is no
                such model, SHUTTING_DOWN after `close`.
            ValueError: the deadline is not finite, or the clone is another voice.
        """
        if clone is not None and clone.voice.name != request.voice:
            raise ValueError(f"clone {clone.voice.name!r} for a request of {request.voice!r}")
        group = self._open_group(model)
        self._check_queue(group, "too much text is waiting to be spoken; try again later")
        stream = PoolStream(
            self._dispatcher,
            model=model,
            request=request,
            text=text,
            more_text=more_text,
            deadline_s=deadline_s,
            clone=clone,
            sample_rate_hz=group.info.sample_rate_hz if group.info is not None else None,
        )
        self._dispatcher.accept(stream)
        return stream

    def recognize(
        self, model: str, request: RecognitionRequest, *, deadline_s: float
    ) -> RecognitionStream:
        """Have audio listened to, which follows by `RecognitionStream.append`.

        If its worker dies it begins anew elsewhere, as long as nothing has been understood and the
        audio is not long.

        Args:
            model: a recogniser's name.
            request: what to listen for.
            deadline_s: when it is to begin, on the pool's clock.

        Raises:
            SpeechError: CAPACITY_EXCEEDED if the queue is full, MODEL_UNAVAILABLE if there is no
                such recogniser or nothing is known of it yet, SHUTTING_DOWN after `close`.
            ValueError: the deadline is not finite.
        """
        group = self._open_group(model, recognizes=True)
        if group.info is None:
            message = f"recogniser {model!r} is not loaded yet; try again"
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message, retry_after_s=_RETRY_AFTER_S)
        self._check_queue(group, "too much audio is waiting to be heard; try again later")
        stream = RecognitionStream(
            self._dispatcher,
            model=model,
            request=request,
            sample_rate_hz=group.info.sample_rate_hz,
            deadline_s=deadline_s,
        )
        self._dispatcher.accept(stream)
        return stream

    def _check_queue(self, group: ModelGroup, refusal: str) -> None:
        if self.queued >= self._options.max_queued and group.roomiest() is None:
            raise SpeechError(ErrorCode.CAPACITY_EXCEEDED, refusal, retry_after_s=_RETRY_AFTER_S)

    def _open_group(self, model: str, *, recognizes: bool = False) -> ModelGroup:
        if self._closing:
            raise _shutting_down()
        group = self._groups.get(model)
        if group is None or group.spec.recognizes != recognizes:
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, f"there is no model {model!r}")
        return group

    # --- Cloned voices ---------------------------------------------------------------------

    async def enroll(
        self,
        model: str,
        samples: Samples,
        sample_rate_hz: int,
        transcript: str,
        timeout_s: float,
    ) -> bytes:
        """Have a model make a voice's features from a recording.

        A worker does so beside its streams, one recording at a time. A recording whose worker dies
        is not tried again.

        Args:
            model: a spec's name.
            samples: the recording, shape (n_samples,).
            sample_rate_hz: of the recording.
            transcript: what is said in it.
            timeout_s: after it the result is dropped, though the worker finishes what it began.

        Raises:
            SpeechError: what the model says (MODEL_FAILED if it can make nothing of the recording,
                NOT_SUPPORTED), PARAMETER_INVALID if the recording is too long, CAPACITY_EXCEEDED if
                others wait, WORKER_LOST, MODEL_UNAVAILABLE, SHUTTING_DOWN.
            ValueError: the samples have another shape.
        """
        return await self._open_group(model).enroll(samples, sample_rate_hz, transcript, timeout_s)

    def remove_voice(self, name: str) -> None:
        """Have all workers forget a clone, each after the streams that it has with it.

        A stream that was opened with the clone and still waits brings it to its worker again.
        """
        for group in self._groups.values():
            group.remove_voice(name)


def _shutting_down() -> SpeechError:
    return SpeechError(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
