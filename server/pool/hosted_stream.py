"""A stream as the worker has it: what goes in, its way out, and the time that it costs."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeAlias, TypeVar

from models.base import PcmChunk, SpeechModel
from models.recognition import SpeechRecognizer, Transcript
from server.pool import messages
from server.pool.feed import AudioFeed, Feed, TextFeed
from server.pool.framing import ChannelError
from server.pool.outbox import Outbox
from server.pool.outlet import Outlet, TranscriptOutlet

Model = TypeVar("Model")
Item = TypeVar("Item")


class HostedTask(ABC, Generic[Model, Item]):
    """What a thread of the worker does for one stream, with whatever kind of model.

    Args:
        stream: its number.
        outlet: its way out.
    """

    def __init__(self, stream: int, outlet: Outlet) -> None:
        self.id = stream
        self.outlet = outlet
        self.feed: Feed[Any] | None = None
        """What comes while the model is at it."""
        self.begun = False
        """It got a slot once. This and the next belong to `Slots` and are guarded by its lock."""
        self.holds_slot = False
        self.thread = 0
        """Identifier of the one thread that pulls from its model, 0 before it has begun."""

    def cancel(self) -> None:
        """Make the model's thread stop at the next chunk, or at once if it waits."""
        self.outlet.cancel()
        if self.feed is not None:
            self.feed.cancel()

    def pull(self, model: Model, stopwatch: Stopwatch) -> None:
        """Have the model do all of it, on this thread."""
        with stopwatch:
            items = self._begin(model)
        try:
            while not self.outlet.cancelled:
                with stopwatch:
                    item = next(items, None)
                if item is None:
                    return
                self._deliver(item, stopwatch.compute_s)
        finally:
            _close_iterator(items)

    @abstractmethod
    def _begin(self, model: Model) -> Iterator[Item]:
        """Call the model."""

    @abstractmethod
    def _deliver(self, item: Item, compute_s: float) -> None:
        """Pass on what the model made; may wait."""


AnyTask: TypeAlias = HostedTask[Any, Any]
Park: TypeAlias = Callable[[AnyTask], AbstractContextManager[None]]


class HostedStream(HostedTask[SpeechModel, PcmChunk]):
    """A stream of speech: what was asked for, its text and its way out.

    Args:
        order: what was asked for.
        outbox: its way out.
        park: `Slots.parked`, for the waits for text and for room.
    """

    def __init__(self, order: messages.Synthesize, outbox: Outbox, park: Park) -> None:
        super().__init__(order.stream, outbox)
        self.outbox = outbox
        self._request = order.request
        self._park = park
        self._run_ahead_samples = 0
        self._text: str | TextFeed = order.text
        if order.more_text:
            feed = self.feed = self._text = TextFeed(lambda: park(self))
            feed.append(order.text, last=False)

    def append_text(self, text: str, *, last: bool) -> None:
        """Pass a piece of text to the model.

        Raises:
            ChannelError: the stream's text was complete from the start.
        """
        if isinstance(self._text, str):
            raise ChannelError("text for a stream whose text has ended")
        self._text.append(text, last=last)

    def _begin(self, model: SpeechModel) -> Iterator[PcmChunk]:
        self._run_ahead_samples = int(model.capabilities.run_ahead_s * model.sample_rate_hz)
        return model.synthesize(self._request, self._text)

    def _deliver(self, item: PcmChunk, compute_s: float) -> None:
        self.outbox.put(item, compute_s)
        if self.outbox.holds(self._run_ahead_samples):
            # Half of it, so that a slot is not taken and given back for every frame.
            with self._park(self):
                self.outbox.wait_for_room(self._run_ahead_samples // 2)


class HostedRecognition(HostedTask[SpeechRecognizer, Transcript]):
    """A stream that is listened to.

    Args:
        order: what was asked for.
        outlet: its way out.
        sample_rate_hz: of its audio.
        park: `Slots.parked`, for the waits for audio.
    """

    def __init__(
        self,
        order: messages.Recognize,
        outlet: TranscriptOutlet,
        *,
        sample_rate_hz: int,
        park: Park,
    ) -> None:
        super().__init__(order.stream, outlet)
        self._request = order.request
        self._transcripts = outlet
        self._audio = AudioFeed(
            lambda: park(self), sample_rate_hz=sample_rate_hz, taken=outlet.take
        )
        self.feed = self._audio

    def append_audio(self, samples: bytes, *, last: bool) -> None:
        """Pass a piece of audio to the recogniser."""
        self._audio.append(samples, last=last)

    def _begin(self, model: SpeechRecognizer) -> Iterator[Transcript]:
        return model.recognize(self._request, self._audio)

    def _deliver(self, item: Transcript, compute_s: float) -> None:
        self._transcripts.tell(item, compute_s)


class Stopwatch:
    """Sums up the time that the model computes, without its waits for what it is fed with."""

    def __init__(self, feed: Feed[Any] | None) -> None:
        self.compute_s = 0.0
        self._feed = feed
        self._began_at = 0.0
        self._waited_s = 0.0

    def _feed_wait_s(self) -> float:
        return self._feed.waited_s if self._feed is not None else 0.0

    def __enter__(self) -> None:
        self._began_at = time.perf_counter()
        self._waited_s = self._feed_wait_s()

    def __exit__(self, *_: object) -> None:
        waited_s = self._feed_wait_s() - self._waited_s
        # A model that reads its text in a thread of its own may have waited beside its own work.
        self.compute_s += max(0.0, time.perf_counter() - self._began_at - waited_s)


def _close_iterator(items: Iterator[Any]) -> None:
    """Close a generator; a plain iterator has nothing to close."""
    close = getattr(items, "close", None)
    if close is not None:
        close()
