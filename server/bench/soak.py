"""What a server holds while sessions come and go for long, and what is left of it at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from server.bench.metrics import MODEL_HOLDS, Scrape
from server.bench.process import MeasuredProcess

_QUARTERS = 4
_IDLE_PATIENCE_S = 20.0
_POLL_S = 0.5
_KEPT = "_kept"
"""Ends the names of what a model keeps on purpose for those who come later."""
_HELD = "held: "


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a server: what there was of each thing."""

    at_s: float
    values: Mapping[str, float]


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """How much there was of something."""

    quarters: tuple[float, ...]
    """On average, in each quarter of the time: what still grows in the last two goes on growing."""
    most: float
    end: float
    """When all sessions had ended."""

    @property
    def growth(self) -> float:
        """From the first quarter to the last."""
        return self.quarters[-1] - self.quarters[0]


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """What the looks came to, by name."""

    things: dict[str, Growth]

    @property
    def left(self) -> dict[str, int]:
        """What is still held by nobody's session: a leak."""
        return {
            name.removeprefix(_HELD): round(growth.end)
            for name, growth in self.things.items()
            if name.startswith(_HELD) and not name.endswith(_KEPT) and growth.end
        }


async def look(process: MeasuredProcess) -> Look:
    """Memory, handles and threads of the front and its workers, and what models hold."""
    used = process.resources()
    values: dict[str, float] = {
        "front memory, MiB": used.front_rss_bytes / (1 << 20),
        "worker memory, MiB": used.workers_rss_bytes / (1 << 20),
        "front handles": used.front_handles,
        "worker handles": used.workers_handles,
        "worker threads": used.workers_threads,
    }
    scrape = await Scrape.fetch(f"http://{process.url}")
    held = {} if scrape is None else scrape.by_name(MODEL_HOLDS)
    return Look(
        time.perf_counter(), values | {f"{_HELD}{name}": held[name] for name in sorted(held)}
    )


@asynccontextmanager
async def looking(process: MeasuredProcess, interval_s: float) -> AsyncIterator[list[Look]]:
    """Look now and then while the block runs; the list grows meanwhile."""
    looks: list[Look] = []

    async def keep_looking() -> None:
        while True:
            looks.append(await look(process))
            await asyncio.sleep(interval_s)

    task = asyncio.create_task(keep_looking())
    try:
        yield looks
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not looks:
        looks.append(await look(process))


async def look_when_idle(process: MeasuredProcess, patience_s: float = _IDLE_PATIENCE_S) -> Look:
    """Wait until models hold nothing for anybody, or have had time enough for it, and look.

    A heartbeat may be a second old, and so may what it told: nothing counts before the next.
    """
    limit_s = time.perf_counter() + patience_s
    await asyncio.sleep(3 * _POLL_S)
    while True:
        seen = await look(process)
        if not soak_figures([seen], seen).left or time.perf_counter() > limit_s:
            return seen
        await asyncio.sleep(_POLL_S)


def soak_figures(looks: Sequence[Look], end: Look) -> Soak:
    """Compare the quarters of the time.

    Args:
        looks: while sessions came and went.
        end: when all had ended.
    """
    names = dict.fromkeys(name for seen in (*looks, end) for name in seen.values)
    return Soak(
        things={
            name: Growth(
                quarters=tuple(_mean(some, name) for some in _quarters(looks)),
                most=max(seen.values.get(name, 0.0) for seen in (*looks, end)),
                end=end.values.get(name, 0.0),
            )
            for name in names
        }
    )


def lines(soak: Soak) -> Iterator[str]:
    """Markdown."""
    yield "| | first quarter | second | third | last | growth | at most | at the end |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, thing in soak.things.items():
        quarters = [f"{value:.1f}" for value in thing.quarters]
        cells = (name, *quarters, f"{thing.growth:+.1f}", f"{thing.most:.1f}", f"{thing.end:.1f}")
        yield f"| {' | '.join(cells)} |"


def _quarters(looks: Sequence[Look]) -> Iterator[Sequence[Look]]:
    size = len(looks) / _QUARTERS
    for number in range(_QUARTERS):
        begin = int(number * size)
        yield looks[begin : max(begin + 1, int((number + 1) * size))]


def _mean(looks: Sequence[Look], name: str) -> float:
    return sum(seen.values.get(name, 0.0) for seen in looks) / len(looks)
