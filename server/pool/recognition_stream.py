"""One stream of audio on its way through the pool: audio goes in, transcripts come out."""

from __future__ import annotations

import asyncio
from typing import Protocol

import numpy as np

from models.base import Samples
from models.recognition import RecognitionRequest, Transcript
from server.limits import RECOGNITION_REPLAY_S, RECOGNITION_WINDOW_S
from server.pool.messages import Heard
from server.pool.worker_stream import Carrier, StreamOwner, WorkerStream

_SAMPLE_BYTES = 4
_PIECE_S = 1.0


class ListeningCarrier(Carrier, Protocol):
    """The worker's side of a stream while one listens to it."""

    def append_audio(self, samples: bytes, *, last: bool) -> None:
        """Pass a piece of audio on."""


class RecognitionStream(WorkerStream[ListeningCarrier, Heard, Transcript]):
    """What is understood of audio: an async iterator of `Transcript` for one consumer.

    Each transcript holds all text so far, so of those that the consumer has not taken only the
    latest is kept. Iterating ends when all audio has been listened to, or at once when the stream
    has been cancelled.

    Args:
        owner: the pool.
        model: the recogniser.
        request: what to listen for.
        sample_rate_hz: of the audio.
        deadline_s: when it is to begin, on the pool's clock.

    Raises:
        SpeechError: from iterating: MODEL_FAILED or NOT_SUPPORTED as the recogniser says,
            WORKER_LOST, MODEL_UNAVAILABLE, SHUTTING_DOWN.
    """

    def __init__(
        self,
        owner: StreamOwner,
        *,
        model: str,
        request: RecognitionRequest,
        sample_rate_hz: int,
        deadline_s: float,
    ) -> None:
        super().__init__(owner, model=model, deadline_s=deadline_s, sample_rate_hz=sample_rate_hz)
        self.request = request
        self.audio_ended = False
        self._piece_samples = int(_PIECE_S * sample_rate_hz)
        self._window_samples = int(RECOGNITION_WINDOW_S * sample_rate_hz)
        self._replay_samples = int(RECOGNITION_REPLAY_S * sample_rate_hz)
        self._kept: list[bytes] | None = []
        """All audio so far, for another worker; None when that can no longer be."""
        self._kept_samples = 0
        self._unread_samples = 0
        self._room = asyncio.Event()
        self._room.set()

    # --- The consumer's side ---------------------------------------------------------------

    async def append(self, samples: Samples) -> None:
        """Add audio of shape (n_samples,); waits while RECOGNITION_WINDOW_S of it are unread.

        After a failure or a cancel it has no effect. Not for several tasks at once.

        Raises:
            ValueError: the audio has ended, or has another shape.
        """
        if samples.ndim != 1:
            raise ValueError(f"audio has one channel, not shape {samples.shape}")
        for begin in range(0, samples.size, self._piece_samples):
            if self.ended:
                return
            if self.audio_ended:
                raise ValueError("the stream's audio has ended")
            piece = samples[begin : begin + self._piece_samples]
            self._pass_on(np.ascontiguousarray(piece, dtype="<f4").tobytes())
            await self._room.wait()

    def finish(self) -> None:
        """All audio has been added; the last transcript comes next. A second time: no effect."""
        if self.ended or self.audio_ended:
            return
        self.audio_ended = True
        if self._carrier is not None:
            self._carrier.append_audio(b"", last=True)

    def _hand_out(self, message: Heard) -> Transcript:
        if message.transcript.text:
            # Another worker may hear something else.
            self._kept = None
        return message.transcript

    def _pass_on(self, piece: bytes) -> None:
        n_samples = len(piece) // _SAMPLE_BYTES
        if self._kept is not None:
            self._kept.append(piece)
            self._kept_samples += n_samples
            if self._carrier is not None and self._kept_samples > self._replay_samples:
                self._kept = None
        self._note_unread(self._unread_samples + n_samples)
        if self._carrier is not None:
            self._carrier.append_audio(piece, last=False)

    def _note_unread(self, samples: int) -> None:
        self._unread_samples = samples
        if samples <= self._window_samples:
            self._room.set()
        else:
            self._room.clear()

    # --- The pool's side -------------------------------------------------------------------

    @property
    def repeatable(self) -> bool:
        """Whether its consumer has no text yet, and all of its audio is still here."""
        return self._kept is not None

    def attach(self, carrier: ListeningCarrier) -> None:
        """A worker got the stream, and gets the audio so far."""
        self._carrier = carrier
        for piece in self._kept or ():
            carrier.append_audio(piece, last=False)
        if self.audio_ended:
            carrier.append_audio(b"", last=True)

    def detach(self) -> None:
        """As in the base class."""
        super().detach()
        self._note_unread(self._kept_samples)

    def audio_taken(self, samples: int) -> None:
        """The recogniser has begun to listen to so much more."""
        self._note_unread(self._unread_samples - samples)

    def receive(self, heard: Heard) -> None:
        """Something was understood."""
        if self.ended:
            return
        self.compute_s = heard.compute_s
        self._received.clear()
        self._received.append(heard)
        self._wake()

    def _wake(self) -> None:
        super()._wake()
        if self.ended:
            self._room.set()
            self._kept = None
