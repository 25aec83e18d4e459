"""Streamed text to segments that can be spoken one by one.

Pure and synchronous, without a clock: the session decides when a pause is a pause and calls
`flush`. Where a segment ends is a function of the text alone, never of how it was cut into
pieces: a character is read once, in order, and only when as much of the text after it is known as
the decision needs (one character, for "No. " two; none for the marks of Chinese and Japanese).

What is decided, in the order of the reading:

* The first segment, and the first after a flush, is urgent, since somebody waits in silence: it
  ends at the first comma-like mark that leaves a little over a second's worth of text, or at the
  end of a sentence that is a little longer than "好。" or "Yes."; those two wait for the next
  clause, as half a second of sound buys nothing and short texts make models stumble. The segment
  after it may end at a clause as well, but a longer one: a slow language model may not finish its
  sentence while the first clause is heard.
* Later segments are whole sentences. A short one is joined to the next, which costs nothing,
  because earlier audio is still being played.
* A sentence that grows too long is cut at its last clause mark, else at its last list mark or
  dash, else at its last blank, else between two Han or kana characters. A token that has none of
  these (an address, a run of digits) may grow to twice that, and is then cut between graphemes.
* Closing quotes after a Chinese full stop begin the next segment, since waiting for them would
  mean waiting for the client. Marks and blanks alone are never a segment before the text ends
  (unless there are a thousand of them).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from server.speech.boundaries import Mark, MarkReader
from server.speech.characters import (
    QUARTERS,
    WORD_QUARTERS,
    Character,
    Kind,
    classify,
    is_grapheme_boundary,
    is_speakable,
)

__all__ = ["Segment", "Segmenter", "SegmenterOptions", "is_speakable"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A slice of the task's text: `text == task_text[begin:end]`, in code points."""

    text: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmenterOptions:
    """Lengths in units: a Han character, a Hangul syllable or a digit is 1, a kana 0.5, a letter
    of another script 0.25 and 0.5 more for the first of a word; marks, blanks and emoji are 0.

    A unit is about a fifth of a second of speech.
    """  # noqa: D205

    clause_units: tuple[float, ...] = (4.0, 12.0)
    """The least of the first, second ... segment that ends at a clause mark; segments after these
    end at sentences. Four units are 0.9 s of audio, in which a language model of 30 tokens per
    second writes 40 characters, one of 10 tokens per second a dozen."""
    first_sentence_units: float = 2.0
    """The least of a first segment that ends at a sentence: "你好。" goes out, "好。" does not."""
    sentence_units: float = 6.0
    """The least of a later one: about a second, below which models get unsteady."""
    first_units: float = 30.0
    """The most of a first segment: about a second's text of a slow language model."""
    units: float = 60.0
    """The most of a later one: 13 s of speech, the piece for which CosyVoice is made."""
    token_units: float = 120.0
    """The most of a text with no place to cut it, such as a long address."""
    characters: int = 1000
    """The most of anything, for text without length such as blanks or emoji."""

    def __post_init__(self) -> None:
        lengths = (self.first_sentence_units, self.sentence_units, self.first_units, self.units)
        if min(*lengths, *self.clause_units, self.token_units, self.characters) <= 0:
            raise ValueError("every length must be positive")


_STRONG, _WEAK, _SPACE, _TIGHT = range(4)
"""Places at which a long sentence may be cut, best first."""

_DEFAULT_OPTIONS = SegmenterOptions()
_WORD = frozenset({Kind.LETTER, Kind.EXTEND})
_IDEOGRAPHIC = frozenset({Kind.HAN, Kind.KANA})
_NOT_BEFORE_CUT_BLANK = frozenset({Kind.BLANK, Kind.NEWLINE, Kind.DIGIT, Kind.DOT})
_START = Character(Kind.NEWLINE, 0)


