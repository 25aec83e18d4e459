"""The pool's state at one moment, for metrics and the admin page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self, TypeAlias

import msgspec

from server.pool.remote import WorkerState
from server.pool.seat import Seat

SeatState: TypeAlias = WorkerState | Literal["unloaded"]


class WorkerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's place."""

    model: str
    pid: int | None
    """None while no process runs."""
    state: SeatState
    """`dead` while it waits for a restart, `unloaded` while none is wanted."""
    slots: int = 0
    """Segments that it computes at once now; 0 while it has no model."""
    running: int
    """Segments that are being computed or wait inside the worker to begin."""
    parked: int
    """Segments that hold no slot until their listener takes audio, or more text comes."""
    restarts: int
    rss_bytes: int
    """Resident memory at the last check."""
    holdings: Mapping[str, int] = {}
    """What its model held then, by name."""

    @classmethod
    def of(cls, model: str, seat: Seat) -> Self:
        """Describe a seat by the worker that matters most in it."""
        order: tuple[WorkerState, ...] = ("ready", "starting", "draining", "dead")
        worker = min(seat.workers, key=lambda worker: order.index(worker.state), default=None)
        if worker is None:
            return cls(
                model=model,
                pid=None,
                state="dead" if seat.wanted else "unloaded",
                running=0,
                parked=0,
                restarts=seat.restarts,
                rss_bytes=0,
            )
        return cls(
            model=model,
            pid=worker.pid,
            state=worker.state,
            slots=worker.slots,
            running=worker.running,
            parked=worker.parked,
            restarts=seat.restarts,
            rss_bytes=worker.rss_bytes,
            holdings=worker.holdings,
        )


class PoolSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All workers, and what waits."""

    workers: tuple[WorkerSnapshot, ...]
    queued: int
    """Segments that wait for a worker."""
    streams: int
    """Segments that wait, are computed, or are being delivered."""
