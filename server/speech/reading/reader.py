"""Chooses whose way of reading numbers and symbols applies to a text, and applies it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from server.speech.reading import chinese, english, japanese, measures
from server.speech.reading.measures import Language
from server.speech.reading.rules import RuleTable
from server.speech.spoken import SpokenText

_RULES: dict[Language, RuleTable] = {
    "zh": chinese.RULES,
    "en": english.RULES,
    "ja": japanese.RULES,
}
_PRIMARY: dict[str, Language] = {"zh": "zh", "cmn": "zh", "en": "en", "ja": "ja"}
_CANTONESE = frozenset({"zh-hk", "zh-yue", "zh-mo", "zh-hant-hk"})

_HAS_WORK = re.compile(
    r"[\d%‰℃℉°$€£¥￥₩₹@&+=<>≤≥≠≈±×÷²³√π∞№½⅓⅔¼¾①-⑳Ⅰ-Ⅻ％＄＠＋＝]"
    r"|\w\.\w|\b(?:Mrs?|Dr|Prof|vs|etc|approx|e\.g|i\.e)\."
)
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA = re.compile(r"[\u3041-\u30ff]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_KANA_SHARE = 4
"""Text of a Chinese voice with a の in it is still Chinese: kana must be a fourth of Han."""

_WORD = re.compile(r"(?<![\w.@-])[A-Za-z]?[a-z]+(?![\w@]|\.\w)", re.ASCII)
"""Not an acronym, a product (iPhone) or a part of an address."""
_UNIT_WORDS = frozenset(measures.ENGLISH_UNITS) | {"kcal", "mol", "rpm"}
_PASSAGE = re.compile(r"[A-Za-z\d$€£#(][\x20-\x7e]*")
_PASSAGE_WORDS = 3
_PASSAGE_LOWERCASE_WORDS = 2

_WIDE_DISTANCE = 0xFEE0
"""From an ASCII character to its full-width form."""
_WIDE_SIGNS = "０１２３４５６７８９％＋＝＄＠＃＆＜＞"
_WIDE_CODES = (*map(ord, _WIDE_SIGNS), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))
_WIDE = str.maketrans({code: code - _WIDE_DISTANCE for code in _WIDE_CODES})
_WIDE_IN_NUMBER = re.compile(r"(?<=\d)[．：／－](?=\d)|(?<=[０-９])，(?=[０-９]{3})")
"""A full-width comma between ASCII digits separates two numbers."""
_BLANK_AT_NUMBER = re.compile(
    r"(?<=[\u4e00-\u9fff])[ \u00a0]+(?=\d)|(?<=\d)[ \u00a0]+(?=[\u4e00-\u9fff])"
)


def primary_language(tag: str) -> Language | None:
    """Map a BCP 47 tag to the language whose numbers are read here, None for all others.

    Cantonese, Korean and the rest leave numbers to the model.
    """
    tag = tag.lower().replace("_", "-")
    return None if tag in _CANTONESE else _PRIMARY.get(tag.partition("-")[0])


def read(spoken: SpokenText, language: Language) -> SpokenText:
    """Put numbers, symbols and names into words.

    Args:
        spoken: a segment, cleaned of markup or not.
        language: of the voice. Text of another language is read in that one's way: English words
            alone, or a clause of them among Chinese, as English; kana as Japanese.
    """
    if not _HAS_WORK.search(spoken.text):
        return spoken
    chosen = _language_of(spoken.text, language)
    if chosen is None:
        return spoken
    spoken = _with_ascii(spoken, chosen)
    return spoken.replace(_edits(spoken.text, chosen))


def _language_of(text: str, language: Language) -> Language | None:
    n_han, n_kana = len(_HAN.findall(text)), len(_KANA.findall(text))
    if len(_HANGUL.findall(text)) > n_han + n_kana:
        return None
    if n_kana and (language == "ja" or n_kana * _KANA_SHARE >= n_han):
        return "ja"
    if n_han:
        return "ja" if language == "ja" else "zh"
    return "en" if _english_words(text) else language


def _english_words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text) if len(word) > 1 and word not in _UNIT_WORDS]


def _with_ascii(spoken: SpokenText, language: Language) -> SpokenText:
    """Full-width digits and signs of numbers as ASCII; no blanks between a number and Han."""
    text = spoken.text
    if not text.isascii():
        text = _WIDE_IN_NUMBER.sub(lambda match: chr(ord(match[0]) - _WIDE_DISTANCE), text)
        text = text.translate(_WIDE)
        spoken = SpokenText(text, spoken.origins, spoken.ends)
    if language == "en":
        return spoken
    return spoken.replace((m.start(), m.end(), "") for m in _BLANK_AT_NUMBER.finditer(text))


def _edits(text: str, language: Language) -> Iterator[tuple[int, int, str]]:
    done = 0
    if language != "en":
        for passage in _PASSAGE.finditer(text):
            if _is_english_passage(passage[0]):
                yield from _part_edits(text, done, passage.start(), language)
                yield from _part_edits(text, passage.start(), passage.end(), "en")
                done = passage.end()
    yield from _part_edits(text, done, len(text), language)


def _is_english_passage(text: str) -> bool:
    n_words = len(re.findall(r"[A-Za-z']+", text))
    n_lowercase = sum(word.islower() for word in _english_words(text))
    return n_words >= _PASSAGE_WORDS and n_lowercase >= _PASSAGE_LOWERCASE_WORDS


def _part_edits(
    text: str, begin: int, end: int, language: Language
) -> Iterator[tuple[int, int, str]]:
    for first, last, new in _RULES[language].edits(text[begin:end]):
        yield first + begin, last + begin, new
