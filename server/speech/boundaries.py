"""Where a sentence or a clause ends, read character by character.

A mark of Chinese or Japanese is definite: it is reported without a look at what follows, because
a client that sends "今天天气很好。" and waits must be answered. An ASCII mark may be part of a
number, a name or an address, so it is reported only when the next character is known (for one
case, "No. 5", the next two). Never does an answer depend on where a piece of the text ended.
"""

from __future__ import annotations

from enum import Enum, auto

from server.speech.characters import ZWJ, Kind, classify


class Mark(Enum):
    """What ends after a character."""

    WAIT = auto()
    """Not to be told before more text, or the end of it, is there."""
    NONE = auto()
    WEAK = auto()
    """An item of a list, a dash: only good enough where a sentence is too long."""
    CLAUSE = auto()
    SENTENCE = auto()


_ABBREVIATIONS = (
    "mr mrs ms mx dr prof st jr sr rev hon gen sen gov pres capt cpt lt col maj sgt cmdr vs etc cf "
    "al approx dept univ assn bros inc ltd co corp fig figs vol eds pp tel ext mt ft ave blvd rd "
    "apt jan feb mar apr jun jul aug sep sept oct nov dec ph.d m.sc b.sc"
)
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
"""English words after which a dot is not taken for the end of a sentence. Some may well end one
("etc."); then two sentences become one segment, which is the smaller fault. Words that are more
often just words ("sat.", "sun.") are left out."""

NUMBER_ABBREVIATIONS = frozenset(("no", "nos", "nr"))
"""Words that are abbreviations before a digit only: "No. 5" but "No. That is wrong."""

LOOKBACK_CHARACTERS = 12
"""As far back as a dot looks for its word, so that the work per character is bounded."""
MAX_TAG_CHARACTERS = 256
"""What has not been closed by then was not a tag."""
_MAX_ITEM_DIGITS = 3

_DEFINITE = {
    Kind.END: Mark.SENTENCE,
    Kind.NEWLINE: Mark.SENTENCE,
    Kind.CLAUSE: Mark.CLAUSE,
    Kind.LIST: Mark.WEAK,
}
_BREAKING = frozenset(
    {Kind.HAN, Kind.KANA, Kind.KANA_TAIL, Kind.HANGUL, Kind.BLANK, Kind.NEWLINE, Kind.CLAUSE}
    | {Kind.LIST, Kind.DASH, Kind.LESS}
)
"""What, after an ASCII mark, makes it a mark."""
_CLOSING = frozenset({Kind.CLOSER, Kind.EXTEND})
_ENDS = frozenset({Kind.DOT, Kind.BANG, Kind.END})


