"""One segment on its way through the pool: text goes in, audio comes out."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from models.base import PcmChunk, SynthesisRequest
from server.limits import STREAM_CREDIT_S
from server.pool.clones import Clone
from server.pool.messages import Pcm
from server.pool.worker_stream import Carrier, StreamOwner, WorkerStream

_SAMPLE_DTYPE = np.dtype("<f4")
_GRANT_SHARE = 4
"""Credit is granted in quarters of the window: few messages, and never near empty."""


class SpeechCarrier(Carrier, Protocol):
    """The worker's side of a segment while one computes it."""

    def grant(self, samples: int) -> None:
        """Let the worker send so many samples more."""

    def append_text(self, text: str, *, last: bool) -> None:
        """Pass a piece of text on."""


class PoolStream(WorkerStream[SpeechCarrier, Pcm, PcmChunk]):
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
        super().__init__(owner, model=model, deadline_s=deadline_s, sample_rate_hz=sample_rate_hz)
        self.request = request
        self.clone = clone
        """The cloned voice that `request` names, None for the model's own voices."""
        self.more_text = more_text
        self.model_first_chunk_s: float | None = None
        """The model's own time to the first chunk."""
        self.heard = False
        """The consumer has taken audio; from now on it cannot be tried again elsewhere."""
        self._pieces = [text]
        self.text_ended = not more_text
        self._ungranted_samples = 0
        self._window_samples = 0

    # --- The consumer's side ---------------------------------------------------------------

    def _hand_out(self, message: Pcm) -> PcmChunk:
        self.heard = True
        samples = np.frombuffer(message.samples, _SAMPLE_DTYPE)
        self._grant(samples.size)
        return PcmChunk(samples, message.words)

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

    @property
    def repeatable(self) -> bool:
        """Whether nothing of it was heard."""
        return not self.heard

    def attach(self, carrier: SpeechCarrier, sample_rate_hz: int) -> int:
        """A worker got the stream; returns the credit to begin with, in samples."""
        self._carrier = carrier
        self._window_samples = int(STREAM_CREDIT_S * sample_rate_hz)
        self._ungranted_samples = 0
        return self._window_samples

    def detach(self) -> None:
        """As in the base class."""
        super().detach()
        self.model_first_chunk_s = None

    def receive(self, pcm: Pcm) -> None:
        """Audio came."""
        if self.ended:
            return
        self.compute_s = pcm.compute_s
        self._received.append(pcm)
        self._wake()
