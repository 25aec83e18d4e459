"""A worker as the front sees it: one life of one process, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeAlias

import structlog

from server.pool import messages
from server.pool.channel import Channel
from server.pool.dispatch_table import DispatchTable, StreamListener
from server.pool.enrollment import Enrollment, WorkerEnrollment
from server.pool.framing import ChannelError
from server.pool.options import (
    ModelInfo,
    ModelSpec,
    PoolObserver,
    PoolOptions,
    RecognizerInfo,
    StopReason,
)
from server.pool.process import PackageView, WorkerProcess
from server.pool.worker_stream import AnyStream

log = structlog.get_logger()

HostedInfo: TypeAlias = ModelInfo | RecognizerInfo
WorkerState = Literal["starting", "ready", "draining", "dead"]

_EOF_PATIENCE_S = 1.0


class WorkerStartError(Exception):
    """A worker did not become ready."""


class WorkerListener(Protocol):
    """The model's group, as far as it hears of its workers."""

    def worker_ready(self, worker: RemoteWorker, info: HostedInfo) -> None:
        """It takes segments from now on."""

    def worker_changed(self, worker: RemoteWorker) -> None:
        """It can take more than before, or less."""

    def worker_left(self, worker: RemoteWorker) -> None:
        """It takes nothing more, for whatever reason."""


