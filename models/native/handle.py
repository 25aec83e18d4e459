"""A session as its stream has it: text goes in, sound comes out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence

from models.base import Samples
from models.cosyvoice.guards import BadSegmentError
from models.native.inbox import AppendText, Cancel, EndText, Inbox


class SessionHandle:
    """Made by `Engine.submit`. One thread takes its chunks; another may give it text.

    Args:
        inbox: the engine's.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._changed = threading.Condition()
        self._chunks: deque[Samples] = deque()
        self._queued_samples = 0
        self._heard = False
        self._ended = False
        self._cancelled = False
        self._error: BaseException | None = None

    # --- The stream's threads --------------------------------------------------------------

    def append_text(self, text: str, ids: Sequence[int]) -> None:
        """Give it (more) text.

        Args:
            text: what is to be said, for the guards.
            ids: its tokens.
        """
        self._inbox.put(AppendText(self, text, ids))

    def end_text(self, error: BaseException | None = None) -> None:
        """No more text comes.

        Args:
            error: why, if it is broken off; ends the session.
        """
        self._inbox.put(EndText(self, error))

    def cancel(self) -> None:
        """Stop the work for it at the engine's next step; what it still makes is dropped."""
        with self._changed:
            if self._ended or self._cancelled:
                return
            self._cancelled = True
            self._chunks.clear()
            self._changed.notify_all()
        self._inbox.put(Cancel(self))

    def chunks(self) -> Generator[Samples, None, None]:
        """What is spoken, in pieces of shape (n_samples,). Closing it cancels the session.

        Raises:
            BadSegmentError: the speech went wrong, or its rest did.
            ModelError: it could not be computed.
        """
        try:
            while (samples := self._next()) is not None:
                self._inbox.wake()
                yield samples
        finally:
            self.cancel()

    def _next(self) -> Samples | None:
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._ended or self._cancelled)
            if self._chunks:
                samples = self._chunks.popleft()
                self._queued_samples -= len(samples)
                self._heard = True
                return samples
            if self._error is not None:
                raise self._error
            return None

    # --- The engine's thread ---------------------------------------------------------------

    @property
    def queued_samples(self) -> int:
        """So many wait to be taken."""
        return self._queued_samples

    def put(self, samples: Samples) -> None:
        """Queue a chunk."""
        with self._changed:
            if not self._cancelled:
                self._chunks.append(samples)
                self._queued_samples += len(samples)
                self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing follows what is queued.

        Args:
            error: raised behind it. Speech that went wrong before any of it was heard is not worth
                hearing, because it can be tried again.
        """
        with self._changed:
            if isinstance(error, BadSegmentError) and not self._heard:
                self._chunks.clear()
            self._error = error
            self._ended = True
            self._changed.notify_all()
