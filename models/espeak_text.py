"""From any text to passages that the library can read: cleaned, and divided by script.

A passage is in one language and at most `MAX_PASSAGE_CHARACTERS` long. Its characters know where
they came from, so that word times can point into the text as it was given.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from models.espeak_voices import Language

MAX_PASSAGE_CHARACTERS = 300
"""About a minute of Chinese. Bounds what is computed before another stream has its turn."""
MAX_CLAUSE_CHARACTERS = 120
"""The library drops what exceeds 1000 phonemes in a clause; a numeral may have 7 of them."""

_MAX_CLUSTER_CHARACTERS = 5

_CJK = frozenset({"Han", "Kana", "Bopomofo"})
_SCRIPTS = {
    "LATIN": "Latin",
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
    "BOPOMOFO": "Bopomofo",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
    "KATAKANA-HIRAGANA": "Kana",
    "HANGUL": "Hangul",
    "CYRILLIC": "Cyrillic",
    "GREEK": "Greek",
    "HEBREW": "Hebrew",
    "ARABIC": "Arabic",
    "DEVANAGARI": "Devanagari",
    "BENGALI": "Bengali",
    "GURMUKHI": "Gurmukhi",
    "GUJARATI": "Gujarati",
    "ORIYA": "Oriya",
    "TAMIL": "Tamil",
    "TELUGU": "Telugu",
    "KANNADA": "Kannada",
    "MALAYALAM": "Malayalam",
    "SINHALA": "Sinhala",
    "THAI": "Thai",
    "MYANMAR": "Myanmar",
    "GEORGIAN": "Georgian",
    "ARMENIAN": "Armenian",
    "ETHIOPIC": "Ethiopic",
    "SHAVIAN": "Shavian",
}
"""Scripts of the library's languages, by the first word of their characters' Unicode names."""

_NEUTRAL = ""
_UNREADABLE = "?"
_PAUSES = frozenset("，。、；：？！…")
_FULL_WIDTH = {",": "，", ".": "。", "!": "！", "?": "？", ":": "：", ";": "；"}
_LINE_ENDS = frozenset("\n\r\v\f\x85\u2028\u2029")
_JOINERS = "\u200c\u200d"
_NAMED_SYMBOLS = frozenset("%&@#")
_FOLDED = frozenset({"<wide>", "<narrow>", "<font>", "<circle>", "<square>"}) | {
    "<initial>",
    "<medial>",
    "<final>",
    "<isolated>",
}
"""Compatibility forms that are read as what they stand for. Fractions and raised digits are not
among them: the library knows these."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text for one call of the library."""

    text: str
    indices: tuple[int, ...]
    """For each character of `text`, the index in the given text of the one it stands for."""
    language: Language
    phonemes: bool
    """`text` has phonemes in double brackets."""
    pause: bool
    """It ends where a speaker pauses."""
    followed: bool
    """Another passage may follow in the same text."""


Reader = Callable[[str], Language | None]
"""The language for a script that the speaker's own cannot read; `EspeakVoices.reader`."""


def passages(text: str, language: Language, reader: Reader) -> Iterator[Passage]:
    """Divide a text into passages, in its order; empty if nothing in it can be read."""
    characters = _clean(text)
    pieces = chain.from_iterable(
        _pieces(clause, language, reader) for clause in _clauses(characters)
    )
    piece: list[_Character] = []
    spoken_in = language
    for piece_language, following in pieces:
        full = len(piece) + len(following) > MAX_PASSAGE_CHARACTERS
        if full or piece_language is not spoken_in:
            if _is_speakable(piece):
                yield _passage(piece, spoken_in, followed=True)
            piece = []
        piece = piece + following
        spoken_in = piece_language
    if _is_speakable(piece):
        yield _passage(piece, spoken_in, followed=False)


@lru_cache(maxsize=4096)
def script_of(character: str) -> str:
    """The script of a letter: empty for what has none, `?` for one that no language here reads."""
    category = unicodedata.category(character)
    if category[0] != "L" and character != "〇":
        return _NEUTRAL
    name = unicodedata.name(character, "")
    if (script := _SCRIPTS.get(name.split(" ")[0].split("-")[0])) is not None:
        return script
    return _NEUTRAL if category == "Lm" or ord(character) < 0x100 else _UNREADABLE  # noqa: PLR2004


_Character = tuple[str, int]
"""A character and where it came from."""


