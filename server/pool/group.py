"""All workers of one model, what is known of it, and what waits for it besides segments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from models.base import Samples
from server.errors import SpeechError
from server.pool.dispatch_table import StreamListener
from server.pool.enrollment import Enrollment, EnrollmentQueue
from server.pool.loading import Loading
from server.pool.options import ModelSpec, PoolObserver, PoolOptions, RecognizerInfo
from server.pool.process import PackageView
from server.pool.remote import HostedInfo, RemoteWorker
from server.pool.scheduler import roomiest
from server.pool.seat import Seat
from server.pool.worker_stream import AnyStream

log = structlog.get_logger()


class GroupListener(StreamListener, Protocol):
    """The pool, as far as it hears of models."""

    def group_changed(self, group: ModelGroup) -> None:
        """Its workers can take more segments than before, or fewer."""

    def load_failed(self, group: ModelGroup) -> None:
        """The model could not be loaded; the next request tries again."""


class ModelGroup:
    """The seats of one model, and who needs them.

    Args:
        spec: the model.
        options: the pool's.
        observer: hears figures.
        listener: hears of room, loading and streams.
        clock: monotonic seconds.

    Raises:
        ValueError: the model has no workers, or is lazy and not described.
        TypeError: its options cannot be told to a worker.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: PoolOptions,
        *,
        observer: PoolObserver,
        listener: GroupListener,
        clock: Callable[[], float],
    ) -> None:
        _check_spec(spec)
        self.spec = spec
        self.info = spec.info
        """None until a worker has been ready once, unless the spec knows."""
        self.seats: tuple[Seat, ...] = ()
        self.streams: set[AnyStream] = set()
        """Those that have not ended."""
        self.loading = Loading(
            spec,
            options,
            in_use=lambda: self._in_use,
            failed=lambda: listener.load_failed(self),
            clock=clock,
        )
        self._options = options
        self._observer = observer
        self._listener = listener
        self._clock = clock
        self._enrollments = EnrollmentQueue(
            spec.name,
            max_waiting=options.max_enrollments,
            ready=lambda: self.ready,
            offer=self._offer_enrollment,
        )

    # --- Life ------------------------------------------------------------------------------

    def open(self, view: PackageView | None) -> None:
        """Begin to start the workers, unless that is left to the first request."""
        view = view if self.spec.interpreter else None
        self.seats = tuple(
            Seat(
                functools.partial(self._hire, self.spec.of_worker(number)),
                start_failed=self.loading.note_start_failed,
                view=view,
                options=self._options,
                clock=self._clock,
            )
            for number in range(self.spec.workers)
        )
        self.loading.open(self.seats)

    def check(self) -> None:
        """Regular visit: the workers, and whether anybody still needs them."""
        for worker in self.workers:
            _visit(worker)
        self.loading.check()

    async def close(self, error: SpeechError) -> None:
        """End all processes, and with `error` all waits for features."""
        self._enrollments.fail_all(error)
        await self.loading.close()

    def _hire(self, spec: ModelSpec) -> RemoteWorker:
        return RemoteWorker(
            spec,
            self._options,
            observer=self._observer,
            listener=self,
            streams=self._listener,
            clock=self._clock,
        )

    # --- What it is like -------------------------------------------------------------------

    @property
    def workers(self) -> list[RemoteWorker]:
        """All that have a process, in whatever state."""
        return [worker for seat in self.seats for worker in seat.workers]

    @property
    def ready(self) -> bool:
        """Whether at least one worker is."""
        return any(worker.state == "ready" for worker in self.workers)

    @property
    def last_error(self) -> str:
        """Why a worker is not ready, as far as known."""
        return next((seat.last_error for seat in self.seats if seat.last_error), "")

    @property
    def _in_use(self) -> bool:
        return bool(
            self.streams or self._enrollments or any(not worker.idle for worker in self.workers)
        )

    # --- Work ------------------------------------------------------------------------------

    def roomiest(self) -> RemoteWorker | None:
        """The worker that should get the next segment, None if none has room."""
        # Workers that are about to end still count themselves ready.
        return roomiest(self.workers) if self.loading.state != "unloading" else None

    def balance(self) -> None:
        """Have a segment that waits inside a busy worker given back, if another one is idle."""
        workers = self.workers
        if any(worker.free_slots > 0 for worker in workers):
            # A parked stream that goes on can make it negative, with none to recall.
            for worker in workers:
                if worker.free_slots < 0 and worker.recall():
                    return

    def stream_ended(self, stream: AnyStream) -> None:
        """Forget a stream."""
        self.streams.discard(stream)
        self.loading.note_use()

    async def enroll(
        self, samples: Samples, sample_rate_hz: int, transcript: str, timeout_s: float
    ) -> bytes:
        """Make a voice's features; see `WorkerPool.enroll`."""
        try:
            return await self._enrollments.run(
                Enrollment(samples, sample_rate_hz, transcript, timeout_s)
            )
        finally:
            self.loading.note_use()

    def fail_enrollments(self, error: SpeechError) -> None:
        """End all waits for features."""
        self._enrollments.fail_all(error)

    def _offer_enrollment(self) -> None:
        self.loading.need()
        self._hand_out_enrollments()

    def _hand_out_enrollments(self) -> None:
        while self._enrollments.waiting and self.loading.state != "unloading":
            free = [worker for worker in self.workers if worker.can_enroll]
            if not free:
                return
            max(free, key=lambda worker: worker.room).enroll(self._enrollments.take())

    def remove_voice(self, name: str) -> None:
        """Have all workers forget a clone."""
        for worker in self.workers:
            worker.remove_voice(name)

    # --- What workers say ------------------------------------------------------------------

    def worker_ready(self, worker: RemoteWorker, info: HostedInfo) -> None:  # noqa: ARG002
        """Count on it, and give it what waits."""
        self.info = info
        self.loading.note_ready()
        self._has_changed()

    def worker_changed(self, worker: RemoteWorker) -> None:  # noqa: ARG002
        """Give what waits to whoever has room."""
        self._has_changed()

    def _has_changed(self) -> None:
        self._hand_out_enrollments()
        self._listener.group_changed(self)

    def worker_left(self, worker: RemoteWorker) -> None:  # noqa: ARG002
        """Count on it no more."""
        if not self.ready:
            self.loading.note_all_left()


def _check_spec(spec: ModelSpec) -> None:
    if spec.workers < 1:
        raise ValueError(f"model {spec.name!r} needs at least one worker")
    if spec.lazy and spec.info is None:
        raise ValueError(f"model {spec.name!r} is loaded lazily, so its spec needs `info`")
    if spec.info is not None and isinstance(spec.info, RecognizerInfo) != spec.recognizes:
        raise ValueError(f"model {spec.name!r} is described as another kind than it is")
    if spec.info is not None and spec.info.name != spec.name:
        raise ValueError(f"model {spec.name!r} is described under the name {spec.info.name!r}")
    msgspec.json.encode(spec.options)


def _visit(worker: RemoteWorker) -> None:
    """Check one worker; whatever comes of it, the others are checked too, and it is next time."""
    try:
        worker.check()
    except Exception:
        # Without its visits a worker that hangs would keep its streams for ever.
        log.exception("worker_check_failed", model=worker.spec.name, pid=worker.pid)
