"""`<say-as>`: what a text is read as when the writer says what it is.

A reading is only given where the normaliser would not find it by itself:

    cardinal              as an amount, whatever its length: 007 is seven
    digits, nick          digit by digit, the rest as it is
    telephone             digit by digit, in Chinese with 幺 for 1, with pauses between the groups
    id, characters,       character by character, with the names of signs
    verbatim, punctuation
    address               Chinese: numbers of rooms digit by digit, of houses and floors as amounts
    date                  20240305, 2024/3, 03-05 ... to a date as it is written in a sentence

`time`, `currency`, `measure` and `name` are what the normaliser makes of them, and so is every
value that is not in this list. Readings exist in Chinese and English; for other languages digits
and characters are set apart by blanks, and the model says them.
"""

from __future__ import annotations

import calendar
import re
import unicodedata
from collections.abc import Callable
from typing import Literal, TypeAlias

from server.speech.characters import Kind, classify
from server.speech.reading.numerals import (
    chinese_digits,
    chinese_number,
    english_digits,
    english_number,
)

ReadingLanguage: TypeAlias = Literal["zh", "en", ""]

_CHINESE = frozenset({"zh", "cmn", "yue", "wuu", "hak", "nan"})
_MONTHS = tuple(calendar.month_name)[1:]
_SIGNS: dict[str, tuple[str, str]] = {
    ".": ("点", "dot"),
    "-": ("杠", "dash"),
    "_": ("下划线", "underscore"),
    "/": ("斜杠", "slash"),
    "\\": ("反斜杠", "backslash"),
    "@": ("艾特", "at"),
    "#": ("井号", "hash"),
    "*": ("星号", "star"),
    "+": ("加", "plus"),
    "=": ("等于", "equals"),
    "%": ("百分号", "percent"),
    "&": ("和", "and"),
    "$": ("美元符号", "dollar"),
    "~": ("波浪号", "tilde"),
    "^": ("脱字符", "caret"),
    "|": ("竖线", "bar"),
    "<": ("小于号", "less than"),
    ">": ("大于号", "greater than"),
    ",": ("逗号", "comma"),
    "，": ("逗号", "comma"),
    "。": ("句号", "period"),
    "、": ("顿号", "comma"),
    ";": ("分号", "semicolon"),
    "；": ("分号", "semicolon"),
    ":": ("冒号", "colon"),
    "：": ("冒号", "colon"),
    "?": ("问号", "question mark"),
    "？": ("问号", "question mark"),
    "!": ("感叹号", "exclamation mark"),
    "！": ("感叹号", "exclamation mark"),
    "…": ("省略号", "ellipsis"),
    "—": ("破折号", "dash"),
    "·": ("间隔号", "dot"),
    '"': ("引号", "quote"),
    "'": ("引号", "apostrophe"),
    "“": ("左引号", "open quote"),
    "”": ("右引号", "close quote"),
    "‘": ("左引号", "open quote"),
    "’": ("右引号", "close quote"),
    "(": ("左括号", "open parenthesis"),
    ")": ("右括号", "close parenthesis"),
    "（": ("左括号", "open parenthesis"),
    "）": ("右括号", "close parenthesis"),
    "《": ("左书名号", "open quote"),
    "》": ("右书名号", "close quote"),
}


def reading_language(text: str, language: str) -> ReadingLanguage:
    """Choose the language of readings.

    Args:
        text: the whole document's; its script counts more than the voice.
        language: BCP 47 tag of the voice, may be empty.
    """
    prefix = language.partition("-")[0].lower()
    kinds = {classify(char).kind for char in text}
    if prefix not in _CHINESE | {"en", ""} or kinds & {Kind.KANA, Kind.HANGUL}:
        return ""
    if Kind.HAN in kinds or (prefix in _CHINESE and Kind.LETTER not in kinds):
        return "zh"
    return "en"


def say_as(text: str, interpret_as: str, language: ReadingLanguage) -> tuple[str, bool]:
    """Return what is to be read, and whether that is final.

    What is not final is still for the normaliser to read.
    """
    reading = _READINGS.get(interpret_as)
    return (text, False) if reading is None else reading(text.strip(), language)


def _digits(digits: str, language: ReadingLanguage, one: str = "一") -> str:
    digits = unicodedata.normalize("NFKC", digits)
    if not digits.isascii():
        return " ".join(digits)
    if language == "zh":
        return chinese_digits(digits, one=one)
    return english_digits(digits) if language == "en" else " ".join(digits)