class RemoteWorker:
    """One worker process and the model in it.

    Args:
        spec: what it hosts.
        options: the pool's.
        observer: hears its figures.
        listener: hears of its state and its room.
        streams: hears of its streams.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: PoolOptions,
        *,
        observer: PoolObserver,
        listener: WorkerListener,
        streams: StreamListener,
        clock: Callable[[], float],
    ) -> None:
        self.spec = spec
        self.state: WorkerState = "starting"
        self.info: HostedInfo | None = None
        self.last_error = ""
        self.rss_bytes = 0
        self.holdings: Mapping[str, int] = {}
        """What its model held at the last heartbeat, by name."""
        self.gone = asyncio.Event()
        """The connection has ended."""
        self.recycle_due = asyncio.Event()
        """It has served its time; it works on until it is told to drain."""
        self.drained = asyncio.Event()
        """It takes nothing more and has nothing left to do."""
        self._options = options
        self._observer = observer
        self._listener = listener
        self._streams = streams
        self._clock = clock
        self._channel = Channel(self._receive, self._lost)
        self._process: WorkerProcess | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self._reported = asyncio.Event()
        self._table: DispatchTable | None = None
        self._enrollment = WorkerEnrollment(spec.name, send=self._channel.send, clock=clock)
        self._silent_checks = 0

    # --- Life ------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Process id, None before it runs."""
        return self._process.pid if self._process is not None else None

    async def start(self, view: PackageView | None) -> None:
        """Start the process and wait until its model is ready. Whatever comes of it, `stop` it.

        Raises:
            WorkerStartError: it failed, exited or took too long.
        """
        try:
            self._process = await WorkerProcess.launch(self.spec, self._options.nice, view)
        except OSError as error:
            self.last_error = f"its interpreter cannot be started: {error}"
            raise WorkerStartError(self.last_error) from error
        self._observer.worker_started(self.spec.name)
        await self._channel.open(self._process.address)
        self._watch_task = asyncio.create_task(self._watch(self._process))
        limit_s = self._options.start_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._reported.wait()
        except TimeoutError:
            self.last_error = f"not ready after {limit_s:g} s"
        if self.state != "ready":
            raise WorkerStartError(self.last_error)

    async def _watch(self, process: WorkerProcess) -> None:
        """See the end of a process even when a child of its own still holds its socket."""
        await process.wait()
        try:
            async with asyncio.timeout(_EOF_PATIENCE_S):
                await self.gone.wait()
        except TimeoutError:
            self._channel.close()

    def drain(self) -> None:
        """Take nothing more; `drained` is set when all is done."""
        if self.state == "ready":
            self.state = "draining"
            self._listener.worker_left(self)
            self._changed()

    async def stop(self, reason: StopReason) -> None:
        """End the process, politely if it can hear, and wait until it is gone."""
        process = self._process
        if process is None:
            return
        if self.gone.is_set():
            await process.end(_EOF_PATIENCE_S)
        elif self._table is not None:
            self.state = "draining"
            self._channel.send(messages.Close())
            await process.end(self._options.close_timeout_s)
        else:
            process.kill()
            await process.end(_EOF_PATIENCE_S)
        self._channel.close()
        if self._watch_task is not None:
            await asyncio.wait([self._watch_task])
        self.state = "dead"
        self.last_error = self.last_error or _last_words(process)
        self._observer.worker_stopped(self.spec.name, reason)
        self._log_end(process, reason)

    def _log_end(self, process: WorkerProcess, reason: StopReason) -> None:
        worker_log = log.bind(model=self.spec.name, pid=process.pid, status=process.status)
        if reason == "exited":
            worker_log.error("worker_exited", error=self.last_error, stderr=process.stderr_tail)
        else:
            worker_log.info("worker_stopped", reason=reason)

    def check(self) -> None:
        """Regular visit: heartbeat, stalls, memory."""
        process = self._process
        if process is None or self._table is None or self.gone.is_set():
            return
        # Checks are counted, not seconds: the front itself may have been the one that slept.
        self._silent_checks += 1
        silent_s = self._silent_checks * self._options.check_interval_s
        if silent_s > self._options.heartbeat_timeout_s:
            self._kill(process, "it did not answer the heartbeat")
        elif self._table.stalled(self._options.stall_timeout_s):
            self._kill(process, "a synthesis made no progress")
        elif self._enrollment.stalled(self._options.stall_timeout_s):
            self._kill(process, "a recording took too long")
        else:
            self._channel.send(messages.Ping())
            self.rss_bytes = process.rss_bytes
            if 0 < self.spec.max_rss_bytes < self.rss_bytes:
                self.recycle_due.set()

    def _kill(self, process: WorkerProcess, why: str) -> None:
        self.last_error = f"killed because {why}"
        process.kill()

    # --- Work ------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Streams that it computes or that wait inside it to begin."""
        return self._table.computing if self._table is not None else 0

    @property
    def parked(self) -> int:
        """Streams that hold none of its slots until their listener takes audio, or text comes."""
        return self._table.parked if self._table is not None else 0

    @property
    def slots(self) -> int:
        """Streams that compute in it at once now; 0 before it is ready, and when it is gone."""
        return self._table.slots if self._table is not None and not self.gone.is_set() else 0

    @property
    def free_slots(self) -> int:
        """Segments that could begin at once; negative if some wait inside the worker to begin."""
        return self._table.free_slots if self._table is not None and self.state == "ready" else 0

    @property
    def room(self) -> int:
        """Segments that it takes: free slots and one that waits inside it; 0 or less: none.

        The one that waits inside hides the round trip to the front between two segments.
        """
        return self._table.room if self._table is not None and self.state == "ready" else 0

    def take(self, stream: AnyStream) -> None:
        """Give it a segment."""
        if self._table is None:
            raise RuntimeError("work for a worker that is not ready")
        self._table.take(stream)
        if 0 < self.spec.max_requests <= self._table.taken:
            self.recycle_due.set()

    def recall(self) -> bool:
        """Ask for a segment back that waits inside it to begin; False if there is none."""
        return self._table is not None and self._table.recall()

    @property
    def can_enroll(self) -> bool:
        """Whether it can take a recording; it makes one voice at a time, beside its streams."""
        return self.state == "ready" and not self._enrollment

    def enroll(self, enrollment: Enrollment) -> None:
        """Give it a recording."""
        self._enrollment.begin(enrollment)

    def remove_voice(self, name: str) -> None:
        """Have it forget a clone, if it was given it."""
        if self._table is not None:
            self._table.remove_voice(name)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do, be it that nobody waits for it any more."""
        return not self._table and not self._enrollment

    def _changed(self) -> None:
        if self.state == "ready":
            self._listener.worker_changed(self)
        elif self.state == "draining" and self.idle:
            self.drained.set()

    # --- What the channel says -------------------------------------------------------------

    def _receive(self, message: messages.WorkerMessage) -> None:
        self._silent_checks = 0
        match message:
            case messages.Ready():
                self._receive_ready(
                    ModelInfo(
                        name=self.spec.name,
                        sample_rate_hz=message.sample_rate_hz,
                        capabilities=message.capabilities,
                        voices=message.voices,
                    ),
                    message.capacity,
                )
            case messages.RecognizerReady():
                self._receive_ready(
                    RecognizerInfo(
                        name=self.spec.name,
                        sample_rate_hz=message.sample_rate_hz,
                        capabilities=message.capabilities,
                    )
                )
            case messages.StartFailed():
                self.last_error = message.message
            case messages.Pong():
                self.holdings = message.holdings
                if self._table is not None and self._table.limit(message.capacity):
                    self._changed()
            case messages.Incidents():
                for name, count in message.counts.items():
                    self._observer.incident(self.spec.name, name, count)
            case messages.Enrolled() | messages.EnrollFailed():
                self._enrollment.receive(message)
                self._changed()
            case _:
                if self._table is None:
                    raise ChannelError("audio came before the worker was ready")
                self._table.receive(message)

    def _receive_ready(self, info: HostedInfo, capacity: int | None = None) -> None:
        if isinstance(info, RecognizerInfo) != self.spec.recognizes:
            wanted = "recogniser" if self.spec.recognizes else "speech model"
            self.last_error = f"{self.spec.factory} is no {wanted}"
            self._reported.set()
            return
        self.info = info
        self._table = DispatchTable(
            info,
            send=self._channel.send,
            listener=self._streams,
            observer=self._observer,
            changed=self._changed,
            clock=self._clock,
        )
        self._table.limit(capacity)
        self.state = "ready"
        self._reported.set()
        log.info("worker_ready", model=self.spec.name, pid=self.pid)
        self._listener.worker_ready(self, info)

    def _lost(self, reason: str) -> None:
        self.last_error = self.last_error or reason
        self.state = "dead"
        self.gone.set()
        self._reported.set()
        self.drained.set()
        self._listener.worker_left(self)
        self._enrollment.lose()
        if self._table is not None:
            self._table.lose_all()


def _last_words(process: WorkerProcess) -> str:
    """How a process ended, in one line."""
    ending = f"exited with status {process.status}"
    last_line = process.stderr_tail.rpartition("\n")[2]
    return f"{ending}: {last_line}" if last_line else ending
