"""The figures of one task while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.pool.pool import PoolStream
from server.speech.types import SessionSummary


@dataclass(slots=True)
class Tally:
    """Collects what a `SessionSummary` says. Times are readings of one monotonic clock."""

    sentences: int = 0
    characters: int = 0
    audio_bytes: int = 0
    first_text_s: float | None = None
    first_ready_s: float | None = None
    first_audio_s: float | None = None
    model_first_chunk_s: float | None = None
    queue_wait_s: float = 0.0
    synthesis_s: float = 0.0

    def text_came(self, text: str, now_s: float) -> None:
        """A piece of text was taken."""
        self.characters += len(text)
        if self.first_text_s is None:
            self.first_text_s = now_s

    def text_ready(self, now_s: float) -> None:
        """Something can be spoken, all of it."""
        if self.first_ready_s is None:
            self.first_ready_s = now_s

    def audio_left(self, data: bytes, clock: Callable[[], float]) -> None:
        """A frame leaves now. A sentence that is still being written was not waited for."""
        self.audio_bytes += len(data)
        if self.first_audio_s is None:
            self.first_audio_s = clock()
            self.text_ready(self.first_audio_s)

    def stream_ended(self, stream: PoolStream) -> None:
        """A sentence was synthesised, or stopped."""
        self.queue_wait_s += stream.queue_wait_s or 0.0
        self.synthesis_s += stream.compute_s or 0.0
        if self.model_first_chunk_s is None:
            self.model_first_chunk_s = stream.model_first_chunk_s

    def summary(self, audio_s: float, underruns: int) -> SessionSummary:
        """All of it, for a file that is so long by now."""
        return SessionSummary(
            sentences=self.sentences,
            characters=self.characters,
            audio_s=audio_s,
            audio_bytes=self.audio_bytes,
            first_audio_s=_between(self.first_text_s, self.first_audio_s),
            text_wait_s=_between(self.first_text_s, self.first_ready_s) or 0.0,
            model_first_chunk_s=self.model_first_chunk_s,
            queue_wait_s=self.queue_wait_s,
            synthesis_s=self.synthesis_s,
            underruns=underruns,
        )


def _between(begin_s: float | None, end_s: float | None) -> float | None:
    return None if begin_s is None or end_s is None else end_s - begin_s
