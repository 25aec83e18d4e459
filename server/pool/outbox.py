"""One stream's way out of the worker: its audio between the model's thread and the socket.

The front grants credit in samples; what exceeds it waits here. The model's thread parks when too
much waits, and wakes when the front has taken enough or when the stream is cancelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from models.base import ModelError, PcmChunk, Samples
from server.pool.messages import FRAME_AUDIO_S, Pcm, WorkerMessage
from server.pool.outlet import Outlet

_SAMPLE_BYTES = 4


class Outbox(Outlet):
    """Frames of one stream that wait for credit.

    Args:
        stream: the stream's number.
        sample_rate_hz: the model's.
        credit_samples: how much may be sent without further grant.
        send: as in `Outlet`.
        forget: as in `Outlet`.
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
        super().__init__(stream, send=send, forget=forget)
        self._sample_rate_hz = sample_rate_hz
        self._frame_samples = max(1, int(sample_rate_hz * FRAME_AUDIO_S))
        self._credit_samples = credit_samples
        self._frames: deque[Pcm] = deque()
        self._waiting_samples = 0

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
            self._samples += samples.size
            self._waiting_samples += samples.size
            self._flush()

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
            self._flush()
            self._changed.notify_all()

    def _drop(self) -> None:
        self._frames.clear()
        self._waiting_samples = 0

    def _flush(self) -> None:
        while self._frames:
            n_samples = len(self._frames[0].samples) // _SAMPLE_BYTES
            if n_samples > self._credit_samples:
                return
            self._credit_samples -= n_samples
            self._waiting_samples -= n_samples
            self._send(self._frames.popleft())
        super()._flush()

    def _split(self, samples: Samples, chunk: PcmChunk, compute_s: float) -> Iterator[Pcm]:
        """Cut a chunk into frames; a word goes with the frame in which it ends."""
        words = deque(chunk.words)
        for begin in range(0, samples.size or bool(words), self._frame_samples):
            part = samples[begin : begin + self._frame_samples]
            is_last = begin + part.size >= samples.size
            end_s = (self._samples + begin + part.size) / self._sample_rate_hz
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