class Segmenter:
    """Cuts one task's text. Costs a few microseconds per call and one per character."""

    def __init__(self, options: SegmenterOptions = _DEFAULT_OPTIONS) -> None:
        self._options = options
        self._marks = MarkReader()
        self._text = ""
        self._base = 0
        self._begin = 0
        self._kept = 0
        self._at = 0
        self._turn = 0
        self._quarters = 0
        self._begin_quarters = 0
        self._previous = _START
        self._places = [(0, 0)] * 4

    @property
    def pending(self) -> str:
        """The text that no segment holds yet."""
        return self._text[self._begin - self._base :]

    def keep(self, n_characters: int) -> Segment:
        """Return the first characters of the pending text, and let no segment end within them.

        They are being spoken. This only matters to a sentence that grows too long, which then is
        cut at a later place.
        """
        self._kept = self._begin + n_characters
        return Segment(self.pending[:n_characters], self._begin, self._kept)

    def feed(self, text: str) -> list[Segment]:
        """Take the next piece of the text and return the segments that are complete now."""
        self._text += text
        return list(self._scan(final=False))

    def flush(self) -> list[Segment]:
        """Return all pending text, because the client pauses or asks for it.

        Marks and blanks alone stay pending. The next segment counts as first again: who pauses
        waits for sound.
        """
        segments = list(self._scan(final=True))
        if is_speakable(self.pending):
            segments.append(self._cut(self._at, self._quarters))
        self._compact()
        self._turn = 0
        return segments

    def finish(self) -> list[Segment]:
        """Return the rest of the text, speakable or not; nothing may be fed after it."""
        segments = self.flush()
        if self.pending:
            segments.append(self._cut(self._at, self._quarters))
            self._compact()
        return segments

    def expedite(self) -> None:
        """Count the next segment as first: nothing has been heard yet, because all segments so
        far came to nothing (code, a model's reasoning).
        """  # noqa: D205
        self._turn = 0

    def _scan(self, *, final: bool) -> Iterator[Segment]:
        while (index := self._at - self._base) < len(self._text):
            was_in_tag = self._marks.in_tag
            begin = self._begin - self._base
            mark = self._marks.read(self._text, begin, index, final=final)
            if mark is Mark.WAIT:
                break
            self._take(classify(self._text[index]), is_in_tag=was_in_tag and self._marks.in_tag)
            if self._is_too_long():
                yield from self._shorten()
            self._at += 1
            if mark is not Mark.NONE:
                if self._is_complete(mark):
                    yield self._cut(self._at, self._quarters)
                else:
                    place = _WEAK if mark is Mark.WEAK else _STRONG
                    self._places[place] = (self._at, self._quarters)
        self._compact()

    def _take(self, char: Character, *, is_in_tag: bool) -> None:
        """Add a character's length; note whether a long sentence may be cut before it."""
        kind, before = char.kind, self._previous.kind
        self._previous = char
        if is_in_tag:
            return
        if kind is Kind.BLANK:
            if before not in _NOT_BEFORE_CUT_BLANK:
                self._places[_SPACE] = (self._at, self._quarters)
            return
        if _is_tight_place(before, kind):
            self._places[_TIGHT] = (self._at, self._quarters)
        self._quarters += char.quarters
        if kind is Kind.LETTER and before not in _WORD:
            self._quarters += WORD_QUARTERS

    def _is_complete(self, mark: Mark) -> bool:
        options = self._options
        units = (self._quarters - self._begin_quarters) / QUARTERS
        if mark is Mark.SENTENCE:
            least = options.sentence_units if self._turn else options.first_sentence_units
            return units >= least
        if mark is Mark.CLAUSE and self._turn < len(options.clause_units):
            return units >= options.clause_units[self._turn]
        return False

    def _is_too_long(self) -> bool:
        options = self._options
        most = options.units if self._turn else options.first_units
        return (
            self._quarters - self._begin_quarters > most * QUARTERS
            or self._at - self._begin >= options.characters
        )

    def _shorten(self) -> Iterator[Segment]:
        """Cut before the character at hand, as often as it takes."""
        while self._is_too_long():
            place = self._best_place()
            if place is None:
                if not self._is_monster():
                    return
                place = self._grapheme_place()
            yield self._cut(*place)

    def _best_place(self) -> tuple[int, int] | None:
        least_mark = self._begin_quarters + int(self._options.first_sentence_units * QUARTERS)
        for kind, (at, quarters) in enumerate(self._places):
            least = least_mark if kind <= _WEAK else self._begin_quarters + 1
            if at > self._begin and at >= self._kept and quarters >= least:
                return at, quarters
        return None

    def _is_monster(self) -> bool:
        options = self._options
        quarters = self._quarters - self._begin_quarters
        length = self._at - self._begin
        return quarters > options.token_units * QUARTERS or length >= options.characters

    def _grapheme_place(self) -> tuple[int, int]:
        begin, index = self._begin - self._base, self._at - self._base
        while index > begin + 1 and not is_grapheme_boundary(self._text, index, begin):
            index -= 1
        if index == begin + 1 and not is_grapheme_boundary(self._text, index, begin):
            index = self._at - self._base
        at_hand = classify(self._text[self._at - self._base])
        return max(index + self._base, self._kept), self._quarters - at_hand.quarters

    def _cut(self, end: int, quarters: int) -> Segment:
        begin = self._begin
        self._begin, self._begin_quarters = end, quarters
        self._turn += 1
        return Segment(self._text[begin - self._base : end - self._base], begin, end)

    def _compact(self) -> None:
        if self._begin > self._base:
            self._text = self._text[self._begin - self._base :]
            self._base = self._begin


def _is_tight_place(before: Kind, after: Kind) -> bool:
    """Tell whether a cut between two characters tears no word but a Chinese or Japanese one."""
    if after in _IDEOGRAPHIC:
        return before in _IDEOGRAPHIC or before in (Kind.KANA_TAIL, Kind.LETTER)
    is_ideographic = before in _IDEOGRAPHIC or before is Kind.KANA_TAIL
    return is_ideographic and after in (Kind.LETTER, Kind.DIGIT, Kind.OPENER, Kind.LESS)
