"""One stream's way out of the worker: its audio between the model's thread and the socket.

The front grants credit in samples; what exceeds it waits here. The model's thread parks when too
much waits, and wakes when the front has taken enough or when the stream is cancelled. Whatever
happens, exactly one of `Finished`, `Failed` and `Cancelled` is sent, by the thread that made it so.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from models.base import ModelError, PcmChunk, Samples
from server.pool.messages import (
    FRAME_AUDIO_S,
    Cancelled,
    Computed,
    Failed,
    FailureCode,
    Finished,
    Pcm,
    WorkerMessage,
)

_SAMPLE_BYTES = 4


class Outbox:
    """Frames of one stream that wait for credit, and how the stream ends.

    Args:
        stream: the stream's number.
        sample_rate_hz: the model's.
        credit_samples: how much may be sent without further grant.
        send: puts a message on the socket; called in order, from whichever thread made it possible.
        forget: called once, after the stream's last message.
    """

    def __init__(
        self,
        stream: int,
        *,
        sample_rate_hz: int,
        credit_samples: int,
        send: Callable[[WorkerMessage], None],
        forget: Callable[[int], None],
    ) -> None:
        self._stream = stream
        self._sample_rate_hz = sample_rate_hz
        self._frame_samples = max(1, int(sample_rate_hz * FRAME_AUDIO_S))
        self._credit_samples = credit_samples
        self._send = send
        self._forget = forget
        self._frames: deque[Pcm] = deque()
        self._waiting_samples = 0
        self._made_samples = 0
        self._changed = threading.Condition()
        self._computed = False
        self._ended = False
        self.cancelled = False
        """Set once; the model's thread looks at it after every chunk."""

    def put(self, chunk: PcmChunk, compute_s: float) -> None:
        """Send a chunk, as far as credit allows, in frames of at most `FRAME_AUDIO_S`.

        Raises:
            ModelError: the samples are not finite, or not of shape (n_samples,).
        """
        samples = _checked(chunk.samples)
        with self._changed:
            if self.cancelled:
                return
            self._frames.extend(self._split(samples, chunk, compute_s))
            self._made_samples += samples.size
            self._waiting_samples += samples.size
            self._send_within_credit()

    def holds(self, n_samples: int) -> bool:
        """Whether at least `n_samples`, and anything at all, wait here."""
        with self._changed:
            return self._waiting_samples >= max(1, n_samples)

    def wait_for_room(self, limit_samples: int) -> None:
        """Wait until less than `limit_samples` wait here, or the stream is cancelled."""
        with self._changed:
            # A cancel empties the outbox, so it makes room as well.
            self._changed.wait_for(lambda: self._waiting_samples < max(1, limit_samples))

    def grant(self, samples: int) -> None:
        """Allow that many samples more."""
        with self._changed:
            self._credit_samples += samples
            self._send_within_credit()
            self._changed.notify_all()

    def complete(self, compute_s: float) -> None:
        """The model is done; `Finished` follows the last frame."""
        with self._changed:
            if self.cancelled:
                self._end(Cancelled(self._stream))
                return
            self._computed = True
            self._send(Computed(self._stream, self._made_samples, compute_s))
            self._send_within_credit()

    def fail(self, code: FailureCode, message: str, detail: str = "") -> None:
        """The model broke; what still waits is dropped."""
        with self._changed:
            self._end(
                Cancelled(self._stream)
                if self.cancelled
                else Failed(self._stream, code, message, detail)
            )

    def cancel(self) -> None:
        """Drop what waits and wake the model's thread; it answers when it has stopped."""
        with self._changed:
            if self._ended:
                return
            self.cancelled = True
            self._frames.clear()
            self._waiting_samples = 0
            self._changed.notify_all()
            if self._computed:
                self._end(Cancelled(self._stream))

    def _end(self, message: WorkerMessage) -> None:
        self._ended = True
        self._frames.clear()
        self._send(message)
        self._forget(self._stream)

    def _send_within_credit(self) -> None:
        while self._frames:
            n_samples = len(self._frames[0].samples) // _SAMPLE_BYTES
            if n_samples > self._credit_samples:
                return
            self._credit_samples -= n_samples
            self._waiting_samples -= n_samples
            self._send(self._frames.popleft())
        if self._computed and not self._ended:
            self._end(Finished(self._stream))

    def _split(self, samples: Samples, chunk: PcmChunk, compute_s: float) -> Iterator[Pcm]:
        """Cut a chunk into frames; a word goes with the frame in which it ends."""
        words = deque(chunk.words)
        for begin in range(0, samples.size or bool(words), self._frame_samples):
            part = samples[begin : begin + self._frame_samples]
            is_last = begin + part.size >= samples.size
            end_s = (self._made_samples + begin + part.size) / self._sample_rate_hz
            ended = []
            while words and (is_last or words[0].end_s <= end_s):
                ended.append(words.popleft())
            yield Pcm(self._stream, part.tobytes(), tuple(ended), compute_s)


def _checked(samples: Samples) -> Samples:
    """Return the samples as the channel carries them.

    Raises:
        ModelError: they are not finite, or not of shape (n_samples,).
    """
    if samples.ndim != 1:
        raise ModelError("failed", "the model made audio of a wrong shape")
    little: Samples = np.ascontiguousarray(samples, dtype="<f4")
    if not np.isfinite(little).all():
        raise ModelError("failed", "the model made audio that is not a number")
    return little
