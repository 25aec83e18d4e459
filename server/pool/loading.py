"""Whether a model's workers are wanted: from the start or from the first request on, while used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

import structlog

from server.pool.options import ModelSpec, PoolOptions
from server.pool.seat import Seat, report_crash

log = structlog.get_logger()

LoadState = Literal["unloaded", "loading", "kept", "unloading"]
"""`loading`: for a request, and given up if it fails. `kept`: workers are replaced as they die."""

_STARTS = 2
"""A start on a busy machine may take so many times as long as the last one."""


class Loading:
    """Opens and closes the seats of one model.

    Args:
        spec: the model.
        options: the pool's.
        in_use: whether somebody needs the model.
        failed: called when loading for a request was given up.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: PoolOptions,
        *,
        in_use: Callable[[], bool],
        failed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self.state: LoadState = "unloaded"
        self.usable = asyncio.Event()
        """A worker is ready, or nothing is wrong with there being none."""
        if spec.lazy:
            self.usable.set()
        self.down_since_s = clock()
        """When the last ready worker was lost, or loading began; meaningless while one is ready."""
        self._spec = spec
        self._options = options
        self._in_use = in_use
        self._failed = failed
        self._clock = clock
        self._seats: Sequence[Seat] = ()
        self._was_ready = False
        self._start_s = 0.0
        self._used_at_s = clock()
        self._unload_task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def patience_s(self) -> float:
        """How long a segment waits without any ready worker.

        A worker that has died is waited for in proportion to how long the last one took to start:
        what has not been heard can be said by its successor.
        """
        longest_s = self._options.start_timeout_s
        if self.state != "kept":
            return longest_s
        return max(self._options.ready_timeout_s, min(longest_s, _STARTS * self._start_s))

    def open(self, seats: Sequence[Seat]) -> None:
        """Begin to fill the seats, unless that is left to the first request."""
        self._seats = seats
        if not self._spec.lazy:
            self._load("kept")
        elif self._in_use():
            self.need()

    def need(self) -> None:
        """See to it that there will be workers: something waits for them."""
        if self.state == "unloaded" and self._seats and not self._closed:
            log.info("model_loading", model=self._spec.name)
            self._load("loading")

    def _load(self, state: LoadState) -> None:
        self.state = state
        self.down_since_s = self._clock()
        self._was_ready = False
        for seat in self._seats:
            seat.open()

    async def close(self) -> None:
        """Empty the seats for good."""
        self._closed = True
        if self._unload_task is not None:
            await asyncio.wait([self._unload_task])
        await asyncio.gather(*(seat.close() for seat in self._seats))

    # --- What happens to workers -----------------------------------------------------------

    def note_start_failed(self, seat: Seat) -> None:
        """Give loading for a request up when every seat has failed once."""
        if self.state != "loading":
            return
        seat.pause()
        if not any(seat.wanted for seat in self._seats):
            self.state = "unloaded"
            self._failed()

    def note_ready(self) -> None:
        """A worker is ready."""
        if self.state == "loading":
            self.state = "kept"
            # Those that failed while there was no other may try again.
            for seat in self._seats:
                seat.open()
        if not self._was_ready or not self.usable.is_set():
            self._start_s = self._clock() - self.down_since_s
        if not self._was_ready:
            self._was_ready = True
            self.note_use()
        self.usable.set()

    def note_all_left(self) -> None:
        """No worker is ready any more."""
        if self.state == "kept" and self.usable.is_set():
            self.usable.clear()
            self.down_since_s = self._clock()

    # --- Idleness --------------------------------------------------------------------------

    def note_use(self) -> None:
        """Somebody needed the model until now."""
        self._used_at_s = self._clock()

    def check(self) -> None:
        """Regular visit: end the workers if nobody has needed them for long."""
        if self._in_use():
            self.note_use()
        elif self.state == "kept" and self._was_ready and self._is_overdue():
            log.info("model_unloading", model=self._spec.name)
            self.state = "unloading"
            self.usable.set()
            self._unload_task = asyncio.create_task(self._unload())
            self._unload_task.add_done_callback(report_crash)

    def _is_overdue(self) -> bool:
        limit_s = self._spec.idle_unload_s
        return 0 < limit_s <= self._clock() - self._used_at_s

    async def _unload(self) -> None:
        try:
            await asyncio.gather(*(seat.close("unloaded") for seat in self._seats))
        finally:
            # Not before all have ended: two generations may not fit into one GPU.
            self.state = "unloaded"
            if self._in_use():
                self.need()
