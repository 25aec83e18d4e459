"""One segment on its way through the pool, as its consumer sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

import numpy as np

from models.base import PcmChunk, SynthesisRequest
from server.errors import SpeechError
from server.limits import STREAM_CREDIT_S
from server.pool.clones import Clone
from server.pool.messages import Pcm

_SAMPLE_DTYPE = np.dtype("<f4")
_GRANT_SHARE = 4
"""Credit is granted in quarters of the window: few messages, and never near empty."""


class Carrier(Protocol):
    """The worker's side of a stream while one computes it."""

    def grant(self, samples: int) -> None:
        """Let the worker send so many samples more."""

    def append_text(self, text: str, *, last: bool) -> None:
        """Pass a piece of text on."""

    def cancel(self) -> None:
        """Stop the synthesis."""


class StreamOwner(Protocol):
    """The pool, as a stream sees it."""

    def reprioritize(self, stream: PoolStream, deadline_s: float) -> None:
        """Change its place if it waits in the queue."""

    def stream_cancelled(self, stream: PoolStream) -> None:
        """Take it out of the queue and forget it."""


class PoolStream:
    """The audio of one segment: an async iterator of `PcmChunk` for one consumer.

    A chunk's samples are a read-only array. Iterating ends after the last chunk, or at once when
    the stream has been cancelled.

    Raises:
        SpeechError: from iterating: MODEL_FAILED, VOICE_UNKNOWN or NOT_SUPPORTED as the model says,
            WORKER_LOST, MODEL_UNAVAILABLE, SHUTTING_DOWN.
    """

    def __init__(
        self,
        owner: StreamOwner,
        *,
        model: str,
        request: SynthesisRequest,
        text: str,
        more_text: bool,
        deadline_s: float,
        clone: Clone | None = None,
        sample_rate_hz: int | None = None,
    ) -> None:
        self.model = model
        self.request = request
        self.clone = clone
        """The cloned voice that `request` names, None for the model's own voices."""
        self.sample_rate_hz = sample_rate_hz
        """What the consumer takes the audio for; None if it does not know."""
        self.more_text = more_text
        self.deadline_s = deadline_s
        self.queue_wait_s: float | None = None
        """Time until a slot took it up, waits after a lost worker added."""
        self.model_first_chunk_s: float | None = None
        """The model's own time to the first chunk."""
        self.compute_s: float | None = None
        """The model's own time so far, in the end for all of it."""
        self.offered_at_s = 0.0
        """When it was last put into the queue, on the pool's clock."""
        self.retries = 0
        self.heard = False
        """The consumer has taken audio; from now on it cannot be tried again elsewhere."""
        self._owner = owner
        self._pieces = [text]
        self.text_ended = not more_text
        self._carrier: Carrier | None = None
        self._chunks: deque[Pcm] = deque()
        self._ungranted_samples = 0
        self._window_samples = 0
        self._waiter: asyncio.Future[None] | None = None
        self.ended = False
        """Nothing more will come in; what came may still wait for the consumer."""
        self._error: SpeechError | None = None

    # --- The consumer's side ---------------------------------------------------------------

    def __aiter__(self) -> PoolStream:
        return self

    async def __anext__(self) -> PcmChunk:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunk = self._chunks.popleft()
        self.heard = True
        samples = np.frombuffer(chunk.samples, _SAMPLE_DTYPE)
        self._grant(samples.size)
        return PcmChunk(samples, chunk.words)

    def append_text(self, text: str, *, last: bool = False) -> None:
        """Add a piece to the text of a stream that was opened with `more_text`.

        After a failure or a cancel it has no effect.

        Raises:
            ValueError: the stream was not opened so, or its text has ended.
        """
        if self.ended:
            return
        if self.text_ended:
            raise ValueError("the stream's text has ended")
        self._pieces.append(text)
        self.text_ended = last
        if self._carrier is not None:
            self._carrier.append_text(text, last=last)

    def reprioritize(self, deadline_s: float) -> None:
        """Change the deadline, as long as the stream waits in the queue.

        Raises:
            ValueError: the deadline is not finite.
        """
        self._owner.reprioritize(self, deadline_s)

    def cancel(self) -> None:
        """Stop the synthesis and drop its audio; iterating ends. A second time has no effect."""
        self._chunks.clear()
        self._error = None
        if self.ended:
            return
        carrier = self._carrier
        self._end(None)
        self._owner.stream_cancelled(self)
        if carrier is not None:
            carrier.cancel()

    def _grant(self, samples: int) -> None:
        self._ungranted_samples += samples
        if self._carrier is not None and (
            self._ungranted_samples * _GRANT_SHARE >= self._window_samples
        ):
            self._carrier.grant(self._ungranted_samples)
            self._ungranted_samples = 0

    # --- The pool's side -------------------------------------------------------------------

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._pieces)

    def attach(self, carrier: Carrier, sample_rate_hz: int) -> int:
        """A worker got the stream; returns the credit to begin with, in samples."""
        self._carrier = carrier
        self._window_samples = int(STREAM_CREDIT_S * sample_rate_hz)
        self._ungranted_samples = 0
        return self._window_samples

    def detach(self) -> None:
        """The worker gave it back or died: nothing of it was heard, and all begins anew."""
        self._carrier = None
        self._chunks.clear()
        self.model_first_chunk_s = None
        self.compute_s = None

    def started(self, waited_s: float) -> None:
        """A slot took it up."""
        self.queue_wait_s = (self.queue_wait_s or 0.0) + waited_s

    def receive(self, pcm: Pcm) -> None:
        """Audio came."""
        if self.ended:
            return
        self.compute_s = pcm.compute_s
        self._chunks.append(pcm)
        self._wake()

    def finish(self) -> None:
        """All audio has come."""
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
