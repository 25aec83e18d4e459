"""Tells a thread that cannot wait for a device when it has got somewhere."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue

from models.native.device.lane import Mark


class Waiter:
    """A thread that does nothing but sleep on marks, in the order in which they are given.

    The engine sleeps on its inbox, and cannot sleep on the device at the same time. To look at the
    device every now and then would be late, or cost a core; this is neither.

    Args:
        wake: called when a mark has been reached, or never will be because the device has failed.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._marks: SimpleQueue[Mark | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="waiter", daemon=True)
        self._thread.start()

    def watch(self, mark: Mark) -> None:
        """Wake when it is reached."""
        self._marks.put(mark)

    def close(self) -> None:
        """Wait for the marks so far, and end."""
        self._marks.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (mark := self._marks.get()) is not None:
            # Whoever is woken meets the same error, and knows what is to be done.
            with contextlib.suppress(RuntimeError):
                mark.wait()
            self._wake()
