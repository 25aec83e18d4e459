"""Numerals, and the one library that reads measures."""

from __future__ import annotations

import pytest

from server.speech.reading import measures
from server.speech.reading.numerals import (
    chinese_cardinal,
    chinese_number,
    english_cardinal,
    english_number,
    english_ordinal,
    english_year,
)
from server.speech.spoken import SpokenText


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("0", "零"),
        ("2", "二"),
        ("10", "十"),
        ("20", "二十"),
        ("110", "一百一十"),
        ("200", "两百"),
        ("202", "两百零二"),
        ("2002", "两千零二"),
        ("2200", "两千二百"),
        ("10010", "一万零一十"),
        ("22000", "两万二千"),
        ("100000", "十万"),
        ("100010", "十万零一十"),
        ("20000000", "两千万"),
        ("1002003004", "十亿零二百万三千零四"),
        ("1000000000000", "一万亿"),
    ],
)
def test_chinese_cardinals(digits: str, words: str) -> None:
    assert chinese_cardinal(digits) == words


@pytest.mark.parametrize(
    ("digits", "cardinal", "ordinal"),
    [
        ("0", "zero", "zeroth"),
        ("5", "five", "fifth"),
        ("12", "twelve", "twelfth"),
        ("20", "twenty", "twentieth"),
        ("21", "twenty-one", "twenty-first"),
        ("105", "one hundred five", "one hundred fifth"),
        ("1001", "one thousand one", "one thousand first"),
        ("1000100", "one million one hundred", "one million one hundredth"),
    ],
)
def test_english_cardinals_and_ordinals(digits: str, cardinal: str, ordinal: str) -> None:
    assert (english_cardinal(digits), english_ordinal(digits)) == (cardinal, ordinal)


@pytest.mark.parametrize(
    ("year", "words"),
    [
        ("1066", "ten sixty-six"),
        ("1900", "nineteen hundred"),
        ("1905", "nineteen oh five"),
        ("2000", "two thousand"),
        ("2005", "two thousand five"),
        ("2024", "twenty twenty-four"),
    ],
)
def test_english_years(year: str, words: str) -> None:
    assert english_year(year) == words


def test_decimals_leading_zeros_and_long_numbers() -> None:
    assert chinese_number("3.140") == "三点一四零"
    assert chinese_number("007") == "零零七"
    assert chinese_number("1" * 13) == "一" * 13
    assert english_number("0.05") == "zero point zero five"
    assert english_number("007") == "zero zero seven"


CHINESE_UNITS = {
    "km/h": "每小时{}公里", "m/s": "每秒{}米", "cm²": "{}平方厘米", "m²": "{}平方米",
    "m³": "{}立方米", "km": "{}公里", "cm": "{}厘米", "mm": "{}毫米", "m": "{}米", "kg": "{}千克",
    "mg": "{}毫克", "ml": "{}毫升", "L": "{}升", "h": "{}小时", "min": "{}分钟", "s": "{}秒",
}  # fmt: skip
ENGLISH_UNITS = {
    "km/h": "kilometers per hour", "mph": "miles per hour", "km²": "square kilometers",
    "m²": "square meters", "m³": "cubic meters", "km": "kilometers", "cm": "centimeters",
    "mm": "millimeters", "ft": "feet", "kg": "kilograms", "mg": "milligrams", "oz": "ounces",
    "lb": "pounds", "lbs": "pounds", "ml": "milliliters", "min": "minutes", "ms": "milliseconds",
    "GB": "gigabytes", "MB": "megabytes", "TB": "terabytes", "GHz": "gigahertz",
    "MHz": "megahertz", "Hz": "hertz", "kW": "kilowatts",
}  # fmt: skip


@pytest.mark.parametrize(
    ("number", "words"),
    [("12.5", "十二点五"), ("110", "一百一十"), ("2024", "两千零二十四"), ("10.1", "十点一")],
)
def test_wetext_reads_each_chinese_unit_that_it_is_given(number: str, words: str) -> None:
    assert set(CHINESE_UNITS) == set(measures.CHINESE_UNITS)
    for unit, pattern in CHINESE_UNITS.items():
        assert measures.read(number + unit, "zh") == pattern.format(words)


@pytest.mark.parametrize(
    ("number", "words"),
    [("12.5", "twelve point five"), ("2000", "two thousand"), ("911", "nine hundred and eleven")],
)
def test_wetext_reads_each_english_unit_that_it_is_given(number: str, words: str) -> None:
    assert set(ENGLISH_UNITS) == set(measures.ENGLISH_UNITS)
    for unit, name in ENGLISH_UNITS.items():
        assert measures.read(f"{number} {unit}", "en") == f"{words} {name}"


def test_an_edit_keeps_what_it_does_not_change() -> None:
    text = SpokenText.identity("abcdef").replace([(1, 5, "bXYe")])
    assert text.text == "abXYef"
    assert text.origins == (0, 1, 2, 2, 4, 5)
    assert text.ends == (1, 2, 4, 4, 5, 6)


def test_edits_compose() -> None:
    once = SpokenText.identity("**25**度").replace([(0, 2, ""), (4, 6, "")])
    twice = once.replace([(0, 2, "二十五")])
    assert twice.text == "二十五度"
    assert twice.source_span(0, 3) == (2, 4)
    assert twice.source_span(3, 4) == (6, 7)
    assert twice.source_span(0, 4) == (2, 7)
    assert twice.replace([]) is twice