def _cardinal(text: str, language: ReadingLanguage) -> tuple[str, bool]:
    number = re.fullmatch(r"([-+]?)(\d[\d,]*)(\.\d+)?", text, re.ASCII)
    if number is None or not language:
        return text, False
    sign, whole, fraction = number.groups(default="")
    plain = (whole.replace(",", "").lstrip("0") or "0") + fraction
    if language == "zh":
        return ("负" if sign == "-" else "") + chinese_number(plain), True
    return ("minus " if sign == "-" else "") + english_number(plain), True


def _digit_by_digit(text: str, language: ReadingLanguage) -> tuple[str, bool]:
    point = {"zh": "点", "en": " point "}.get(language, ".")
    text = re.sub(r"(?<=\d)\.(?=\d)", point, text)
    return re.sub(r"\d+", lambda run: _digits(run[0], language), text), True


def _telephone(text: str, language: ReadingLanguage) -> tuple[str, bool]:
    gap, plus = {"zh": ("，", "加"), "en": (", ", "plus ")}.get(language, (", ", "+"))
    text = re.sub(r"(?<=\d)[-\s()./]+(?=\d)", gap, text).replace("+", plus)
    text = re.sub(r"[()]", "", text)
    return re.sub(r"\d+", lambda run: _digits(run[0], language, "幺"), text), True


def _spelled(text: str, language: ReadingLanguage) -> tuple[str, bool]:
    words = [_name(char, language) for char in text if not char.isspace()]
    spelled = ""
    for word in words:
        # Han names need no blank between them; letters would run together to a word.
        joined = spelled and not _is_ascii(spelled[-1] + word[0])
        spelled += word if not spelled or joined else f" {word}"
    return spelled, True


def _is_ascii(pair: str) -> bool:
    return any(char.isascii() for char in pair)


def _name(char: str, language: ReadingLanguage) -> str:
    if char.isdecimal():
        return _digits(char, language)
    if language and char in _SIGNS:
        chinese, english = _SIGNS[char]
        return chinese if language == "zh" else english
    return char.upper() if char.isascii() else char


_HOUSE = re.compile(r"(\d+)(\s*[-－](?=\s*\d))?(?=\s*(号|弄|栋|幢|座|层|楼|单元|区|期|组|排)|)")
_ROOM_DIGITS = 3


def _address(text: str, language: ReadingLanguage) -> tuple[str, bool]:
    if language != "zh":
        return text, False

    def read(match: re.Match[str]) -> str:
        digits, joint, counted = match.groups()
        is_room = (len(digits) >= _ROOM_DIGITS and not counted) or digits.startswith("0")
        words = _digits(digits, "zh", "幺") if is_room else chinese_number(digits)
        return words + ("杠" if joint else "")

    return _HOUSE.sub(read, text), True


_DATES = (
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
    r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})(?:[-/.](?P<day>\d{1,2}))?",
    r"(?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?:[-/.](?P<year>\d{4}))?",
)


def _date(text: str, language: ReadingLanguage) -> tuple[str, bool]:
    for pattern in _DATES if language else ():
        date = re.fullmatch(pattern, text, re.ASCII)
        if date is not None and 1 <= int(date["month"]) <= len(_MONTHS):
            written = _chinese_date(date) if language == "zh" else _english_date(date)
            return written, False
    return text, False


def _chinese_date(date: re.Match[str]) -> str:
    parts = ((date["year"], "年"), (date["month"], "月"), (date["day"], "日"))
    return "".join(f"{int(part)}{unit}" for part, unit in parts if part)


def _english_date(date: re.Match[str]) -> str:
    day = f" {int(date['day'])}" if date["day"] else ""
    year = (", " if day else " ") + date["year"] if date["year"] else ""
    return _MONTHS[int(date["month"]) - 1] + day + year


_READINGS: dict[str, Callable[[str, ReadingLanguage], tuple[str, bool]]] = {
    "cardinal": _cardinal,
    "digits": _digit_by_digit,
    "nick": _digit_by_digit,
    "telephone": _telephone,
    "id": _spelled,
    "characters": _spelled,
    "verbatim": _spelled,
    "punctuation": _spelled,
    "address": _address,
    "date": _date,
}
