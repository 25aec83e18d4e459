"""Many simulated clients at once: when they come, and what became of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import psutil

from server.bench.figures import even_arrivals, poisson_arrivals, random_arrivals
from server.bench.session import Script, SessionRecord, SimulatedClient
from server.commands.options import ServerAddress

_LAG_INTERVAL_S = 0.05
_LEAVER_SHARE = 0.25
"""Of the sessions in churn, those that vanish in the middle."""
_LEAVE_WITHIN_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadShape:
    """How many sessions, and when: `rate_per_s` or `sessions` is set."""

    rate_per_s: float = 0.0
    """Open loop: Poisson arrivals per second."""
    sessions: int = 0
    """Closed loop: as many at once, a new one when one ends."""
    duration_s: float
    """New sessions begin within this time; all are finished."""
    ramp_s: float = 0.0
    """Closed loop: the first ones begin spread over this time."""
    random_ramp: bool = False
    """They begin at random times of it, not at even ones."""
    seed: int = 1
    churn: bool = False
    """A quarter of the sessions vanish in the middle."""


@dataclass(slots=True)
class LoadResult:
    """What a load came to; CPU is that of this process."""

    records: list[SessionRecord] = field(default_factory=list)
    wall_s: float = 0.0
    client_cpu_s: float = 0.0
    loop_lags_s: list[float] = field(default_factory=list)
    """How late this process woke up when it had asked to."""
    peak_active: int = 0
    left: int = 0
    """Sessions that vanished on purpose."""


class Load:
    """Runs a load from this process.

    Args:
        address: the server.
        script: what every session does.
        shape: when they come.
    """

    def __init__(self, address: ServerAddress, script: Script, shape: LoadShape) -> None:
        self._address = address
        self._script = script
        self._shape = shape
        self._source = random.Random(shape.seed)  # noqa: S311 - repeatable, not secret
        self.result = LoadResult()
        self.active = 0
        self.ended = 0

    async def run(self) -> LoadResult:
        """Run until every session has ended."""
        result, process = self.result, psutil.Process()
        lag = asyncio.create_task(self._watch_lag())
        cpu_before, begin_s = process.cpu_times(), time.perf_counter()
        try:
            if self._shape.rate_per_s:
                await self._open_loop(begin_s)
            else:
                await self._closed_loop(begin_s)
        finally:
            lag.cancel()
            await asyncio.wait([lag])
        cpu_after = process.cpu_times()
        result.wall_s = time.perf_counter() - begin_s
        result.client_cpu_s = (
            cpu_after.user + cpu_after.system - cpu_before.user - cpu_before.system
        )
        return result

    async def _open_loop(self, begin_s: float) -> None:
        shape = self._shape
        arrivals = poisson_arrivals(shape.rate_per_s, shape.duration_s, shape.seed)
        await _at_times(begin_s, arrivals, self._session)

    async def _closed_loop(self, begin_s: float) -> None:
        shape = self._shape
        end_s = begin_s + shape.duration_s

        async def one_after_another() -> None:
            while True:
                await self._session()
                if time.perf_counter() >= end_s:
                    return

        begins = even_arrivals(shape.sessions, shape.ramp_s)
        if shape.random_ramp:
            begins = random_arrivals(shape.sessions, shape.ramp_s, shape.seed)
        await _at_times(begin_s, begins, one_after_another)

    async def _session(self) -> None:
        leaves = self._shape.churn and self._source.random() < _LEAVER_SHARE
        leave_after_s = self._source.random() * _LEAVE_WITHIN_S if leaves else None
        self.active += 1
        self.result.peak_active = max(self.result.peak_active, self.active)
        begin_s = time.perf_counter()
        try:
            record = await SimulatedClient(self._address, self._script).run(
                leave_after_s=leave_after_s
            )
        finally:
            self.active -= 1
            self.ended += 1
        record.lasted_s = time.perf_counter() - begin_s
        if leaves and not record.failure:
            self.result.left += 1
        else:
            self.result.records.append(record)

    async def _watch_lag(self) -> None:
        while True:
            due_s = time.perf_counter() + _LAG_INTERVAL_S
            await asyncio.sleep(_LAG_INTERVAL_S)
            self.result.loop_lags_s.append(time.perf_counter() - due_s)


async def _at_times(
    begin_s: float, offsets_s: Sequence[float], begin: Callable[[], Awaitable[None]]
) -> None:
    """Begin one at each time, and wait for all."""
    async with asyncio.TaskGroup() as group:
        for offset_s in offsets_s:
            wait_s = begin_s + offset_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            group.create_task(_run(begin))


async def _run(begin: Callable[[], Awaitable[None]]) -> None:
    await begin()
