"""Chunks of several sessions, through flow and vocoder, to samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from models.base import Samples
from models.native.device.lane import Fetched, Lane, Mark
from models.native.device.waiter import Waiter
from models.native.faults import Bisection
from models.native.flow.flow import Flow
from models.native.flow.jobs import FlowJob
from models.native.session import Session
from models.native.vocoder.state import VocoderJob
from models.native.vocoder.vocoder import Vocoder

MOST_FRAMES = 12_800
"""Of a batch, padding included; a longer one would not be cheaper than two."""
_MOST_PADDING = 1.5
"""By which the longest of a batch may exceed the shortest."""


class ChunkRow(NamedTuple):
    """A chunk that is being computed."""

    session: Session
    n_tokens: int
    final: bool
    job: FlowJob


def batches(rows: Sequence[ChunkRow]) -> list[list[ChunkRow]]:
    """Rows of about the same length together, the most urgent batch first.

    Args:
        rows: the most urgent first.
    """
    ranks = {id(row): rank for rank, row in enumerate(rows)}
    found: list[list[ChunkRow]] = []
    for row in sorted(rows, key=lambda row: row.job.n_computed):
        if found and _fits(row, found[-1]):
            found[-1].append(row)
        else:
            found.append([row])
    return sorted(found, key=lambda batch: min(ranks[id(row)] for row in batch))


def _fits(row: ChunkRow, shorter: Sequence[ChunkRow]) -> bool:
    n_tokens = row.job.n_computed
    return (
        n_tokens <= _MOST_PADDING * shorter[0].job.n_computed
        and (len(shorter) + 1) * n_tokens * 2 <= MOST_FRAMES
    )


class Flight:
    """A batch that the device has been asked for; made by `launch`."""

    def __init__(
        self,
        rows: Sequence[ChunkRow],
        *,
        lengths: Sequence[int],
        samples: Fetched,
        begin: Mark,
        end: Mark,
    ) -> None:
        self.rows = rows
        self.end = end
        self._lengths = lengths
        self._samples = samples
        self._begin = begin

    @property
    def has_landed(self) -> bool:
        """Its samples are there.

        Raises:
            torch.AcceleratorError: the device has failed.
        """
        return self.end.reached()

    @property
    def seconds(self) -> float:
        """That it took, preparations included; by the device's clock, so it does not matter how
        late somebody looks.
        """  # noqa: D205
        return self.end.seconds_since(self._begin)

    def sounds(self) -> Sequence[Samples | None]:
        """For each row its samples, perhaps none at all; None if the flow left its numbers' range.

        To be called once, when it has landed.
        """
        joined: Samples = self._samples.take()
        *sounds, rest = np.split(joined, np.cumsum(self._lengths))
        if not len(rest):  # nobody watched
            return sounds
        return [
            sound if finite else None for sound, finite in zip(sounds, rest.tolist(), strict=True)
        ]


@torch.inference_mode()  # type: ignore[untyped-decorator]
def launch(flow: Flow, vocoder: Vocoder, lane: Lane, rows: Sequence[ChunkRow]) -> Flight:
    """Ask for chunks together, and do not wait; the sessions' states change if nothing is raised.

    Args:
        flow: computes in the lane.
        vocoder: likewise.
        lane: in which nothing else is under way.
        rows: of one session each.
    """
    with lane.current():
        begin = lane.mark()
        mels = flow.launch([row.job for row in rows])
        sounds = vocoder.run(
            [
                VocoderJob(row.session.vocoder, mel, row.final)
                for row, mel in zip(rows, mels.new, strict=True)
            ]
        )
        # Everything in one copy; whether numbers are finite is looked at when it is there.
        finite = [] if mels.finite is None else [mels.finite.float()]
        samples = lane.fetch(torch.cat([*sounds, *finite]))
        return Flight(
            rows,
            lengths=[len(sound) for sound in sounds],
            samples=samples,
            begin=begin,
            end=lane.mark(),
        )


class Sounder:
    """Has one batch computed after the other, while its caller goes on.

    One at a time: a second one would keep the device busy in the moment between two, and every
    first chunk that comes would stand behind it.

    Args:
        flow: computes in `lane`.
        vocoder: likewise.
        lane: nobody else's.
        wake: called, by another thread, when there is something to `land`.
    """

    def __init__(self, flow: Flow, vocoder: Vocoder, lane: Lane, wake: Callable[[], None]) -> None:
        self._flow = flow
        self._vocoder = vocoder
        self._lane = lane
        self._bisection = Bisection(flow.device)
        self._flights: deque[Flight] = deque()
        self._waiter = Waiter(wake)

    @property
    def is_busy(self) -> bool:
        """Something has not landed, or has not been looked at."""
        return bool(self._flights)

    def launch(
        self, batch: Sequence[ChunkRow], failed: Callable[[ChunkRow, Exception], None]
    ) -> None:
        """Begin to compute a batch, or the largest parts of it that can be computed.

        Args:
            batch: of sessions of which nothing is under way.
            failed: is told of each row that cannot be computed even alone.

        Raises:
            BrokenDeviceError: the device has failed.
        """
        for rows, flight in self._bisection.run(self._launched, batch, failed):
            for row in rows:
                row.session.flying = True
            self._flights.append(flight)
            if not flight.has_landed:
                self._waiter.watch(flight.end)

    def land(self) -> Iterator[Flight]:
        """Batches that have been computed since the last call.

        Raises:
            torch.AcceleratorError: the device has failed.
        """
        while self._flights and self._flights[0].has_landed:
            flight = self._flights.popleft()
            for row in flight.rows:
                row.session.flying = False
            yield flight

    def close(self) -> None:
        """Wait for what is under way, and drop it."""
        self._waiter.close()
        self._flights.clear()

    def _launched(self, rows: Sequence[ChunkRow]) -> Flight:
        flight: Flight = launch(self._flow, self._vocoder, self._lane, rows)
        return flight
