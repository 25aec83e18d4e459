"""What an SSML document consists of: text to be spoken, pauses and ends of sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class SpokenSpan:
    """Text that is spoken, and where it stands in the SSML."""

    text: str
    source_begin: int
    source_end: int
    origins: tuple[int, ...]
    """For each character of `text`, where its source begins. A passage that was rewritten is one
    block: all its characters have the span of the whole passage."""
    ends: tuple[int, ...]
    """For each character of `text`, where its source ends."""
    verbatim: bool = False
    """Already as it is spoken: no normaliser must touch it."""
    phonemes: str = ""
    """Pronunciation of `text`, as the writer gave it."""
    alphabet: str = ""
    """Of `phonemes`: `py` for pinyin, `cmu` for English."""
    instruction: str = ""
    """How it is to be said, in words, such as `very happy`; empty for as usual."""


@dataclass(frozen=True, slots=True)
class BreakSpan:
    """A pause."""

    seconds: float
    source_begin: int
    source_end: int


@dataclass(frozen=True, slots=True)
class SentenceEnd:
    """A sentence ends here, whatever its marks say."""

    source_begin: int
    source_end: int


SsmlSpan: TypeAlias = SpokenSpan | BreakSpan | SentenceEnd


class Passage:
    """Text that is being put together, with its sources."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.origins: list[int] = []
        self.ends: list[int] = []

    def add(self, text: str, begin: int, end: int) -> None:
        """Append text from one place; what is as long as its source comes from it one by one."""
        if len(text) == end - begin:
            self.text += text
            self.origins += range(begin, end)
            self.ends += range(begin + 1, end + 1)
        else:
            self.add_block(text, begin, end)

    def add_block(self, text: str, begin: int, end: int) -> None:
        """Append text that stands for a whole passage."""
        self.text += text
        self.origins += [begin] * len(text)
        self.ends += [end] * len(text)

    def add_run(self, run: Passage) -> None:
        """Append what another run holds."""
        self.text += run.text
        self.origins += run.origins
        self.ends += run.ends

    def span(self) -> SpokenSpan:
        """Make a span in which white space is one blank, or a line's end for more than one."""
        run, done = Passage(), 0
        for blank in re.finditer(r"[ \t\r\n]+", "".join(self.text)):
            run.add_run(self._slice(done, blank.start()))
            mark = "\n" if blank[0].count("\n") > 1 else " "
            run.add_block(mark, self.origins[blank.start()], self.ends[blank.end() - 1])
            done = blank.end()
        run.add_run(self._slice(done, len(self.text)))
        origins, ends = tuple(run.origins), tuple(run.ends)
        return SpokenSpan("".join(run.text), origins[0], ends[-1], origins, ends)

    def _slice(self, begin: int, end: int) -> Passage:
        part = Passage()
        part.text, part.origins = self.text[begin:end], self.origins[begin:end]
        part.ends = self.ends[begin:end]
        return part
