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
from types import MappingProxyType

from models.base import SynthesisRequest
from server.errors import ErrorCode, SpeechError
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
from server.pool.scheduler import Scheduler, roomiest
from server.pool.seat import Seat
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
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        *,
        options: PoolOptions = _DEFAULT_OPTIONS,
        observer: PoolObserver = _SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._specs = {spec.name: spec for spec in specs}
        if len(self._specs) < len(specs):
            raise ValueError("two models have the same name")
        if any(spec.workers < 1 for spec in specs):
            raise ValueError("a model needs at least one worker")
        self._options = options
        self._observer = observer
        self._clock = clock
        self._scheduler: Scheduler[PoolStream] = Scheduler(clock)
        self._seats: dict[str, list[Seat]] = {spec.name: [] for spec in specs}
        self._infos: dict[str, ModelInfo] = {}
        self._ready: dict[str, asyncio.Event] = {spec.name: asyncio.Event() for spec in specs}
        self._down_since_s: dict[str, float] = {}
        self._streams: set[PoolStream] = set()
        self._no_streams = asyncio.Event()
        self._no_streams.set()
        self._view: PackageView | None = None
        self._check_task: asyncio.Task[None] | None = None
        self._closing = False

    # --- Life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the processes; returns at once."""
        if any(spec.interpreter for spec in self._specs.values()):
            self._view = PackageView()
        for spec in self._specs.values():
            self._down_since_s[spec.name] = self._clock()
            self._seats[spec.name] = [self._seat(spec) for _ in range(spec.workers)]
        for seats in self._seats.values():
            for seat in seats:
                seat.open()
        self._check_task = asyncio.create_task(self._check())

    def _seat(self, spec: ModelSpec) -> Seat:
        def hire() -> RemoteWorker:
            return RemoteWorker(
                spec, self._options, observer=self._observer, listener=self, clock=self._clock
            )

        view = self._view if spec.interpreter else None
        return Seat(hire, view=view, options=self._options, clock=self._clock)

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until each model has a ready worker.

        Raises:
            SpeechError: MODEL_UNAVAILABLE after `timeout_s`, with the model's name and what its
                worker said last; a message for the operator, not for clients.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for ready in self._ready.values():
                    await ready.wait()
        except TimeoutError:
            name = next(name for name, ready in self._ready.items() if not ready.is_set())
            errors = [seat.last_error for seat in self._seats[name] if seat.last_error]
            reason = errors[0] if errors else "it is still starting"
            message = f"model {name!r} has no ready worker after {timeout_s:g} s: {reason}"
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message) from None

    async def close(self, grace_s: float = 0.0) -> None:
        """End everything: open streams may go on for `grace_s`, no new one is taken."""
        self._closing = True
        if grace_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._no_streams.wait(), grace_s)
        self._scheduler.clear()
        for stream in list(self._streams):
            stream.interrupt(SpeechError(ErrorCode.SHUTTING_DOWN, "the server is shutting down"))
        if self._check_task is not None:
            self._check_task.cancel()
            await asyncio.gather(self._check_task, return_exceptions=True)
        await asyncio.gather(*(seat.close() for seats in self._seats.values() for seat in seats))
        if self._view is not None:
            self._view.close()
            self._view = None

    async def _check(self) -> None:
        """Visit the workers and the queue, again and again."""
        while True:
            await asyncio.sleep(self._options.check_interval_s)
            for worker in self._workers():
                worker.check()
            for name in self._specs:
                self._fail_overdue(name)

    def _fail_overdue(self, name: str) -> None:
        if self._ready[name].is_set():
            return
        for stream in self._scheduler.overdue(
            name, self._options.ready_timeout_s, since_s=self._down_since_s[name]
        ):
            message = f"model {name!r} has no ready worker"
            stream.fail(SpeechError(ErrorCode.MODEL_UNAVAILABLE, message))
            self.stream_ended(stream)

    # --- What it is like -------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether each model has a ready worker."""
        return all(ready.is_set() for ready in self._ready.values())

    @property
    def models(self) -> Mapping[str, ModelInfo]:
        """What is known of the models whose workers have been ready once."""
        return MappingProxyType(self._infos)

    @property
    def queued(self) -> int:
        """Segments that wait for a worker."""
        return len(self._scheduler)

    def snapshot(self) -> PoolSnapshot:
        """The state of all workers, and of the queue."""
        workers = tuple(
            WorkerSnapshot.of(name, seat) for name, seats in self._seats.items() for seat in seats
        )
        return PoolSnapshot(workers=workers, queued=self.queued, streams=len(self._streams))

    def _workers(self, name: str | None = None) -> list[RemoteWorker]:
        groups = self._seats.values() if name is None else [self._seats[name]]
        return [worker for seats in groups for seat in seats for worker in seat.workers]

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
        if model not in self._specs:
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, f"there is no model {model!r}")
        full = self.queued >= self._options.max_queued
        if full and roomiest(self._workers(model)) is None:
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
        self._dispatch(model)
        return stream

    def _queue(self, stream: PoolStream) -> None:
        self._scheduler.offer(stream, stream.model, stream.deadline_s)
        stream.offered_at_s = self._clock()

    def _dispatch(self, model: str) -> None:
        """Give waiting segments to workers with room."""
        workers = self._workers(model)
        while (worker := roomiest(workers)) is not None:
            stream = self._scheduler.take(model)
            if stream is None:
                self._balance(workers)
                return
            worker.take(stream)

    def _balance(self, workers: list[RemoteWorker]) -> None:
        """Move a segment that waits inside a busy worker to one with a free slot."""
        if any(worker.free_slots > 0 for worker in workers):
            for worker in workers:
                if worker.free_slots < 0:
                    worker.recall()
                    return

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
        self._dispatch(stream.model)

    def worker_has_room(self, worker: RemoteWorker) -> None:
        """Give it what waits."""
        if worker.info is not None:
            self._infos[worker.spec.name] = worker.info
        self._ready[worker.spec.name].set()
        self._dispatch(worker.spec.name)

    def worker_left(self, worker: RemoteWorker) -> None:
        """Note when a model's last ready worker has gone."""
        name = worker.spec.name
        if self._ready[name].is_set() and all(w.state != "ready" for w in self._workers(name)):
            self._ready[name].clear()
            self._down_since_s[name] = self._clock()
