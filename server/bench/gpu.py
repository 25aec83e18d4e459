"""What NVIDIA's own tool says of the GPUs, before and during a load."""

from __future__ import annotations

import asyncio
import csv
import math
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

_QUERY = (
    *("name", "driver_version", "power.limit", "power.draw", "clocks.sm", "clocks.max.sm"),
    *("utilization.gpu", "memory.used", "temperature.gpu"),
)
_INTERVAL_S = 2.0
"""The tool takes a while itself, and should not be part of the load."""


class GpuState(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU at one moment; None: it does not say."""

    name: str
    driver: str
    power_limit_w: float | None
    power_w: float | None
    clock_mhz: float | None
    """Of the multiprocessors."""
    clock_max_mhz: float | None
    utilisation: float | None
    """Share of the time in which anything ran on it, 0 to 1."""
    memory_mib: float | None
    temperature_c: float | None

    @property
    def title(self) -> str:
        """One line."""
        parts = [f"{self.name}, driver {self.driver}"]
        if self.clock_mhz is not None and self.clock_max_mhz is not None:
            parts.append(f"{self.clock_mhz:.0f} of {self.clock_max_mhz:.0f} MHz")
        if self.power_w is not None and self.power_limit_w is not None:
            parts.append(f"{self.power_w:.0f} of {self.power_limit_w:.0f} W")
        if self.temperature_c is not None:
            parts.append(f"{self.temperature_c:.0f} °C")
        return ", ".join(parts)


class GpuUse(msgspec.Struct, frozen=True, kw_only=True):
    """Means over a load, of the GPU that was busiest."""

    utilisation: float
    power_w: float | None
    clock_mhz: float | None
    memory_mib: float | None
    """At most."""


def parse(answer: str) -> list[GpuState]:
    """Read the tool's answer: a line for each GPU, in the order of the query."""
    states = []
    for cells in csv.reader(answer.splitlines(), skipinitialspace=True):
        if len(cells) != len(_QUERY):
            continue
        numbers = [_number(cell) for cell in cells[2:]]
        limit, power, clock, clock_max, utilisation, memory, temperature = numbers
        states.append(
            GpuState(
                name=cells[0].strip(),
                driver=cells[1].strip(),
                power_limit_w=limit,
                power_w=power,
                clock_mhz=clock,
                clock_max_mhz=clock_max,
                utilisation=None if utilisation is None else utilisation / 100,
                memory_mib=memory,
                temperature_c=temperature,
            )
        )
    return states


def use(samples: Sequence[Sequence[GpuState]]) -> GpuUse | None:
    """Reduce what was seen during a load; None if nothing was."""
    by_gpu = list(zip(*samples, strict=False))
    busy = [(_mean([s.utilisation for s in states]), states) for states in by_gpu]
    told = [(share, states) for share, states in busy if share is not None]
    if not told:
        return None
    share, states = max(told, key=lambda pair: pair[0])
    memory = [s.memory_mib for s in states if s.memory_mib is not None]
    return GpuUse(
        utilisation=share,
        power_w=_mean([s.power_w for s in states]),
        clock_mhz=_mean([s.clock_mhz for s in states]),
        memory_mib=max(memory, default=None),
    )


async def look() -> list[GpuState]:
    """The GPUs as they are now; empty where there is no such tool, or no GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    process = await asyncio.create_subprocess_exec(
        tool,
        f"--query-gpu={','.join(_QUERY)}",
        "--format=csv,noheader,nounits",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    answer, _ = await process.communicate()
    return parse(answer.decode(errors="replace")) if process.returncode == 0 else []


@asynccontextmanager
async def watching() -> AsyncIterator[list[list[GpuState]]]:
    """Look now and then while the block runs; the list grows meanwhile."""
    samples: list[list[GpuState]] = []

    async def keep_looking() -> None:
        while states := await look():
            samples.append(states)
            await asyncio.sleep(_INTERVAL_S)

    task = asyncio.create_task(keep_looking())
    try:
        yield samples
    finally:
        task.cancel()
        await asyncio.wait([task])


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None  # "[N/A]"
    return value if math.isfinite(value) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
