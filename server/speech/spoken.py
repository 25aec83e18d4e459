"""Text on its way from what is written to what is spoken, with the way back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpokenText:
    """What is spoken, and where in the source each of its characters comes from.

    A passage that was rewritten ("25℃") is a block: all characters of what is said for it have
    the span of the whole passage. A pause that stands for nothing has an empty span.
    """

    text: str
    origins: tuple[int, ...]
    """For each character of `text`, where its source begins; never falls."""
    ends: tuple[int, ...]
    """For each character of `text`, where its source ends; never falls."""

    @classmethod
    def identity(cls, text: str) -> SpokenText:
        """Text that is spoken as it is written."""
        return cls(text, tuple(range(len(text))), tuple(range(1, len(text) + 1)))

    def source_span(self, begin: int, end: int) -> tuple[int, int]:
        """Return the slice of the source that `text[begin:end]` was made from."""
        if begin < end:
            return self.origins[begin], self.ends[end - 1]
        place = self._place(begin)
        return place, place

    def replace(self, edits: Iterable[tuple[int, int, str]]) -> SpokenText:
        """Return the text with `text[begin:end]` replaced, for each edit `(begin, end, new)`.

        Edits are in order and do not overlap. What an edit leaves alone at its beginning and at
        its end keeps its own origin.
        """
        texts: list[str] = []
        origins: list[int] = []
        ends: list[int] = []
        done = 0
        for begin, end, new in edits:
            begin, end, new = self._narrowed(begin, end, new)  # noqa: PLW2901 - the same edit
            texts += (self.text[done:begin], new)
            origins += self.origins[done:begin]
            ends += self.ends[done:begin]
            first, last = self.source_span(begin, end)
            origins += (first,) * len(new)
            ends += (last,) * len(new)
            done = end
        if not texts:
            return self
        texts.append(self.text[done:])
        origins += self.origins[done:]
        ends += self.ends[done:]
        return SpokenText("".join(texts), tuple(origins), tuple(ends))

    def _narrowed(self, begin: int, end: int, new: str) -> tuple[int, int, str]:
        old = self.text[begin:end]
        most = min(len(old), len(new))
        lead = 0
        while lead < most and old[lead] == new[lead]:
            lead += 1
        tail = 0
        while tail < most - lead and old[-1 - tail] == new[-1 - tail]:
            tail += 1
        return begin + lead, end - tail, new[lead : len(new) - tail]

    def _place(self, index: int) -> int:
        if index:
            return self.ends[index - 1]
        return self.origins[0] if self.origins else 0


EMPTY = SpokenText("", (), ())
"""Nothing to be spoken."""
