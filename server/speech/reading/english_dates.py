"""Dates, years and clock times in American English."""

from __future__ import annotations

import re

from server.speech.reading.numerals import (
    english_cardinal,
    english_digits,
    english_ordinal,
    english_year,
)
from server.speech.reading.rules import Rule

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_MONTHS_BY_START = {name[:3].lower(): name for name in _MONTHS}
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR = r"(?:1[1-9]|20)\d\d"
_TIME = r"(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-5]\d)?"
_NOON = r"\s?(?:[ap]\.m\.|[AaPp][Mm]\b)"
_TO = r"\s?[-–—]\s?"


def _date(month: str, day: str, year: str | None) -> str:
    words = f"{month} {english_ordinal(day)}"
    return f"{words}, {english_year(year)}" if year else words


def _iso_date(match: re.Match[str]) -> str:
    year, month, day = re.split(r"\D", match[0])
    return _date(_MONTHS[int(month) - 1], day, year)


def _slashed_date(match: re.Match[str]) -> str:
    """Month first, unless it cannot be one."""
    first, second, year = match[0].split("/")
    month, day = (first, second) if int(first) <= len(_MONTHS) else (second, first)
    return _date(_MONTHS[int(month) - 1], day, year)


def _month_day(match: re.Match[str]) -> str:
    month = _MONTHS_BY_START[match["md_month"][:3].lower()]
    return _date(month, match["md_day"], match["md_year"])


def _day_month(match: re.Match[str]) -> str:
    month = _MONTHS_BY_START[match["dm_month"][:3].lower()]
    article = "" if match.string[: match.start()].lower().endswith("the ") else "the "
    words = f"{article}{english_ordinal(match['dm_day'])} of {month}"
    return f"{words}, {english_year(match['dm_year'])}" if match["dm_year"] else words


def _decade(match: re.Match[str]) -> str:
    digits = re.findall(r"\d+", match[0])[0]
    century, tens = digits[:-2], digits[-2:]
    if digits == "2000":
        return "two thousands"
    words = "hundreds" if tens == "00" else english_cardinal(tens)[:-1] + "ies"
    return f"{english_cardinal(century)} {words}" if century else words


def _year_range(match: re.Match[str]) -> str:
    return " to ".join(map(english_year, re.findall(r"\d+", match[0])))


def _clock(text: str, *, has_noon: bool) -> str:
    hour, *rest = text.split(":")
    words = english_cardinal(hour)
    if not rest:
        return words
    minute, *second = rest
    if minute == "00" and not second:
        return words if has_noon else f"{words} o'clock"
    words += " oh " if minute[0] == "0" else " "
    words += english_cardinal(minute)
    return words + "".join(f" and {english_cardinal(part)} seconds" for part in second)


def _clocks(match: re.Match[str]) -> str:
    noon = re.search(r"([AaPp])\.?[Mm]", match[0])
    times = re.findall(rf"{_TIME}|\d+", match[0])
    words = " to ".join(_clock(time, has_noon=noon is not None) for time in times)
    return f"{words} {noon[1].upper()}M" if noon is not None else words


def _height(match: re.Match[str]) -> str:
    foot, inch = re.findall(r"\d+", match[0])
    return f"{english_digits(foot)} foot {english_cardinal(inch)}"


DATE_RULES: tuple[Rule, ...] = (
    (
        (
            r"(?<!\d)(?:1\d|20)\d\d(?P<iso_mark>[-/.])(?:0?[1-9]|1[0-2])(?P=iso_mark)"
            rf"{_DAY}(?![\d-])"
        ),
        _iso_date,
    ),
    (
        rf"(?<![\d/])(?:(?:0?[1-9]|1[0-2])/{_DAY}|{_DAY}/(?:0?[1-9]|1[0-2]))/{_YEAR}(?!\d)",
        _slashed_date,
    ),
    (
        (
            rf"\b(?P<md_month>{_MONTH}) (?P<md_day>{_DAY})(?:st|nd|rd|th)?\b(?![:.]\d|-)"
            rf"(?:,? (?P<md_year>{_YEAR})\b)?"
        ),
        _month_day,
    ),
    (
        (
            rf"\b(?P<dm_day>{_DAY})(?:st|nd|rd|th)? (?:of )?(?P<dm_month>{_MONTH})"
            rf"(?:,? (?P<dm_year>{_YEAR})\b)?"
        ),
        _day_month,
    ),
    (rf"(?<![\d.$€£])(?:19|20)\d\d{_TO}(?:19|20)\d\d(?![\d.%])", _year_range),
    (r"(?:(?<=\s)|^|(?<=\())'?(?:1[1-9]|20)?\d0'?s\b", _decade),
    (r"\b\d'\d{1,2}(?:\"|''|\b)", _height),
    (rf"(?<![\d:])(?:{_TIME}|\d{{1,2}})(?:{_TO}(?:{_TIME}|\d{{1,2}}))?{_NOON}", _clocks),
    (rf"(?<![\d:]){_TIME}(?:{_TO}{_TIME})?(?![\d:])", _clocks),
)
"""After addresses, before anything else with digits."""

YEAR_RULE: Rule = (
    (
        r"(?<![\w.,])(?:19|20)\d\d(?![\d,.]\d|\d|\s(?:people|[a-z]+s)\b)"
        r"|(?<=[Tt]he )20\d\d(?= [a-z])"
    ),
    lambda match: english_year(match[0]),
)
"""A bare number of our centuries, unless it counts something."""
