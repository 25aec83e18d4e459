"""Numbers in words, for Chinese and English. Input is always ASCII digits."""

from __future__ import annotations

_HAN_DIGITS = "零一二三四五六七八九"
_HAN_PLACES = ("", "十", "百", "千")
_HAN_SECTIONS = ("", "万", "亿", "万亿")
_SECTION_DIGITS = 4
_FULL_SECTION = 1000
"""A section below it is joined to the one before it by a zero."""
MAX_CARDINAL_DIGITS = 12
"""A longer number that is written without commas is an account, not an amount."""


def chinese_digits(digits: str, *, one: str = "一") -> str:
    """Read digit by digit; `one` is 幺 in telephone numbers."""
    return "".join(one if digit == "1" else _HAN_DIGITS[int(digit)] for digit in digits)


def chinese_cardinal(digits: str) -> str:
    """Read an integer of at most 16 digits: 110 is 一百一十, 2002 is 两千零二, 10 is 十."""
    value = int(digits)
    if value == 0:
        return "零"
    sections = []
    while value:
        value, section = divmod(value, 10**_SECTION_DIGITS)
        sections.append(section)
    words = ""
    for index in reversed(range(len(sections))):
        section = sections[index]
        if section:
            words += "零" if words and section < _FULL_SECTION else ""
            words += _chinese_section(section, leads=not words)
            words += _HAN_SECTIONS[index]
    words = words[1:] if words.startswith("一十") else words
    return "两" + words[1:] if words[:2] in ("二万", "二亿", "二百", "二千") else words


def _chinese_section(section: int, *, leads: bool) -> str:
    words = ""
    digits = str(section)
    for index, digit in enumerate(digits):
        place = len(digits) - 1 - index
        if digit != "0":
            is_skipped = index > 0 and digits[index - 1] == "0"
            is_liang = digit == "2" and place == _SECTION_DIGITS - 1 and leads
            words += "零" if is_skipped else ""
            words += ("两" if is_liang else _HAN_DIGITS[int(digit)]) + _HAN_PLACES[place]
    return words


def chinese_number(number: str) -> str:
    """Read an integer or a decimal without a sign; leading zeros and long runs digit by digit."""
    whole, point, fraction = number.partition(".")
    if len(whole) > MAX_CARDINAL_DIGITS or (len(whole) > 1 and whole[0] == "0"):
        words = chinese_digits(whole)
    else:
        words = chinese_cardinal(whole or "0")
    return words + "点" + chinese_digits(fraction) if point else words


_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = (
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
_THOUSANDS = ("", " thousand", " million", " billion", " trillion")
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def english_digits(digits: str) -> str:
    """Read digit by digit."""
    return " ".join(_SMALL[int(digit)] for digit in digits)


def english_cardinal(digits: str) -> str:
    """Read an integer of at most 15 digits, in American words ("one hundred five")."""
    value = int(digits)
    if value == 0:
        return "zero"
    groups = []
    for name in _THOUSANDS:
        value, group = divmod(value, 1000)
        if group:
            groups.append(_english_group(group) + name)
    return " ".join(reversed(groups))


def _english_group(value: int) -> str:
    words = []
    hundreds, rest = divmod(value, 100)
    if hundreds:
        words.append(f"{_SMALL[hundreds]} hundred")
    if rest >= len(_SMALL):
        tens, ones = divmod(rest, 10)
        words.append(_TENS[tens] + (f"-{_SMALL[ones]}" if ones else ""))
    elif rest:
        words.append(_SMALL[rest])
    return " ".join(words)


def english_number(number: str) -> str:
    """Read an integer or a decimal without a sign; leading zeros and long runs digit by digit."""
    whole, point, fraction = number.partition(".")
    if len(whole) > MAX_CARDINAL_DIGITS or (len(whole) > 1 and whole[0] == "0"):
        words = english_digits(whole)
    else:
        words = english_cardinal(whole or "0")
    return f"{words} point {english_digits(fraction)}" if point else words


def english_ordinal(digits: str) -> str:
    """Read an integer as an ordinal: 21 is twenty-first."""
    words = english_cardinal(digits)
    head, sep, last = words.rpartition("-" if "-" in words.rpartition(" ")[2] else " ")
    if last in _ORDINALS:
        return head + sep + _ORDINALS[last]
    return head + sep + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def english_year(digits: str) -> str:
    """Read four digits as a year: 1905 is nineteen oh five, 2024 is twenty twenty-four."""
    century, rest = digits[:2], digits[2:]
    if rest == "00" and int(century) % 10 == 0:
        return english_cardinal(digits)
    if rest == "00":
        return f"{english_cardinal(century)} hundred"
    if century == "20" and rest[0] == "0":
        return f"two thousand {_SMALL[int(rest)]}"
    if rest[0] == "0":
        return f"{english_cardinal(century)} oh {_SMALL[int(rest)]}"
    return f"{english_cardinal(century)} {english_cardinal(rest)}"
