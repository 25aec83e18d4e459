"""What is written to what is spoken, segment by segment, with the way back for subtitles."""

from __future__ import annotations

import re
from collections.abc import Iterable

from server.speech.characters import is_speakable
from server.speech.marks import Marks
from server.speech.markup import MarkupCleaner
from server.speech.reading import measures, reader
from server.speech.spoken import EMPTY, SpokenText

__all__ = ["Normalizer", "SpokenText", "load"]

_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]")
_LEADING = re.compile(r"[\s。！？…；：，、”’）」』】》〉!?;:,)\]}]+(?=[^\s])")
"""Marks that close what an earlier segment said; a model may stumble over them or pause."""


def load() -> None:
    """Load the grammars of wetext (0.4 s), so that no first number has to wait for them.

    May be called from a thread. Without it, the first measure or Japanese number loads them.
    """
    measures.load()


class Normalizer:
    """Normalises one task's segments, in order, one call at a time, from any thread.

    Costs microseconds for plain text, tens of them with numbers or markup, and up to a
    millisecond for each measure and each number in Japanese (wetext).

    Args:
        language: BCP 47 tag of the voice. Numbers are put into words for Chinese, English and
            Japanese; other languages leave them to the model.
        clean_markup: leave out markdown, HTML, code, emoji and all but the host of addresses.
        expand: put numbers, symbols and names into words.
        keep_marks: `Capabilities.marks` of the model: these stay as they are. Other marks of
            sounds, such as `[laughter]`, count as markup.
    """

    __slots__ = ("_cleaner", "_language", "_marks")

    def __init__(
        self,
        *,
        language: str,
        clean_markup: bool = True,
        expand: bool = True,
        keep_marks: Iterable[str] = (),
    ) -> None:
        self._marks = Marks(keep_marks)
        self._cleaner = MarkupCleaner() if clean_markup else None
        self._language = reader.primary_language(language) if expand else None

    @property
    def is_hiding(self) -> bool:
        """What comes next is not spoken: code, or a model's reasoning."""
        return self._cleaner is not None and self._cleaner.is_hiding

    def normalize(self, text: str) -> SpokenText:
        """Return what is to be spoken of a segment, empty if nothing is."""
        spoken = SpokenText.identity(text).replace(_whole_characters(text))
        if self._marks:
            spoken = spoken.replace(self._marks.hide(spoken.text))
        if self._cleaner is not None:
            spoken = self._cleaner.clean(spoken)
        if self._language is not None:
            spoken = reader.read(spoken, self._language)
        spoken = _stripped(spoken)
        if not is_speakable(spoken.text) and not self._marks.sounds(spoken.text):
            return EMPTY
        return spoken.replace(self._marks.show(spoken.text)) if self._marks else spoken


def _whole_characters(text: str) -> list[tuple[int, int, str]]:
    """Join the halves of surrogate pairs, which UTF-8 cannot carry, and drop single ones."""
    return [(match.start(), match.end(), _joined(match[0])) for match in _SURROGATES.finditer(text)]


def _joined(halves: str) -> str:
    if len(halves) == 1:
        return ""
    return halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _stripped(spoken: SpokenText) -> SpokenText:
    text = spoken.text
    leading = _LEADING.match(text)
    begin = leading.end() if leading is not None else 0
    end = len(text.rstrip())
    if begin == 0 and end == len(text):
        return spoken
    return SpokenText(text[begin:end], spoken.origins[begin:end], spoken.ends[begin:end])
