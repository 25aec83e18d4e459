"""Whose turn it is, and whether there is room: jobs go behind everybody who listens.

A listener hears every delay, a job has days. So a segment of a job begins only where it leaves a
slot free, and is broken off when somebody has to wait for its slot. Under load that never ceases
jobs stand still.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from server.pool.admission import Admission
from server.pool.pool import WorkerPool
from server.pool.snapshot import WorkerSnapshot
from server.speech.jobs.types import JobInLine


def in_turn(
    line: Sequence[JobInLine],
    *,
    models: Container[str],
    served_s: Mapping[str, float],
    at_once: int,
) -> list[str]:
    """The jobs that may have the next turn, the best one first.

    Tenants take turns, whoever had none for longest first; of a tenant's jobs the oldest ones take
    turns, so that no more than these lie half spoken on the disk.

    Args:
        line: unfinished jobs, the oldest first.
        models: that can speak here.
        served_s: when tenants had turns here, also of jobs that are finished.
        at_once: jobs of a tenant that are worked on at once.
    """
    begun: Counter[str] = Counter()
    eligible: list[JobInLine] = []
    last_s = dict(served_s)
    for job in line:
        last_s[job.tenant] = max(last_s.get(job.tenant, 0.0), job.turn_s)
        if job.model in models and begun[job.tenant] < at_once:
            begun[job.tenant] += 1
            eligible.append(job)
    eligible.sort(key=lambda job: (last_s[job.tenant], job.turn_s))
    return [job.id for job in eligible]


class Room:
    """Looks after listeners.

    Args:
        pool: where both speak.
        admission: counts listeners.
    """

    def __init__(self, pool: WorkerPool, admission: Admission) -> None:
        self._pool = pool
        self._admission = admission
        self._speaking: Counter[str] = Counter()

    def take(self, model: str, tenant: str, max_of_tenant: int) -> bool:
        """Take the place for a segment if there is one; to be given back by `leave`."""
        beside = self._speaking[tenant]
        if self._admission.spare(tenant, max_of_tenant) <= beside or not self._has_slot(model):
            return False
        self._speaking[tenant] += 1
        return True

    def leave(self, tenant: str) -> None:
        """Give a place back."""
        self._speaking[tenant] -= 1
        if not self._speaking[tenant]:
            del self._speaking[tenant]

    def is_wanted(self, model: str) -> bool:
        """Somebody who listens waits for a slot."""
        if self._admission.draining or self._pool.waiting(model):
            return True
        return any(worker.running > worker.slots for worker in self._workers(model))

    def _has_slot(self, model: str) -> bool:
        """A slot is free, and after that another one, if there are two.

        Streams that stand still will want theirs back, and count as if they had it.
        """
        workers = self._workers(model)
        if workers and all(worker.state == "unloaded" for worker in workers):
            # Asking loads it.
            return not self._pool.waiting(model)
        ready = [worker for worker in workers if worker.state == "ready"]
        n_slots = sum(worker.slots for worker in ready)
        n_free = n_slots - sum(worker.running + worker.parked for worker in ready)
        return n_slots > 0 and n_free >= min(2, n_slots) and not self._pool.waiting(model)

    def _workers(self, model: str) -> list[WorkerSnapshot]:
        return [worker for worker in self._pool.snapshot().workers if worker.model == model]