def _clean(text: str) -> list[_Character]:
    """Leave only what the library reads or pauses at; commands to it, above all, are not left."""
    cleaned: list[_Character] = []
    for begin, end in _clusters(text):
        for character in _fold(text[begin:end]):
            cleaned.append((_readable(character, cleaned), begin))
    return [
        (_punctuation(cleaned, i) if character in "'‘’,.!?:;" else character, index)
        for i, (character, index) in enumerate(cleaned)
        if character
    ]


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Each character with what composes with it, of which an honest text has few."""
    begin = 0
    for i, character in enumerate(text):
        if i > begin and not _composes(character):
            yield begin, min(i, begin + _MAX_CLUSTER_CHARACTERS)
            begin = i
    if text:
        yield begin, min(len(text), begin + _MAX_CLUSTER_CHARACTERS)


def _composes(character: str) -> bool:
    """Whether it is an accent, or a vowel or final consonant of a Korean syllable."""
    return character >= "\u0300" and (
        unicodedata.combining(character) > 0 or "\u1160" <= character <= "\u11ff"
    )


def _fold(cluster: str) -> str:
    """Compose accents, and replace compatibility forms by what they stand for."""
    if cluster.isascii():
        return cluster
    form = unicodedata.decomposition(cluster[0]).split(" ")[0]
    if form in _FOLDED and unicodedata.category(cluster[0])[0] != "P":
        return unicodedata.normalize("NFKC", cluster)
    return unicodedata.normalize("NFC", cluster)


def _readable(character: str, before: list[_Character]) -> str:
    """What stands for one character: itself, another, a blank, or nothing."""
    if character.isalnum():
        return _letter_or_digit(character, before)
    if character in _LINE_ENDS:
        return "，" if before and before[-1][0].isalnum() else " "
    category = unicodedata.category(character)
    if category == "Cf":
        return character if character in _JOINERS else ""
    if category[0] == "M":
        return character if before and before[-1][0] > " " else ""
    is_picture = category in {"So", "Sk"} and character >= "\u2190"
    # Double brackets would be phonemes; the middle dot would be named.
    return " " if category[0] in "CZ" or is_picture or character in "[]・" else character


def _letter_or_digit(character: str, before: list[_Character]) -> str:
    if character.isascii():
        return character
    if character == "々":
        return before[-1][0] if before and script_of(before[-1][0]) == "Han" else " "
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.decimal(character))
    return " " if script_of(character) == _UNREADABLE else character


def _punctuation(cleaned: list[_Character], i: int) -> str:
    """Write a quotation mark or a pause as the library expects it between such neighbours."""
    character = cleaned[i][0]
    before = cleaned[i - 1][0] if i else " "
    after = cleaned[i + 1][0] if i + 1 < len(cleaned) else " "
    touches_cjk = _is_cjk(before) or _is_cjk(after)
    if character in "'‘’":
        return " " if touches_cjk else "'"
    # The library takes a half-width mark for a pause only before a blank.
    return _FULL_WIDTH[character] if touches_cjk else character


def _is_cjk(character: str) -> bool:
    return character > "\u2e80" and script_of(character) in _CJK


def _clauses(characters: list[_Character]) -> Iterator[list[_Character]]:
    """Cut after each pause; where there is none for too long, make one, as for a breath."""
    begin = 0
    for i, (character, _) in enumerate(characters, start=1):
        following = characters[i][0] if i < len(characters) else " "
        if character in _PAUSES or (character in _FULL_WIDTH and following == " "):
            if following in _PAUSES:
                continue  # "?!" ends one clause
            yield characters[begin:i]
            begin = i
        elif i - begin >= MAX_CLAUSE_CHARACTERS:
            end = _last_gap(characters, begin, i)
            yield [*characters[begin:end], ("，", characters[end - 1][1])]
            begin = end
    if begin < len(characters):
        yield characters[begin:]


def _last_gap(characters: list[_Character], begin: int, end: int) -> int:
    """The last place in the second half at which no word is cut, if there is one."""
    for i in range(end, begin + (end - begin) // 2, -1):
        before, after = characters[i - 1][0], characters[min(i, len(characters) - 1)][0]
        if not (before.isalnum() and after.isalnum()) or (_is_cjk(before) and _is_cjk(after)):
            return i
    return end


def _pieces(
    clause: list[_Character], own: Language, reader: Reader
) -> Iterator[tuple[Language, list[_Character]]]:
    """Divide a clause by language.

    Characters of no script stay with what they follow, digits and signs at once before a word of
    another language go with it.
    """
    scripts = [script_of(character) for character, _ in clause]
    inline = own.inline_latin and not own.scripts.isdisjoint(scripts)
    begin = 0
    current: Language | None = None
    for i, script in enumerate(scripts):
        if script == _NEUTRAL:
            continue
        if script in own.scripts or (inline and script == "Latin"):
            language = own
        else:
            language = reader(script) or own
        if current is not None and language is not current:
            cut = _word_begin(clause, begin, i)
            yield current, clause[begin:cut]
            begin = cut
        current = language
    if begin < len(clause):
        yield current or own, clause[begin:]


def _word_begin(clause: list[_Character], begin: int, i: int) -> int:
    """Go back from a letter over the digits that touch it, if a gap is before them."""
    j = i
    while j > begin and clause[j - 1][0].isdigit():
        j -= 1
    return i if j > begin and clause[j - 1][0].isalpha() else j


def _is_speakable(characters: list[_Character]) -> bool:
    """Whether there is anything but punctuation and blanks."""
    return any(
        category[0] in "LN" or category in {"Sc", "Sm"} or character in _NAMED_SYMBOLS
        for character, _ in characters
        for category in (unicodedata.category(character),)
    )


def _passage(characters: list[_Character], language: Language, *, followed: bool) -> Passage:
    """Respell what the library misreads in this language.

    A passage that breaks off in a sentence gets a comma, lest the voice fall as at its end.
    """
    last = next(character for character, _ in reversed(characters) if character != " ")
    pause = last in _PAUSES or last in _FULL_WIDTH
    if followed and not pause:
        characters = [*characters, ("，", characters[-1][1])]
    text: list[str] = []
    indices: list[int] = []
    for character, index in characters:
        phonemes = language.respellings.get(character)
        shown = character if phonemes is None else f" [[{phonemes}]] "
        text.append(shown)
        indices += [index] * len(shown)
    return Passage(
        text="".join(text),
        indices=tuple(indices),
        language=language,
        phonemes=any(len(shown) > 1 for shown in text),
        pause=pause,
        followed=followed,
    )
