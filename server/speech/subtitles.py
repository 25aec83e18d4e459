"""Subtitles: where each sentence and word stands in the task's text and in its audio.

Sentence times come from counting samples. Word times come from the model where it gives them;
other words are placed between these, or in the whole sentence, in proportion to how long they
take to say, and marked as estimated.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Protocol, TypeAlias

from models.base import WordTime
from server.speech.characters import QUARTERS, WORD_QUARTERS, Kind, classify
from server.speech.types import SentenceSubtitle, WordSubtitle

Span: TypeAlias = tuple[int, int]
"""First index and index after the last."""

_SINGLE = frozenset({Kind.HAN, Kind.KANA, Kind.KANA_TAIL})
_RUNS = {Kind.HANGUL: "hangul", Kind.LETTER: "word", Kind.DIGIT: "word"}
_PAUSE_UNITS = {
    **dict.fromkeys((Kind.END, Kind.BANG, Kind.DOT, Kind.NEWLINE), 1.5),
    **dict.fromkeys((Kind.CLAUSE, Kind.LIST, Kind.PAUSE, Kind.DASH), 0.8),
}
"""Pauses at marks, in the unit of `characters`: the time of one Han character."""
_MOST_PAUSE_UNITS = 2.0
_LEAST_UNIT_S = 0.05
"""Words that would get less time than this per unit must have been spoken within a neighbour."""
_CLOSERS = frozenset("”’）」』】》〉〕］｝»")
_TAG = re.compile(r"</?[a-z]+>")
"""Such as <strong>, for models that know it."""


class Sentence(Protocol):
    """What is spoken, and where it stands in the task's text: an `Utterance`."""

    @property
    def text(self) -> str:
        """The slice of the task's text."""

    @property
    def text_begin(self) -> int:
        """Where the slice begins in the task's text."""

    @property
    def spoken(self) -> str:
        """What the model gets."""

    def source_span(self, begin: int, end: int) -> Span:
        """Where `spoken[begin:end]` stands in the task's text."""


def split_words(text: str) -> list[Span]:
    """Find the words of a text, as spans of indices.

    A word is one Han or kana character, a run of Hangul, or a run of letters and digits of other
    scripts with what joins them (don't, 3.14, 50%). Punctuation, blanks and tags belong to none.
    """
    words: list[Span] = []
    begin = 0
    while begin < len(text):
        if (tag := _TAG.match(text, begin)) is not None:
            begin = tag.end()
            continue
        end = _word_end(text, begin)
        if end > begin:
            words.append((begin, end))
        begin = max(end, begin + 1)
    return words


def _word_end(text: str, begin: int) -> int:
    """Return where the word that begins here ends; `begin` if none does."""
    kind = classify(text[begin]).kind
    end = begin + 1
    if kind in _SINGLE:
        return _skip_marks(text, end)
    if kind not in _RUNS:
        return begin
    run = _RUNS[kind]
    while (end := _skip_marks(text, end)) < len(text):
        if _RUNS.get(classify(text[end]).kind) == run or _is_joint(text, end):
            end += 1
        else:
            break
    return end + 1 if text[end - 1].isdigit() and text[end : end + 1] in {"%", "％"} else end


def _skip_marks(text: str, end: int) -> int:
    while end < len(text) and classify(text[end]).kind is Kind.EXTEND:
        end += 1
    return end


def _is_joint(text: str, index: int) -> bool:
    """Tell whether the character joins its neighbours to one word: ' in don't, . in 3.14."""
    before, after = text[index - 1], text[index + 1 : index + 2]
    if text[index] in "'’":
        return before.isalpha() and after.isalpha() and classify(after).kind is Kind.LETTER
    return text[index] in ".,:/" and before.isdigit() and after.isdigit()


def _units(word: str) -> float:
    """Return how long a word takes to say, in Han characters."""
    quarters = sum(classify(char).quarters for char in word)
    has_letters = any(classify(char).kind is Kind.LETTER for char in word)
    return (quarters + WORD_QUARTERS * has_letters) / QUARTERS


