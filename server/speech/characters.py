"""What a character means to the segmenter: its kind, how long it takes to say, what it clings to.

Lengths are in quarters of a unit; a unit is about the time of one Han character, a fifth of a
second. Ranges and categories are those of Unicode 14 (Python 3.11's `unicodedata`); the rules of
grapheme clusters are those of UAX #29, in the form that needs no character after the one asked.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

QUARTERS = 4
"""Quarters in a unit."""


class Kind(Enum):
    """What a character is to the segmenter."""

    HAN = auto()
    """A character that may stand at either side of a cut: Han and bopomofo."""
    KANA = auto()
    KANA_TAIL = auto()
    """Small kana and repetition marks: no line of Japanese starts with one."""
    HANGUL = auto()
    """Syllables; Korean has blanks between words."""
    LETTER = auto()
    """A letter of any other script."""
    DIGIT = auto()
    BLANK = auto()
    NEWLINE = auto()
    END = auto()
    """A full stop of a script that writes no number with it: nothing after it can change it."""
    CLAUSE = auto()
    """A comma, colon or semicolon of such a script."""
    LIST = auto()
    """The enumeration comma."""
    DOT = auto()
    BANG = auto()
    """ASCII ! and ?, which also stand in URLs and in runs."""
    PAUSE = auto()
    """ASCII comma, colon and semicolon."""
    DASH = auto()
    OPENER = auto()
    CLOSER = auto()
    """Closing quotes and brackets, and what markdown closes emphasis with."""
    EXTEND = auto()
    """Combining marks, joiners, variation selectors, skin tones."""
    LESS = auto()
    """The less-than sign, which may open a tag."""
    SYMBOL = auto()
    """A symbol that is read aloud."""
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Character:
    """A character's kind and length."""

    kind: Kind
    quarters: int


_KINDS_BY_CHARACTER: dict[str, Kind] = {
    **dict.fromkeys("。｡！？…।॥؟۔։።", Kind.END),
    **dict.fromkeys("，；：،؛", Kind.CLAUSE),
    **dict.fromkeys("、､", Kind.LIST),
    **dict.fromkeys(".．", Kind.DOT),
    **dict.fromkeys("!?‼⁇⁈⁉", Kind.BANG),
    **dict.fromkeys(",:;", Kind.PAUSE),
    **dict.fromkeys("–—―～〜", Kind.DASH),
    **dict.fromkeys("（「『【《〈〔［｛“‘«([{", Kind.OPENER),
    **dict.fromkeys("）」』】》〉〕］｝”’»)]}\"'*_~`", Kind.CLOSER),
    **dict.fromkeys("\n\v\f\x1c\x1d\x1e\x85\u2028\u2029", Kind.NEWLINE),
    **dict.fromkeys("ーｰ々〻ゝゞヽヾぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ", Kind.KANA_TAIL),
    **dict.fromkeys("\N{THAI CHARACTER SARA AM}\N{LAO VOWEL SIGN AM}ﾞﾟ", Kind.EXTEND),
    **dict.fromkeys("%‰&@°℃℉№％＆＠", Kind.SYMBOL),
    "<": Kind.LESS,
}

_RANGES: tuple[tuple[int, int, Kind], ...] = (
    (0x3041, 0x30FF, Kind.KANA),
    (0x3100, 0x312F, Kind.HAN),
    (0x31A0, 0x31BF, Kind.HAN),
    (0x31F0, 0x31FF, Kind.KANA_TAIL),
    (0x3400, 0x4DBF, Kind.HAN),
    (0x4E00, 0x9FFF, Kind.HAN),
    (0xAC00, 0xD7A3, Kind.HANGUL),
    (0xF900, 0xFAFF, Kind.HAN),
    (0xFF66, 0xFF9D, Kind.KANA),
    (0x20000, 0x323AF, Kind.HAN),
)

_QUARTERS = {
    Kind.HAN: 4,
    Kind.HANGUL: 4,
    Kind.KANA: 2,
    Kind.KANA_TAIL: 2,
    Kind.LETTER: 1,
    Kind.DIGIT: 4,
    Kind.SYMBOL: 4,
}

WORD_QUARTERS = 2
"""Added for the first letter of a word: a word of five letters comes to 1.75 units."""


@lru_cache(maxsize=8192)
def classify(char: str) -> Character:
    """Return the kind and the length of one character."""
    kind = _kind(char)
    return Character(kind, _QUARTERS.get(kind, 0))


def _kind(char: str) -> Kind:
    known = _KINDS_BY_CHARACTER.get(char)
    if known is not None:
        return known
    code = ord(char)
    category = unicodedata.category(char)
    if category[0] in "LN":
        for first, last, kind in _RANGES:
            if first <= code <= last:
                return kind
        return Kind.LETTER if category[0] == "L" else Kind.DIGIT
    if category[0] == "M" or category == "Cf" or "\U0001f3fb" <= char <= "\U0001f3ff":
        return Kind.EXTEND
    if category == "Zs" or char in "\t\r":
        return Kind.BLANK
    return Kind.SYMBOL if category == "Sc" else Kind.OTHER


def is_speakable(text: str) -> bool:
    """Tell whether there is anything to say: a letter, a digit or a symbol that is read aloud."""
    return any(classify(char).quarters for char in text)


ZWJ = "\N{ZERO WIDTH JOINER}"
_VIRAMA_CLASS = 9


def is_grapheme_boundary(text: str, index: int, begin: int = 0) -> bool:
    """Tell whether `text` may be cut before `text[index]` without tearing a grapheme cluster.

    Args:
        text: code points; the two halves of a surrogate pair may stand alone in it.
        index: `begin` < `index` < len(text).
        begin: nothing before it is looked at.
    """
    before, after = text[index - 1], text[index]
    kind = classify(after).kind
    if kind is Kind.EXTEND or (before == "\r" and after == "\n"):
        return False
    if before == ZWJ or unicodedata.combining(before) == _VIRAMA_CLASS:
        return kind not in (Kind.LETTER, Kind.OTHER)
    if "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff":
        return False
    if _is_jamo_joined(before, after):
        return False
    return not (_is_regional(after) and _regional_run(text, index, begin) % 2)


def _is_jamo_joined(before: str, after: str) -> bool:
    is_leading = "\u1100" <= before <= "\u115f" or "\ua960" <= before <= "\ua97c"
    if "\u1160" <= after <= "\u11ff" or "\ud7b0" <= after <= "\ud7fb":
        return is_leading or "\u1160" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7fb"
    return is_leading and ("\u1100" <= after <= "\u115f" or "\uac00" <= after <= "\ud7a3")


def _is_regional(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _regional_run(text: str, index: int, begin: int) -> int:
    start = index
    while start > begin and _is_regional(text[start - 1]):
        start -= 1
    return index - start
