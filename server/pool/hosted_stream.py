"""A stream as the worker has it: its text, its way out, and the time that it cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from server.pool import messages
from server.pool.framing import ChannelError
from server.pool.outbox import Outbox
from server.pool.text_feed import TextFeed


class HostedStream:
    """A stream in the worker: what was asked for, its text and its way out.

    Args:
        order: what was asked for.
        outbox: its way out.
        park: `Slots.parked`, for the waits for text.
    """

    def __init__(
        self,
        order: messages.Synthesize,
        outbox: Outbox,
        park: Callable[[HostedStream], AbstractContextManager[None]],
    ) -> None:
        self.id = order.stream
        self.request = order.request
        self.outbox = outbox
        self.feed: TextFeed | None = None
        self.text: str | TextFeed = order.text
        if order.more_text:
            self.feed = self.text = TextFeed(lambda: park(self))
            self.feed.append(order.text, last=False)
        self.begun = False
        """It got a slot once. This and the next belong to `Slots` and are guarded by its lock."""
        self.holds_slot = False
        self.thread = 0
        """Identifier of the one thread that pulls its chunks, 0 before it has begun."""

    def append_text(self, text: str, *, last: bool) -> None:
        """Pass a piece of text to the model.

        Raises:
            ChannelError: the stream's text was complete from the start.
        """
        if self.feed is None:
            raise ChannelError("text for a stream whose text has ended")
        self.feed.append(text, last=last)

    def cancel(self) -> None:
        """Make the model's thread stop at the next chunk, or at once if it waits."""
        self.outbox.cancel()
        if self.feed is not None:
            self.feed.cancel()


class Stopwatch:
    """Sums up the time that the model computes, without its waits for text."""

    def __init__(self, feed: TextFeed | None) -> None:
        self.compute_s = 0.0
        self._feed = feed
        self._began_at = 0.0
        self._waited_s = 0.0

    def _text_wait_s(self) -> float:
        return self._feed.waited_s if self._feed is not None else 0.0

    def __enter__(self) -> None:
        self._began_at = time.perf_counter()
        self._waited_s = self._text_wait_s()

    def __exit__(self, *_: object) -> None:
        waited_s = self._text_wait_s() - self._waited_s
        self.compute_s += time.perf_counter() - self._began_at - waited_s
