"""What is spoken in one go, and where in the task's text it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from server.speech.types import Prosody


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A sentence (or a first clause) that is synthesised at once, or its beginning."""

    text: str
    """The slice of the task's text, as the client wrote it."""
    text_begin: int
    text_end: int
    spoken: str
    """What the model gets; empty if there is nothing to say."""
    origins: Sequence[int] = ()
    """For each character of `spoken`, where its source in the task's text begins."""
    ends: Sequence[int] = ()
    """For each character of `spoken`, where its source ends."""
    pause_s: float = 0.0
    """Silence after it."""
    prosody: Prosody = field(default_factory=Prosody)
    """What its SSML asks for, on top of the task's own."""
    instruction: str = ""
    """How its SSML asks for it to be said, instead of the task's instruction."""
    announced: bool = True
    """The client is told of it as a sentence; False for a mere pause."""

    def source_span(self, begin: int, end: int) -> tuple[int, int]:
        """Where `spoken[begin:end]` stands in the task's text."""
        if begin < min(end, len(self.origins)):
            return self.origins[begin], self.ends[min(end, len(self.ends)) - 1]
        place = self.origins[begin] if begin < len(self.origins) else self.text_end
        return place, place
