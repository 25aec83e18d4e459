"""The worker pool: segments of text go in, streams of audio come out.

The pool keeps the workers of all models alive, queues segments by playback deadline, gives each to
the worker with the most room, and tries a segment again when its worker dies before any of it was
heard. It belongs to one event loop and blocks it nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from models.base import SynthesisRequest
from server.errors import ErrorCode, SpeechError
from server.pool.group import ModelGroup
from server.pool.options import (
    ModelInfo,
    ModelSpec,
    PoolObserver,
    PoolOptions,
    SilentObserver,
    StopReason,
)
from server.pool.process import PackageView
from server.pool.remote import RemoteWorker
from server.pool.scheduler import Scheduler
from server.pool.seat import report_crash
from server.pool.snapshot import PoolSnapshot, WorkerSnapshot
from server.pool.stream import PoolStream

__all__ = [
    "ModelInfo",
    "ModelSpec",
    "PoolObserver",
    "PoolOptions",
    "PoolSnapshot",
    "PoolStream",
    "SilentObserver",
    "StopReason",
    "WorkerPool",
    "WorkerSnapshot",
]

log = structlog.get_logger()

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
        ValueError: two models have one name, or one has no workers.
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
        self._observer = observer
        self._clock = clock
        self._groups = {
            spec.name: ModelGroup(spec, options, observer=observer, listener=self, clock=clock)
            for spec in specs
        }
        if len(self._groups) < len(specs):
            raise ValueError("two models have the same name")
        self._scheduler: Scheduler[PoolStream] = Scheduler(clock)
        self._streams: set[PoolStream] = set()
        self._no_streams = asyncio.Event()
        self._no_streams.set()
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
        """Wait until each model has a ready worker.

        Raises:
            SpeechError: MODEL_UNAVAILABLE after `timeout_s`, with the model's name and what its
                worker said last; a message for the operator, not for clients.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for group in self._groups.values():
                    await group.ready.wait()
        except TimeoutError:
            late = next(group for group in self._groups.values() if not group.ready.is_set())
            reason = late.last_error or "it is still starting"
            message = f"model {late.spec.name!r} is not ready after {timeout_s:g} s: {reason}"
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message) from None

    async def close(self, grace_s: float = 0.0) -> None:
        """End everything: open streams may go on for `grace_s`, no new one is taken."""
        self._closing = True
        if grace_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._no_streams.wait()
        self._scheduler.clear()
        for stream in list(self._streams):
            stream.interrupt(SpeechError(ErrorCode.SHUTTING_DOWN, "the server is shutting down"))
        if self._check_task is not None:
            self._check_task.cancel()
            await asyncio.gather(self._check_task, return_exceptions=True)
        await asyncio.gather(*(group.close() for group in self._groups.values()))
        if self._view is not None:
            self._view.close()
            self._view = None

    async def _check(self) -> None:
        """Visit the workers and the queue, again and again."""
        while True:
            await asyncio.sleep(self._options.check_interval_s)
            for group in self._groups.values():
                for worker in group.workers:
                    _visit(worker)
                if not group.ready.is_set():
                    self._fail_overdue(group)

    def _fail_overdue(self, group: ModelGroup) -> None:
        name = group.spec.name
        for stream in self._scheduler.overdue(
            name, self._options.ready_timeout_s, since_s=group.down_since_s
        ):
            message = f"model {name!r} has no ready worker"
            stream.fail(SpeechError(ErrorCode.MODEL_UNAVAILABLE, message))
            self.stream_ended(stream)

    # --- What it is like -------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether each model has a ready worker."""
        return all(group.ready.is_set() for group in self._groups.values())

    @property
    def models(self) -> Mapping[str, ModelInfo]:
        """What is known of the models whose workers have been ready once."""
        return {name: group.info for name, group in self._groups.items() if group.info is not None}

    @property
    def queued(self) -> int:
        """Segments that wait for a worker."""
        return len(self._scheduler)

    def snapshot(self) -> PoolSnapshot:
        """The state of all workers, and of the queue."""
        workers = tuple(
            WorkerSnapshot.of(name, seat)
            for name, group in self._groups.items()
            for seat in group.seats
        )
        return PoolSnapshot(workers=workers, queued=self.queued, streams=len(self._streams))

    # --- Streams ---------------------------------------------------------------------------

    def open(
        self,
        model: str,
        request: SynthesisRequest,
        text: str,
        *,
        deadline_s: float,
        more_text: bool = False,
    ) -> PoolStream:
        """Have a segment spoken.

        Args:
            model: a spec's name.
            request: voice and manner.
            text: the segment, or with `more_text` the beginning of it.
            deadline_s: when its first sample is needed, on the pool's clock.
            more_text: text follows by `PoolStream.append_text`.

        Raises:
            SpeechError: CAPACITY_EXCEEDED if the queue is full, MODEL_UNAVAILABLE if there is no
                such model, SHUTTING_DOWN after `close`.
            ValueError: the deadline is not finite.
        """
        if self._closing:
            raise SpeechError(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
        group = self._groups.get(model)
        if group is None:
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, f"there is no model {model!r}")
        if self.queued >= self._options.max_queued and group.roomiest() is None:
            raise SpeechError(
                ErrorCode.CAPACITY_EXCEEDED,
                "too much text is waiting to be spoken; try again later",
                retry_after_s=_RETRY_AFTER_S,
            )
        stream = PoolStream(
            self,
            model=model,
            request=request,
            text=text,
            more_text=more_text,
            deadline_s=deadline_s,
        )
        self._queue(stream)
        self._streams.add(stream)
        self._no_streams.clear()
        self._dispatch(group)
        return stream

    def _queue(self, stream: PoolStream) -> None:
        self._scheduler.offer(stream, stream.model, stream.deadline_s)
        stream.offered_at_s = self._clock()

    def _dispatch(self, group: ModelGroup) -> None:
        """Give waiting segments to workers with room."""
        while (worker := group.roomiest()) is not None:
            stream = self._scheduler.take(group.spec.name)
            if stream is None:
                group.balance()
                return
            worker.take(stream)

    # --- What streams say ------------------------------------------------------------------

    def reprioritize(self, stream: PoolStream, deadline_s: float) -> None:
        """Change a waiting stream's deadline."""
        self._scheduler.update(stream, stream.model, deadline_s)
        stream.deadline_s = deadline_s

    def stream_cancelled(self, stream: PoolStream) -> None:
        """Forget a stream that its consumer gave up."""
        self._scheduler.remove(stream, stream.model)
        self._observer.synthesis_cancelled(stream.model)
        self.stream_ended(stream)

    def stream_ended(self, stream: PoolStream) -> None:
        """Forget a stream that has finished or failed."""
        self._streams.discard(stream)
        if not self._streams:
            self._no_streams.set()

    # --- What workers say ------------------------------------------------------------------

    def stream_lost(self, stream: PoolStream) -> None:
        """Try a dead worker's stream again, if nothing of it was heard."""
        if stream.heard or stream.retries >= self._options.max_retries:
            message = "the worker that spoke this text has died"
            stream.fail(SpeechError(ErrorCode.WORKER_LOST, message))
            self.stream_ended(stream)
            return
        stream.retries += 1
        stream.detach()
        self._observer.segment_retried(stream.model)
        self.stream_returned(stream)

    def stream_returned(self, stream: PoolStream) -> None:
        """Queue a stream again, with its old deadline."""
        self._queue(stream)
        self._dispatch(self._groups[stream.model])

    def worker_ready(self, worker: RemoteWorker, info: ModelInfo) -> None:
        """Count on it, and give it what waits."""
        group = self._groups[worker.spec.name]
        group.note_ready(info)
        self._dispatch(group)

    def worker_changed(self, worker: RemoteWorker) -> None:
        """Give what waits to whoever has room."""
        self._dispatch(self._groups[worker.spec.name])

    def worker_left(self, worker: RemoteWorker) -> None:
        """Count on it no more."""
        self._groups[worker.spec.name].note_left()


def _visit(worker: RemoteWorker) -> None:
    """Check one worker; whatever comes of it, the others are checked too, and it is next time."""
    try:
        worker.check()
    except Exception:
        # Without its visits a worker that hangs would keep its streams for ever.
        log.exception("worker_check_failed", model=worker.spec.name, pid=worker.pid)
