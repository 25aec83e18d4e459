"""All workers of one model, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from server.pool.options import ModelInfo, ModelSpec, PoolObserver, PoolOptions
from server.pool.process import PackageView
from server.pool.remote import RemoteWorker, WorkerListener
from server.pool.scheduler import roomiest
from server.pool.seat import Seat


class ModelGroup:
    """The seats of one model.

    Args:
        spec: the model.
        options: the pool's.
        observer: hears figures.
        listener: hears of workers and streams.
        clock: monotonic seconds.

    Raises:
        ValueError: the model has no workers.
        TypeError: its options cannot be told to a worker.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: PoolOptions,
        *,
        observer: PoolObserver,
        listener: WorkerListener,
        clock: Callable[[], float],
    ) -> None:
        if spec.workers < 1:
            raise ValueError(f"model {spec.name!r} needs at least one worker")
        msgspec.json.encode(spec.options)
        self.spec = spec
        self.info: ModelInfo | None = None
        """None until a worker has been ready once."""
        self.ready = asyncio.Event()
        """At least one worker is ready."""
        self.down_since_s = clock()
        """When the last ready worker was lost; meaningless while `ready`."""
        self.seats: tuple[Seat, ...] = ()
        self._options = options
        self._observer = observer
        self._listener = listener
        self._clock = clock

    def open(self, view: PackageView | None) -> None:
        """Begin to start the workers."""
        self.down_since_s = self._clock()
        view = view if self.spec.interpreter else None
        self.seats = tuple(
            Seat(self._hire, view=view, options=self._options, clock=self._clock)
            for _ in range(self.spec.workers)
        )
        for seat in self.seats:
            seat.open()

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(seat.close() for seat in self.seats))

    def _hire(self) -> RemoteWorker:
        return RemoteWorker(
            self.spec,
            self._options,
            observer=self._observer,
            listener=self._listener,
            clock=self._clock,
        )

    @property
    def workers(self) -> list[RemoteWorker]:
        """All that have a process, in whatever state."""
        return [worker for seat in self.seats for worker in seat.workers]

    @property
    def last_error(self) -> str:
        """Why a worker is not ready, as far as known."""
        return next((seat.last_error for seat in self.seats if seat.last_error), "")

    def roomiest(self) -> RemoteWorker | None:
        """The worker that should get the next segment, None if none has room."""
        return roomiest(self.workers)

    def balance(self) -> None:
        """Have a segment that waits inside a busy worker given back, if another one is idle."""
        workers = self.workers
        if any(worker.free_slots > 0 for worker in workers):
            # A parked stream that goes on can make it negative, with none to recall.
            for worker in workers:
                if worker.free_slots < 0 and worker.recall():
                    return

    def note_ready(self, info: ModelInfo) -> None:
        """A worker is ready."""
        self.info = info
        self.ready.set()

    def note_left(self) -> None:
        """A worker is not ready any more."""
        if self.ready.is_set() and all(worker.state != "ready" for worker in self.workers):
            self.ready.clear()
            self.down_since_s = self._clock()