class MarkReader:
    """Reads a text once, from its beginning, and keeps what it must know of the past."""

    __slots__ = ("_closing", "_tag_characters", "_tag_quote")

    def __init__(self) -> None:
        self._closing = Mark.NONE
        self._tag_characters = 0
        self._tag_quote = ""

    @property
    def in_tag(self) -> bool:
        """Whether the text read so far ends inside `<...`."""
        return self._tag_characters > 0

    def read(self, text: str, begin: int, at: int, *, final: bool) -> Mark:
        """Tell what ends after `text[at]`.

        To be called with `at` rising by one; after `Mark.WAIT` with the same `at` again.

        Args:
            text: the text, or a part of it that holds the segment.
            begin: where the current segment begins; nothing before it is looked at.
            at: the character asked about.
            final: nothing will follow `text`, or the client has paused.
        """
        kind = classify(text[at]).kind
        if self._tag_characters and self._stays_in_tag(text[at], kind):
            return Mark.NONE
        if kind in _DEFINITE and not (kind is Kind.CLAUSE and _follows_digit(text, begin, at)):
            self._closing = Mark.NONE
            return _DEFINITE[kind]
        is_idle_closer = kind in _CLOSING and self._closing is Mark.NONE
        if kind not in _LOOKING or is_idle_closer or text[at] == ZWJ:
            self._closing = Mark.NONE
            return Mark.NONE
        if at + 1 == len(text) and not final:
            return Mark.WAIT
        following = text[at + 1 : at + 2]
        if kind in _CLOSING:
            return self._after_closer(following)
        return self._after_mark(text, begin, at, following, final=final)

    def _after_mark(self, text: str, begin: int, at: int, following: str, *, final: bool) -> Mark:
        kind = classify(text[at]).kind
        self._closing = Mark.NONE
        if kind is Kind.LESS:
            self._tag_characters = int(following == "/" or _is_ascii_letter(following))
            return Mark.NONE
        if kind in (Kind.DASH, Kind.CLAUSE):
            is_inside = following and classify(following).kind in (Kind.DIGIT, Kind.DASH)
            return Mark.NONE if is_inside else _MARKS[kind]
        if kind is Kind.DOT:
            ends = _ends_sentence(text, begin, at, final=final)
            if ends is None:
                return Mark.WAIT
            if not ends:
                return Mark.NONE
        self._closing = _MARKS[kind]
        return self._after_closer(following)

    def _after_closer(self, following: str) -> Mark:
        """Report the mark that is open, keep it open, or forget it."""
        if following and classify(following).kind in _CLOSING:
            return Mark.NONE
        mark, self._closing = self._closing, Mark.NONE
        return mark if _is_break(following) else Mark.NONE

    def _stays_in_tag(self, char: str, kind: Kind) -> bool:
        self._tag_characters += 1
        if kind is Kind.NEWLINE or self._tag_characters > MAX_TAG_CHARACTERS:
            self._tag_characters, self._tag_quote = 0, ""
            return False
        if self._tag_quote:
            if char == self._tag_quote:
                self._tag_quote = ""
            return True
        if char == ">":
            self._tag_characters = 0
            return True
        if char in "\"'":
            self._tag_quote = char
            return True
        if char.isascii() and (char.isalnum() or char in " \t-_=/:"):
            return True
        self._tag_characters = 0
        return False


_MARKS = {
    Kind.DOT: Mark.SENTENCE,
    Kind.BANG: Mark.SENTENCE,
    Kind.PAUSE: Mark.CLAUSE,
    Kind.CLAUSE: Mark.CLAUSE,
    Kind.DASH: Mark.WEAK,
}
_LOOKING = frozenset(_MARKS) | _CLOSING | {Kind.LESS}


def _is_break(following: str) -> bool:
    if not following:
        return True
    kind = classify(following).kind
    if kind in _BREAKING:
        return True
    return not following.isascii() and kind in (Kind.OPENER, Kind.OTHER)


def _follows_digit(text: str, begin: int, at: int) -> bool:
    return at > begin and classify(text[at - 1]).kind is Kind.DIGIT


def _is_ascii_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()


def _ends_sentence(text: str, begin: int, at: int, *, final: bool) -> bool | None:
    """Tell whether the dot at `at` can end a sentence, None if two characters more are needed."""
    before = text[at - 1] if at > begin else ""
    if before == ".":
        return True
    if before.isascii() and before.isdigit():
        return not _is_list_item(text, begin, at)
    start = at
    while start > max(begin, at - LOOKBACK_CHARACTERS) and (
        _is_ascii_letter(text[start - 1]) or text[start - 1] == "."
    ):
        start -= 1
    word = text[start:at].lower()
    if word in NUMBER_ABBREVIATIONS and text[at + 1 : at + 2] == " ":
        if at + 2 == len(text) and not final:
            return None
        return not text[at + 2 : at + 3].isdecimal()
    return not (word in ABBREVIATIONS or _is_initials(word))


def _is_initials(word: str) -> bool:
    """Tell single letters with dots between ("j", "u.s", "e.g", "p.m") from words."""
    return bool(word) and all(len(part) == 1 for part in word.split("."))


def _is_list_item(text: str, begin: int, at: int) -> bool:
    """Tell "1." at the start of a line or of a sentence from a number that ends one."""
    start = at
    while start > begin and text[start - 1].isdecimal():
        if at - start == _MAX_ITEM_DIGITS:
            return False
        start -= 1
    least = max(begin, start - LOOKBACK_CHARACTERS)
    while start > least and classify(text[start - 1]).kind is Kind.BLANK:
        start -= 1
    if start == begin:
        return True
    return classify(text[start - 1]).kind in (_ENDS | {Kind.NEWLINE, Kind.CLAUSE, Kind.PAUSE})
