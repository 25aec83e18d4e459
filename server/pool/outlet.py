"""How a stream ends in the worker: whatever happens, one last message, and none after it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from models.recognition import Transcript
from server.pool.messages import (
    AudioTaken,
    Cancelled,
    Computed,
    Failed,
    FailureCode,
    Finished,
    Heard,
    WorkerMessage,
)


class Outlet:
    """The messages of one stream; exactly one of `Finished`, `Failed` and `Cancelled` is the last,
    sent by the thread that made it so.

    Args:
        stream: the stream's number.
        send: puts a message on the socket; called in order, from whichever thread made it possible.
        forget: called once, after the stream's last message.
    """  # noqa: D205

    def __init__(
        self,
        stream: int,
        *,
        send: Callable[[WorkerMessage], None],
        forget: Callable[[int], None],
    ) -> None:
        self._stream = stream
        self._send = send
        self._forget = forget
        self._samples = 0
        self._changed = threading.Condition()
        self._computed = False
        self._ended = False
        self.cancelled = False
        """Set once; the model's thread looks at it after every chunk."""

    def complete(self, compute_s: float) -> None:
        """The model is done; `Finished` follows what still has to be sent."""
        with self._changed:
            if self.cancelled:
                self._end(Cancelled(self._stream))
                return
            self._computed = True
            self._send(Computed(self._stream, self._samples, compute_s))
            self._flush()

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
            self._drop()
            self._changed.notify_all()
            if self._computed:
                self._end(Cancelled(self._stream))

    def _end(self, message: WorkerMessage) -> None:
        self._ended = True
        self._drop()
        self._send(message)
        self._forget(self._stream)

    def _flush(self) -> None:
        """Send what may be sent, and the last message if that was all."""
        if self._computed and not self._ended:
            self._end(Finished(self._stream))

    def _drop(self) -> None:
        """Send nothing of what waits."""


class TranscriptOutlet(Outlet):
    """The way out of what was understood: transcripts are few and small, and need no credit."""

    def take(self, samples: int) -> None:
        """The recogniser has begun to listen to so much more."""
        with self._changed:
            self._samples += samples
            if not self.cancelled:
                self._send(AudioTaken(self._stream, samples))

    def tell(self, transcript: Transcript, compute_s: float) -> None:
        """Send what was understood."""
        with self._changed:
            if not self.cancelled:
                self._send(Heard(self._stream, transcript, compute_s))
