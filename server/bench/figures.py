"""Statistics and schedules of a load: pure functions of times and sizes."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """A sample's figures, in the unit of the sample; all 0 for an empty one."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class Underruns:
    """What a player went through."""

    count: int
    """How often it ran dry."""
    stalled_s: float
    """How long it was dry, in all."""


@dataclass(frozen=True, slots=True)
class Playback:
    """A player's view of one task."""

    begins_s: float
    """When the first sample is heard."""
    ends_s: float
    """When the last one has been heard."""
    underruns: Underruns


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value below which `percent` of a sorted sample lies, by linear interpolation.

    The same as `numpy.percentile`'s default: rank percent/100 (n - 1).

    Raises:
        ValueError: the sample is empty.
    """
    if not ordered:
        raise ValueError("an empty sample has no percentiles")
    rank = percent / 100 * (len(ordered) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def describe(values: Iterable[float]) -> Distribution:
    """Mean, percentiles and maximum of a sample in any order."""
    ordered = sorted(values)
    if not ordered:
        return Distribution()
    return Distribution(
        count=len(ordered),
        mean=math.fsum(ordered) / len(ordered),
        p50=percentile(ordered, 50),
        p95=percentile(ordered, 95),
        p99=percentile(ordered, 99),
        max=ordered[-1],
    )


def play(chunks: Sequence[tuple[float, float]], prebuffer_s: float) -> Playback | None:
    """Play chunks as they arrive; None if there are none.

    The player begins when `prebuffer_s` of audio are there, or all of it. It stops when it has
    nothing and goes on as soon as the next chunk is there.

    Args:
        chunks: arrival time and length of each, in seconds, in order of arrival.
        prebuffer_s: audio to collect first.
    """
    if not chunks:
        return None
    collected_s = 0.0
    begins_s = chunks[-1][0]
    for arrival_s, length_s in chunks:
        collected_s += length_s
        if collected_s >= prebuffer_s:
            begins_s = arrival_s
            break
    count, stalled_s, dry_at_s = 0, 0.0, begins_s
    for arrival_s, length_s in chunks:
        if arrival_s > dry_at_s:
            count += 1
            stalled_s += arrival_s - dry_at_s
            dry_at_s = arrival_s
        dry_at_s += length_s
    return Playback(begins_s, dry_at_s, Underruns(count, stalled_s))


def gaps(times_s: Sequence[float]) -> list[float]:
    """Seconds between neighbours."""
    return [later - earlier for earlier, later in itertools.pairwise(times_s)]


def poisson_arrivals(rate_per_s: float, duration_s: float, seed: int) -> list[float]:
    """Arrival times of a Poisson process within `duration_s`, the same for the same seed.

    Open loop: the times do not depend on how fast anything is served.
    """
    source = random.Random(seed)  # noqa: S311 - repeatable, not secret
    times: list[float] = []
    at_s = source.expovariate(rate_per_s)
    while at_s < duration_s:
        times.append(at_s)
        at_s += source.expovariate(rate_per_s)
    return times


def random_arrivals(count: int, duration_s: float, seed: int) -> list[float]:
    """`count` arrival times at random within `duration_s`: a Poisson process that has so many."""
    source = random.Random(seed)  # noqa: S311 - repeatable, not secret
    return sorted(source.uniform(0.0, duration_s) for _ in range(count))


def even_arrivals(count: int, duration_s: float) -> list[float]:
    """`count` arrival times spread evenly over `duration_s`, the first at 0."""
    return [index * duration_s / count for index in range(count)]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of y over x; 0 for fewer than two different x."""
    n = len(points)
    if n == 0:
        return 0.0
    mean_x = math.fsum(x for x, _ in points) / n
    mean_y = math.fsum(y for _, y in points) / n
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return 0.0
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
