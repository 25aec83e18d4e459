"""The front's memory over time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from server.bench.figures import slope
from server.bench.load import Load
from server.bench.process import MeasuredProcess
from server.bench.soak import Soak

_MIB = 1 << 20
_NONE: Mapping[str, int] = {}
_SETTLED_SHARE = 0.2
"""The first part of churn, in which allocators still grow to their working size, is left out of
the slope."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a running load."""

    at_s: float
    front_rss_bytes: int
    active: int
    ended: int


class Churn(msgspec.Struct, frozen=True, kw_only=True):
    """Memory while sessions come and go."""

    duration_s: float
    sessions: int
    left: int
    """Of these, vanished in the middle on purpose."""
    failed: int
    failures: dict[str, int] = {}
    """Of these, by NLS status, or what became of the connection; with the reason that was given."""
    incidents: int | None = None
    """How often the model's own guards met something."""
    rss_begin_mib: float
    """At the end of the first fifth; the slopes begin there."""
    rss_end_mib: float
    rss_max_mib: float
    mib_per_hour: float
    kib_per_session: float
    """Slopes by least squares."""
    soak: Soak | None = None
    """What else there was, of front and workers."""


@asynccontextmanager
async def sampling(
    process: MeasuredProcess, load: Load, interval_s: float
) -> AsyncIterator[list[Sample]]:
    """Look every `interval_s` while the block runs; the list grows meanwhile."""
    samples: list[Sample] = []

    def look() -> None:
        samples.append(
            Sample(time.perf_counter(), process.front_rss_bytes, load.active, load.ended)
        )

    async def keep_looking() -> None:
        while True:
            look()
            await asyncio.sleep(interval_s)

    task = asyncio.create_task(keep_looking())
    try:
        yield samples
    finally:
        task.cancel()
        await asyncio.wait([task])
    look()


def churn_figures(
    samples: list[Sample],
    *,
    left: int,
    failures: Mapping[str, int] = _NONE,
    incidents: int | None = None,
    soak: Soak | None = None,
) -> Churn:
    """What the samples of a churn phase say."""
    settled = samples[int(len(samples) * _SETTLED_SHARE) :]
    mib = [sample.front_rss_bytes / _MIB for sample in settled]
    per_second = slope([(s.at_s, m) for s, m in zip(settled, mib, strict=True)])
    per_session = slope([(s.ended, m) for s, m in zip(settled, mib, strict=True)])
    return Churn(
        duration_s=samples[-1].at_s - samples[0].at_s,
        sessions=samples[-1].ended,
        left=left,
        failed=sum(failures.values()),
        failures=dict(failures),
        incidents=incidents,
        rss_begin_mib=mib[0],
        rss_end_mib=mib[-1],
        rss_max_mib=max(mib),
        mib_per_hour=per_second * 3600,
        kib_per_session=per_session * 1024,
        soak=soak,
    )
