"""How numbers and names in Japanese text are said: numbers by wetext, one at a time."""

from __future__ import annotations

import re

from server.speech.reading import measures
from server.speech.reading.names import NameReader
from server.speech.reading.numerals import MAX_CARDINAL_DIGITS
from server.speech.reading.rules import NUMBER, RANGE_MARK, RuleTable, one_of, plain

_DIGITS = ("ゼロ", *"一二三四五六七八九")
_OPERATORS = {"+": "足す", "×": "掛ける", "÷": "割る", "=": "は"}


_UNITS = {"%": "パーセント", "℃": "度", "円": "円"}


def _digits(digits: str) -> str:
    return "".join(_DIGITS[int(digit)] for digit in digits)


def _read(text: str) -> str:
    """A bare 〇 may be read as "maru"."""
    return measures.read(text, "ja").replace("〇", "零")


def _number(number: str) -> str:
    whole, point, fraction = plain(number).partition(".")
    if len(whole) > MAX_CARDINAL_DIGITS or (len(whole) > 1 and whole[0] == "0"):
        words = _digits(whole)
    else:
        words = _read(whole)
    return f"{words}点{_digits(fraction)}" if point else words


def _telephone(match: re.Match[str]) -> str:
    return "の".join(map(_digits, re.findall(r"\d+", match[0])))


def _range(match: re.Match[str]) -> str:
    return "から".join(map(_number, re.findall(NUMBER, match[0])))


def _money(match: re.Match[str]) -> str:
    unit = {"$": "ドル"}.get(match[0][0], "円")
    return _number(re.sub(r"[￥¥$\s]", "", match[0])) + unit


def _measure(match: re.Match[str]) -> str:
    number, unit = match["measure_number"], match["measure_unit"]
    if unit in _UNITS or len(number) > MAX_CARDINAL_DIGITS:
        return _number(number) + _UNITS.get(unit, unit)
    return _read(plain(number) + unit)


_NAMES = NameReader(
    read_number=_number, read_digits=_digits, dot="ドット", point="点", at="アット", gap=""
)

RULES = RuleTable(
    *_NAMES.address_rules(),
    (
        r"(?<!\d)(?:1\d|20)\d\d年(?:1[0-2]|[1-9])月(?:[12]\d|3[01]|[1-9])日",
        lambda match: _read(match[0]),
    ),
    _NAMES.version_rule(),
    (r"(?<![\d:])(?:1?\d|2[0-4]):[0-5]\d(?![\d:])", lambda match: _read(match[0])),
    (r"(?<![\d-])0\d{1,3}-\d{1,4}-\d{4}(?![\d-])", _telephone),
    (r"(?<![\d-])\d+(?:-\d+){2,}(?![\d-])", _telephone),
    (rf"[￥¥$]\s?{NUMBER}(?![\d.,])", _money),
    (
        (
            rf"(?P<measure_number>{NUMBER})"
            rf"(?P<measure_unit>{one_of([*_UNITS, *measures.JAPANESE_UNITS])})(?![A-Za-z\d])"
        ),
        _measure,
    ),
    (r"(?<![\d/.])[1-9]\d?/[1-9]\d?(?![\d/.])", lambda match: _read(match[0])),
    (rf"(?<![\d.-]){NUMBER}{RANGE_MARK}{NUMBER}(?![\d-])", _range),
    _NAMES.name_rule(),
    (NUMBER, lambda match: _number(match[0])),
    (r"(?<![\w)])[-−](?=\d)", lambda _: "マイナス"),
    (r"(?<=\d)\s*[+×÷=]\s*(?=\d)", lambda match: _OPERATORS[match[0].strip()]),
)
"""All rules for Japanese, the more particular first."""
