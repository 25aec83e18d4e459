"""A stream's text as the model reads it, piece by piece, in the worker."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager


class TextCancelledError(Exception):
    """Leaves the model through its generator when a stream is cancelled while it waits for text."""


class TextFeed(Iterator[str]):
    """Text pieces from the reading thread to the model's thread.

    Args:
        park: entered by the model's thread while there is no text.
    """

    def __init__(self, park: Callable[[], AbstractContextManager[None]]) -> None:
        self._park = park
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._cancelled = False
        self.waited_s = 0.0
        """Time that the model has waited for text."""

    def append(self, text: str, *, last: bool) -> None:
        """Add a piece; an empty one only carries `last`."""
        if text:
            self._pieces.put(text)
        if last:
            self._pieces.put(None)

    def cancel(self) -> None:
        """Wake the model with an exception."""
        self._cancelled = True
        self._pieces.put(None)

    def __next__(self) -> str:
        asked_at = time.perf_counter()
        piece = self._take()
        self.waited_s += time.perf_counter() - asked_at
        if self._cancelled:
            raise TextCancelledError
        if piece is None:
            # An exhausted iterator must stay exhausted, and not block who asks again.
            self._pieces.put(None)
            raise StopIteration
        return piece

    def _take(self) -> str | None:
        try:
            return self._pieces.get_nowait()
        except queue.Empty:
            with self._park():
                return self._pieces.get()
