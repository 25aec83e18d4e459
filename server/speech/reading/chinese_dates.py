"""Dates, years and clock times in Chinese."""

from __future__ import annotations

import re

from server.speech.reading.numerals import chinese_cardinal, chinese_digits
from server.speech.reading.rules import RANGE_MARK, Rule

_YEAR = r"(?:1\d|20)\d\d"
_MONTH = r"(?:0?[1-9]|1[0-2])"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_TIME = r"(?:[01]?\d|2[0-4])[:：][0-5]\d(?:[:：][0-5]\d)?"
_NOT_AN_AMOUNT = r"(?=年|赛季|学年|$|[^\d\u4e00-\u9fff.%℃°A-Za-z])"


def _two_digits(digits: str) -> str:
    """Minutes and seconds: 05 is 零五."""
    words = chinese_cardinal(digits)
    return f"零{words}" if digits[0] == "0" and digits != "00" else words


def _date(match: re.Match[str]) -> str:
    year, month, day = re.split(r"\D", match[0])
    return f"{chinese_digits(year)}年{chinese_cardinal(month)}月{chinese_cardinal(day)}日"


def _month(match: re.Match[str]) -> str:
    year, month = match[0].split("-")
    return f"{chinese_digits(year)}年{chinese_cardinal(month)}月"


def _year_range(match: re.Match[str]) -> str:
    first, last = re.findall(r"\d+", match[0])
    return f"{chinese_digits(first)}{'至' if '至' in match[0] else '到'}{chinese_digits(last)}"


def _digits(match: re.Match[str]) -> str:
    return chinese_digits(match[0])


def _clock(text: str) -> str:
    hour, minute, *second = re.split("[:：]", text)
    words = "两点" if hour in ("2", "02") else f"{chinese_cardinal(hour)}点"
    if minute != "00" or second:
        words += f"{_two_digits(minute)}分"
    return words + "".join(f"{_two_digits(part)}秒" for part in second)


def _clocks(match: re.Match[str]) -> str:
    return "到".join(map(_clock, re.findall(_TIME, match[0])))


DATE_RULES: tuple[Rule, ...] = (
    (rf"(?<!\d){_YEAR}(?P<date_mark>[-/.]){_MONTH}(?P=date_mark){_DAY}(?![\d.-]*\d)", _date),
    (rf"(?<![\d-]){_YEAR}-(?:0[1-9]|1[0-2])(?![\d.-]*\d)", _month),
    (rf"(?<!\d){_YEAR}(?:{RANGE_MARK}|[至到]){_YEAR}{_NOT_AN_AMOUNT}", _year_range),
    # A year is read digit by digit, a number of years is not: 2024年, but 2000年前, 1000年.
    (r"(?<![\d.])(?:1[1-9]|20)\d\d(?=年(?![前多来]|以前|之前))", _digits),
    (r"(?<!\d)(?:\d\d(?=年\d{1,2}月)|0\d(?=年))", _digits),
    (r"(?<!\d)(?:[5-9][05]|0[05])(?=后(?![来面边天悔]))", _digits),
    (
        rf"(?<![\d:：])(?<!比分)(?<!比分为)(?<!比分是){_TIME}(?:{RANGE_MARK}{_TIME})?(?![\d:：])",
        _clocks,
    ),
)
"""After addresses, before anything else with digits."""