@dataclass(slots=True)
class _Slot:
    """Some neighbouring words and the time that they share."""

    first: int
    last: int
    begin_s: float
    end_s: float
    known: bool = True

    def absorb(self, other: _Slot) -> None:
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.begin_s = min(self.begin_s, other.begin_s)
        self.end_s = max(self.end_s, other.end_s)


class SentenceTrack:
    """One sentence while it is synthesised and sent.

    What is shown is its slice of the text without blanks around it, and without closing quotes in
    front: the segmenter gives those to the next sentence, as they may come late.

    Args:
        sentence: text and indices.
        begin_s: where its audio begins.
    """

    def __init__(self, sentence: Sentence, *, begin_s: float) -> None:
        self._sentence = sentence
        self._begin_s = begin_s
        self._end_s = begin_s
        self._slots: list[_Slot] = []
        self._begin, self._end = _shown(sentence.text)

    @cached_property
    def _words(self) -> list[Span]:
        """Spans in `sentence.text` of the words that are spoken."""
        text = self._sentence.text
        words = [word for word in split_words(text) if word[0] >= self._begin]
        return [word for word in words if not self._heard.isdisjoint(range(*word))]

    @cached_property
    def _heard(self) -> frozenset[int]:
        """Indices in `sentence.text` of what the model gets: no tags, no address of a link."""
        span, first = self._sentence.source_span, self._sentence.text_begin
        heard = (range(*span(i, i + 1)) for i in range(len(self._sentence.spoken)))
        return frozenset(origin - first for origins in heard for origin in origins)

    def follow(self, sentence: Sentence) -> None:
        """Take note of more of the sentence's text; what was there stays as it is."""
        if sentence is not self._sentence:
            self._sentence = sentence
            self._begin, self._end = _shown(sentence.text)
            for known in ("_words", "_heard"):
                self.__dict__.pop(known, None)

    def add_words(self, words: Sequence[WordTime], time_scale: float) -> None:
        """Take word times of the model.

        Args:
            words: indices in what the model got, seconds from the first sample of its synthesis.
            time_scale: seconds of audio for one second of the model's.
        """
        for word in words:
            begin_s = self._begin_s + word.begin_s * time_scale
            end_s = self._begin_s + word.end_s * time_scale
            first, last = self._find(*self._sentence.source_span(word.text_begin, word.text_end))
            slot = _Slot(first, last, begin_s, max(begin_s, end_s))
            if last <= first:
                if self._slots:
                    self._slots[-1].end_s = max(self._slots[-1].end_s, slot.end_s)
                continue
            # A number is one word of the text and several of the speech; and "$5" is spoken in
            # another order.
            while self._slots and self._slots[-1].last > slot.first:
                slot.absorb(self._slots.pop())
            self._slots.append(slot)

    def end(self, end_s: float) -> None:
        """Take note of where the sentence's speech ends."""
        self._end_s = end_s

    def snapshot(self, end_s: float) -> SentenceSubtitle:
        """Return what is known of the sentence while `end_s` of the audio is there."""
        return self._subtitle(self._slots, end_s)

    def complete(self) -> SentenceSubtitle:
        """Return the sentence with all its words; call `end` before."""
        return self._subtitle(self._fill(), self._end_s)

    def _find(self, begin: int, end: int) -> Span:
        """Return which words a span of the task's text touches."""
        begin, end = begin - self._sentence.text_begin, end - self._sentence.text_begin
        first = bisect_right(self._words, begin, key=lambda word: word[1])
        last = first
        while last < len(self._words) and self._words[last][0] < end:
            last += 1
        return first, last

    def _fill(self) -> list[_Slot]:
        """Return slots for all words: the known ones, and rooms for what lies between them."""
        slots = [replace(slot) for slot in self._slots]
        rooms: list[_Slot] = []
        for i in range(len(slots) + 1):
            before = slots[i - 1] if i else None
            after = slots[i] if i < len(slots) else None
            begin_s = before.end_s if before else self._begin_s
            end_s = max(begin_s, after.begin_s if after else self._end_s)
            first, last = before.last if before else 0, after.first if after else len(self._words)
            room = _Slot(first, last, begin_s, end_s, known=False)
            neighbour = before or after
            if neighbour is None or self._is_roomy(room):
                rooms.append(room)
            else:
                neighbour.absorb(room)
        return sorted(slots + rooms, key=lambda slot: slot.first)

    def _is_roomy(self, room: _Slot) -> bool:
        words = [self._sentence.text[slice(*word)] for word in self._words[room.first : room.last]]
        return room.end_s - room.begin_s >= sum(map(_units, words)) * _LEAST_UNIT_S

    def _subtitle(self, slots: list[_Slot], end_s: float) -> SentenceSubtitle:
        words: list[WordSubtitle] = []
        for slot in slots:
            words.extend(self._divide(slot))
        text_begin = self._sentence.text_begin
        return SentenceSubtitle(
            text=self._sentence.text[self._begin : self._end],
            text_begin=text_begin + self._begin,
            text_end=text_begin + self._end,
            begin_s=self._begin_s,
            end_s=max(end_s, self._begin_s),
            words=tuple(_ordered(words, self._begin_s, max(end_s, self._begin_s))),
        )

    def _pause_units(self, begin: int, end: int) -> float:
        marks = (self._sentence.text[i] for i in range(begin, end) if i in self._heard)
        pauses = (_PAUSE_UNITS.get(classify(mark).kind, 0.0) for mark in marks)
        return min(_MOST_PAUSE_UNITS, sum(pauses))

    def _divide(self, slot: _Slot) -> list[WordSubtitle]:
        """Divide a slot's time among its words and the pauses between and around them."""
        text, words = self._sentence.text, self._words[slot.first : slot.last]
        if not words:
            return []
        around = [(0, self._begin), *words, (len(text), len(text))]
        if slot.first:
            around[0] = self._words[slot.first - 1]
        if slot.last < len(self._words):
            around[-1] = self._words[slot.last]
        pauses = [self._pause_units(end, begin) for (_, end), (begin, _) in pairwise(around)]
        if slot.known:
            pauses[0] = pauses[-1] = 0.0
        units = [_units(text[begin:end]) for begin, end in words]
        unit_s = (slot.end_s - slot.begin_s) / (sum(units) + sum(pauses))
        at_s, divided = slot.begin_s, []
        for (begin, end), pause, length in zip(words, pauses, units, strict=False):
            at_s += pause * unit_s
            subtitle = WordSubtitle(
                text=text[begin:end],
                text_begin=self._sentence.text_begin + begin,
                text_end=self._sentence.text_begin + end,
                begin_s=at_s,
                end_s=at_s + length * unit_s,
                estimated=not slot.known or len(words) > 1,
            )
            at_s = subtitle.end_s
            divided.append(subtitle)
        return divided


def _shown(text: str) -> Span:
    """Return the part of a segment that is shown."""
    begin = 0
    while begin < len(text) and (text[begin].isspace() or _closes(text, begin)):
        begin += 1
    return begin, max(begin, len(text.rstrip()))


def _closes(text: str, index: int) -> bool:
    """Tell a closing quote from the apostrophe of 'tis."""
    after = text[index + 1 : index + 2]
    return text[index] in _CLOSERS and not (
        text[index] == "’" and after.isascii() and after.isalpha()
    )


def _ordered(words: list[WordSubtitle], begin_s: float, end_s: float) -> Iterator[WordSubtitle]:
    """Keep the words within the sentence, and each from beginning before the last has ended."""
    at_s = begin_s
    for word in words:
        word_begin_s = min(max(word.begin_s, at_s), end_s)
        at_s = min(max(word.end_s, word_begin_s), end_s)
        yield replace(word, begin_s=word_begin_s, end_s=at_s)
