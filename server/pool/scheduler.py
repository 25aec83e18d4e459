"""Which waiting segment is computed next, and where: pure, with an injected clock.

Segments are served by earliest deadline. A deadline is the moment at which the listener needs the
segment's first sample: for a new session that is its arrival plus the first-audio target, for a
session under way the moment at which its player runs dry. So a newcomer goes before work that is
seconds ahead of its playback, and a session near underrun goes before a newcomer.

Nothing starves, as long as deadlines are in the future by a bounded span when they are offered:
deadlines stand still while time goes on, so after that span every newcomer's deadline is later than
that of a segment that still waits. Under overload the order tends to first come, first served.

The number of waiting segments is bounded by `PoolOptions.max_queued` (some hundreds), for which
looking at all of them costs a few microseconds and keeps removal and change of deadline trivial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    item: Item
    model: str
    deadline_s: float
    arrival: int
    offered_at_s: float


class Scheduler(Generic[Item]):
    """Segments that wait for a worker.

    Args:
        clock: monotonic seconds; deadlines are on this clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._arrivals = 0
        self._queues: dict[str, dict[Item, _Waiting[Item]]] = {}

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def offer(self, item: Item, model: str, deadline_s: float) -> None:
        """Let a segment wait.

        Raises:
            ValueError: the deadline is not finite, or the item waits already.
        """
        _check_deadline(deadline_s)
        queue = self._queues.setdefault(model, {})
        if item in queue:
            raise ValueError("the segment waits already")
        self._arrivals += 1
        queue[item] = _Waiting(item, model, deadline_s, self._arrivals, self._clock())

    def remove(self, item: Item, model: str) -> bool:
        """Take a segment out; False if it does not wait here."""
        return self._queues.get(model, {}).pop(item, None) is not None

    def update(self, item: Item, model: str, deadline_s: float) -> bool:
        """Change a segment's deadline; False if it does not wait here.

        Raises:
            ValueError: the deadline is not finite.
        """
        _check_deadline(deadline_s)
        waiting = self._queues.get(model, {}).get(item)
        if waiting is None:
            return False
        waiting.deadline_s = deadline_s
        return True

    def take(self, model: str) -> Item | None:
        """The segment with the earliest deadline, of equal ones the first that came."""
        queue = self._queues.get(model)
        if not queue:
            return None
        first = min(queue.values(), key=lambda waiting: (waiting.deadline_s, waiting.arrival))
        del queue[first.item]
        return first.item

    def waiting(self, model: str) -> int:
        """How many segments wait for a model."""
        return len(self._queues.get(model, ()))

    def overdue(self, model: str, limit_s: float, *, since_s: float = -math.inf) -> list[Item]:
        """Take out the segments that have waited for `limit_s`, counted from `since_s` at least."""
        now_s = self._clock()
        queue = self._queues.get(model, {})
        overdue = [
            waiting.item
            for waiting in queue.values()
            if now_s - max(waiting.offered_at_s, since_s) >= limit_s
        ]
        for item in overdue:
            del queue[item]
        return overdue

    def take_all(self, model: str) -> list[Item]:
        """Take out all segments that wait for a model."""
        return list(self._queues.pop(model, ()))

    def clear(self) -> list[Item]:
        """Take everything out."""
        items = [item for queue in self._queues.values() for item in queue]
        self._queues.clear()
        return items


class HasRoom(Protocol):
    """A worker, as far as the choice of one is concerned."""

    @property
    def room(self) -> int:
        """Segments that it takes: free slots, plus one that waits inside it; 0 or less: none."""

    @property
    def parked(self) -> int:
        """Streams that will want a slot again."""


Candidate = TypeVar("Candidate", bound=HasRoom)


def roomiest(workers: Iterable[Candidate]) -> Candidate | None:
    """The worker with the most room, of equal ones the one with the fewest parked streams, of equal
    ones the first; None if none has any room."""  # noqa: D205, D209
    best = max(workers, key=lambda worker: (worker.room, -worker.parked), default=None)
    return best if best is not None and best.room > 0 else None


def _check_deadline(deadline_s: float) -> None:
    if not math.isfinite(deadline_s):
        raise ValueError(f"deadline must be finite, not {deadline_s}")
