"""One place for a worker, kept filled while it is wanted: start, restart, replacement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from server.pool.options import PoolOptions, StopReason
from server.pool.process import PackageView
from server.pool.remote import RemoteWorker, WorkerStartError

log = structlog.get_logger()


class Seat:
    """Keeps one worker of a model alive.

    Args:
        hire: makes a worker that is not started yet.
        start_failed: called with the seat when a worker did not become ready and is gone; the seat
            tries again after the back-off, unless it is paused.
        view: our packages for another interpreter, if the model's workers have one.
        options: the pool's.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        hire: Callable[[], RemoteWorker],
        *,
        start_failed: Callable[[Seat], None],
        view: PackageView | None,
        options: PoolOptions,
        clock: Callable[[], float],
    ) -> None:
        self.workers: list[RemoteWorker] = []
        """Those with a process: the one that works, and for a time its successor or predecessor."""
        self.restarts = 0
        """Workers started because another one died or did not start."""
        self.last_error = ""
        self._hire = hire
        self._start_failed = start_failed
        self._view = view
        self._options = options
        self._clock = clock
        self._failures = 0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._retirements: set[asyncio.Task[None]] = set()

    @property
    def wanted(self) -> bool:
        """Whether it has a worker, or will have one."""
        return self._wanted.is_set()

    def open(self) -> None:
        """Fill the seat, and keep it filled; nothing happens if it is."""
        self._wanted.set()
        if self._task is None:
            self._task = asyncio.create_task(self._keep())
            self._task.add_done_callback(report_crash)

    def pause(self) -> None:
        """Start no other worker until it is opened again."""
        self._wanted.clear()

    async def close(self, reason: StopReason = "closed") -> None:
        """End all its processes. It may be opened again afterwards."""
        self._wanted.clear()
        tasks = [*self._retirements, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None
        self._failures = 0
        await asyncio.gather(*(self._stop(worker, reason) for worker in list(self.workers)))

    async def _keep(self) -> None:
        """Have a worker; when it dies, or has served its time, have another."""
        working: RemoteWorker | None = None
        while True:
            fresh = await self._fill()
            ready_at_s = self._clock()
            if working is not None:
                self._retire(working)
            working = fresh
            await _first_of(working.gone, working.recycle_due)
            if self._clock() - ready_at_s >= self._options.healthy_after_s:
                self._failures = 0
            if working.gone.is_set():
                await self._bury(working)
                await self._back_off()
                working = None

    async def _fill(self) -> RemoteWorker:
        """Start workers until one is ready."""
        while True:
            await self._wanted.wait()
            worker = self._hire()
            self.workers.append(worker)
            try:
                await worker.start(self._view)
            except WorkerStartError as error:
                reason = str(error) or "it exited"
                log.warning("worker_not_started", model=worker.spec.name, error=reason)
                await self._bury(worker)
                self._start_failed(self)
                await self._back_off()
            else:
                return worker

    async def _bury(self, worker: RemoteWorker) -> None:
        """See a worker's process end."""
        await self._stop(worker, "exited")
        self.last_error = worker.last_error
        self.restarts += 1

    async def _back_off(self) -> None:
        """Wait as long as the row of failures asks for."""
        first_s, most_s = self._options.restart_backoff_s
        delay_s = min(most_s, first_s * 2**self._failures)
        self._failures += 1
        await asyncio.sleep(delay_s)

    def _retire(self, worker: RemoteWorker) -> None:
        task = asyncio.create_task(self._see_off(worker))
        self._retirements.add(task)
        task.add_done_callback(self._retirements.discard)

    async def _see_off(self, worker: RemoteWorker) -> None:
        worker.drain()
        await worker.drained.wait()
        await self._stop(worker, "exited" if worker.gone.is_set() else "recycled")

    async def _stop(self, worker: RemoteWorker, reason: StopReason) -> None:
        await worker.stop(reason)
        self.workers.remove(worker)


def report_crash(task: asyncio.Task[None]) -> None:
    """Log the end of a task that should never end by itself."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("pool_task_crashed", exc_info=error)


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
