"""One stream on its way through the pool, as its consumer and the pool see it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from server.errors import SpeechError


class Carrier(Protocol):
    """The worker's side of a stream while one computes it."""

    def cancel(self) -> None:
        """Stop it."""


class StreamOwner(Protocol):
    """The pool, as a stream sees it."""

    def reprioritize(self, stream: AnyStream, deadline_s: float) -> None:
        """Change its place if it waits in the queue."""

    def stream_cancelled(self, stream: AnyStream) -> None:
        """Take it out of the queue and forget it."""


CarrierT = TypeVar("CarrierT", bound=Carrier)
Message = TypeVar("Message")
Item = TypeVar("Item")


class WorkerStream(ABC, Generic[CarrierT, Message, Item]):
    """An async iterator for one consumer, of what a worker makes of what it is given.

    Iterating ends after the last item, or at once when the stream has been cancelled.

    Args:
        owner: the pool.
        model: which one is to do it.
        deadline_s: when its first item is needed, on the pool's clock.
        sample_rate_hz: what the consumer takes the model's rate for; None if it does not know.
    """

    def __init__(
        self,
        owner: StreamOwner,
        *,
        model: str,
        deadline_s: float,
        sample_rate_hz: int | None,
    ) -> None:
        self.model = model
        self.sample_rate_hz = sample_rate_hz
        self.deadline_s = deadline_s
        self.queue_wait_s: float | None = None
        """Time until a slot took it up, waits after a lost worker added."""
        self.compute_s: float | None = None
        """The model's own time so far, in the end for all of it."""
        self.offered_at_s = 0.0
        """When it was last put into the queue, on the pool's clock."""
        self.retries = 0
        self.ended = False
        """Nothing more will come in; what came may still wait for the consumer."""
        self._owner = owner
        self._carrier: CarrierT | None = None
        self._received: deque[Message] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: SpeechError | None = None

    # --- The consumer's side ---------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while not self._received:
            if self._error is not None:
                raise self._error
            if self.ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._hand_out(self._received.popleft())

    @abstractmethod
    def _hand_out(self, message: Message) -> Item:
        """What the consumer gets for a worker's message."""

    def reprioritize(self, deadline_s: float) -> None:
        """Change the deadline, as long as the stream waits in the queue.

        Raises:
            ValueError: the deadline is not finite.
        """
        self._owner.reprioritize(self, deadline_s)

    def cancel(self) -> None:
        """Stop the work and drop what came of it; iterating ends. A second time has no effect."""
        self._received.clear()
        self._error = None
        if self.ended:
            return
        carrier = self._carrier
        self._end(None)
        self._owner.stream_cancelled(self)
        if carrier is not None:
            carrier.cancel()

    # --- The pool's side -------------------------------------------------------------------

    @property
    @abstractmethod
    def repeatable(self) -> bool:
        """Whether another worker could begin anew."""

    def detach(self) -> None:
        """The worker gave it back or died: the consumer has nothing of it, and all begins anew."""
        self._carrier = None
        self._received.clear()
        self.compute_s = None

    def started(self, waited_s: float) -> None:
        """A slot took it up."""
        self.queue_wait_s = (self.queue_wait_s or 0.0) + waited_s

    def complete(self) -> None:
        """Everything has come."""
        self._end(None)

    def fail(self, error: SpeechError) -> None:
        """Nothing more comes, because of `error`; what came before is still given out."""
        self._end(error)

    def interrupt(self, error: SpeechError) -> None:
        """The pool itself stops it: cancelled as by its consumer, who learns why."""
        self.cancel()
        self._error = error
        self._wake()

    def _end(self, error: SpeechError | None) -> None:
        if self.ended:
            return
        self.ended = True
        self._error = error
        self._carrier = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


AnyStream: TypeAlias = WorkerStream[Any, Any, Any]
