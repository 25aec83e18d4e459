"""What a stream is fed with while the model is at it, piece by piece, in the worker."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeAlias, TypeVar

import numpy as np

from models.base import Samples

Park: TypeAlias = Callable[[], AbstractContextManager[None]]
Piece = TypeVar("Piece")

_SAMPLE_DTYPE = np.dtype("<f4")
_TURN_S = 1.0


class FeedCancelledError(Exception):
    """Leaves the model through its generator when a stream is cancelled while it waits."""


class Feed(Iterator[Piece]):
    """Pieces from the reading thread to the model's thread.

    Args:
        park: entered by the model's thread while there is no piece.
    """

    def __init__(self, park: Park) -> None:
        self._park = park
        self._pieces: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        self._cancelled = False
        self.waited_s = 0.0
        """Time that the model has waited."""

    def put(self, piece: Piece) -> None:
        """Add a piece."""
        self._pieces.put(piece)

    def end(self) -> None:
        """There will be no more."""
        self._pieces.put(None)

    def cancel(self) -> None:
        """Wake the model with an exception."""
        self._cancelled = True
        self._pieces.put(None)

    def __next__(self) -> Piece:
        asked_at = time.perf_counter()
        piece = self._take()
        self.waited_s += time.perf_counter() - asked_at
        if self._cancelled:
            raise FeedCancelledError
        if piece is None:
            # An exhausted iterator must stay exhausted, and not block who asks again.
            self._pieces.put(None)
            raise StopIteration
        return piece

    def _take(self) -> Piece | None:
        try:
            return self._pieces.get_nowait()
        except queue.Empty:
            with self._park():
                return self._pieces.get()


class TextFeed(Feed[str]):
    """Text that is still being written."""

    def append(self, text: str, *, last: bool) -> None:
        """Add a piece; an empty one only carries `last`."""
        if text:
            self.put(text)
        if last:
            self.end()


class AudioFeed(Feed[Samples]):
    """Audio that is still being recorded.

    Args:
        park: as in `Feed`. It is also entered between two pieces after every second of audio: who
            sends a whole file must not hold a slot against those who speak.
        sample_rate_hz: of the audio.
        taken: told how many samples the model has taken.
    """

    def __init__(self, park: Park, *, sample_rate_hz: int, taken: Callable[[int], None]) -> None:
        super().__init__(park)
        self._taken = taken
        self._turn_samples = int(_TURN_S * sample_rate_hz)
        self._left_samples = self._turn_samples

    def append(self, samples: bytes, *, last: bool) -> None:
        """Add mono float32, little endian; an empty piece only carries `last`."""
        if samples:
            # A copy, because a model may want to write where it reads.
            self.put(np.frombuffer(samples, _SAMPLE_DTYPE).copy())
        if last:
            self.end()

    def _take(self) -> Samples | None:
        if self._left_samples <= 0:
            self._left_samples = self._turn_samples
            with self._park():
                pass
        samples = super()._take()
        if samples is not None:
            self._left_samples -= samples.size
            self._taken(samples.size)
        return samples
