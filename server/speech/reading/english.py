"""How an American reader says numbers, symbols and names in English text."""

from __future__ import annotations

import re

from server.speech.reading import measures
from server.speech.reading.english_dates import DATE_RULES, YEAR_RULE
from server.speech.reading.names import NameReader
from server.speech.reading.numerals import (
    MAX_CARDINAL_DIGITS,
    english_cardinal,
    english_digits,
    english_number,
    english_ordinal,
)
from server.speech.reading.rules import (
    FRACTION,
    NUMBER,
    OPERAND_AHEAD,
    OPERAND_BEHIND,
    RANGE_MARK,
    RuleTable,
    one_of,
    plain,
)

_CURRENCIES = {
    "$": ("dollar", "cent"), "US$": ("US dollar", "cent"), "HK$": ("Hong Kong dollar", "cent"),
    "€": ("euro", "cent"), "£": ("pound", "penny"), "¥": ("yen", ""), "￥": ("yuan", ""),
    "₩": ("won", ""), "₹": ("rupee", "paisa"),
}  # fmt: skip
_PLURALS = {"penny": "pence", "yen": "yen", "yuan": "yuan", "won": "won", "paisa": "paise"}
_SCALES = {"k": "thousand", "K": "thousand", "M": "million", "B": "billion", "bn": "billion"}
_UNITS = {
    "m": ("meter", "meters"), "g": ("gram", "grams"), "L": ("liter", "liters"),
    "mL": ("milliliter", "milliliters"), "s": ("second", "seconds"), "h": ("hour", "hours"),
    "kHz": ("kilohertz", "kilohertz"), "V": ("volt", "volts"), "W": ("watt", "watts"),
    "kWh": ("kilowatt hour", "kilowatt hours"), "mAh": ("milliamp hour", "milliamp hours"),
    "m/s": ("meter per second", "meters per second"), "dB": ("decibel", "decibels"),
    "°": ("degree", "degrees"), "°C": ("degree Celsius", "degrees Celsius"),
    "℃": ("degree Celsius", "degrees Celsius"), "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "℉": ("degree Fahrenheit", "degrees Fahrenheit"), "KB": ("kilobyte", "kilobytes"),
    "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
}  # fmt: skip
"""Units that wetext does not know or takes for others: its "5 m" is five minutes."""
_OPERATORS = {
    "+": "plus", "-": "minus", "−": "minus", "×": "times", "*": "times", "÷": "divided by",
    "=": "equals", "<": "is less than", ">": "is greater than", "≤": "is at most",
    "<=": "is at most", "≥": "is at least", ">=": "is at least", "≠": "is not equal to",
    "!=": "is not equal to", "≈": "is about", "±": "plus or minus",
}  # fmt: skip
_PREFIXES = {
    "+": "plus", "-": "minus", "−": "minus", "~": "about", "≈": "about", "<": "less than",
    ">": "more than", "≤": "at most", "<=": "at most", "≥": "at least", ">=": "at least",
    "±": "plus or minus",
}  # fmt: skip
_WORDS = {
    "mr": "Mister", "mrs": "Missus", "dr": "Doctor", "prof": "Professor", "vs": "versus",
    "etc": "et cetera", "e.g": "for example", "i.e": "that is", "approx": "approximately",
}  # fmt: skip
_FRACTIONS = {"2": ("half", "halves"), "4": ("quarter", "quarters")}
_VULGAR = {
    "½": "one half", "⅓": "one third", "⅔": "two thirds", "¼": "one quarter", "¾": "three quarters",
}  # fmt: skip

_SIGN = r"(?:(?<![\w)%.])[-−+])?"
_NAMES = NameReader(
    read_number=english_number,
    read_digits=english_digits,
    dot=" dot ",
    point=" point ",
    at=" at ",
    gap=" ",
)


def _number(text: str) -> str:
    return english_number(plain(text))


def _joined(match: re.Match[str], by: str) -> str:
    return by.join(_number(number) for number in re.findall(NUMBER, match[0]))


def _signed(text: str) -> tuple[str, str]:
    """Split a sign off, in words."""
    sign = {"-": "minus ", "−": "minus ", "+": "plus "}.get(text[0], "")
    return sign, text[1:] if sign else text


def _telephone(match: re.Match[str]) -> str:
    parts = re.findall(r"\d+", match[0])
    return ", ".join("eight hundred" if p == "800" else english_digits(p) for p in parts)


def _telephone_or_range(match: re.Match[str]) -> str:
    first, last = match[0].split("-")
    is_range = first.endswith("0") and last.endswith("0")
    return _joined(match, " to ") if is_range else _telephone(match)


def _plural(word: str, number: str) -> str:
    return word if number == "1" else _PLURALS.get(word, f"{word}s")


def _money(match: re.Match[str]) -> str:
    unit, cent = _CURRENCIES[match["money_sign"]]
    magnitude = (match["money_magnitude"] or "").strip()
    *first, last = map(plain, re.findall(NUMBER, match["money_numbers"]))
    lead = "".join(f"{_amount(number)} to " for number in first)
    if magnitude:
        scale = _SCALES.get(magnitude, magnitude)
        return f"{lead}{_amount(last)} {scale} {_plural(unit, '')}"
    return lead + _price(last, unit, cent)


def _amount(number: str) -> str:
    whole, _, fraction = number.partition(".")
    return english_number(number if fraction.strip("0") else whole)


def _price(number: str, unit: str, cent: str) -> str:
    whole, _, fraction = number.partition(".")
    if not fraction.strip("0"):
        return f"{english_number(whole)} {_plural(unit, whole)}"
    if len(fraction) != len("00") or not cent:
        return f"{english_number(number)} {_plural(unit, '')}"
    cents = f"{english_cardinal(fraction)} {_plural(cent, fraction.lstrip('0'))}"
    if whole == "0":
        return cents
    return f"{english_number(whole)} {_plural(unit, whole)} and {cents}"


def _percent(match: re.Match[str]) -> str:
    sign, rest = _signed(match[0])
    mark = "per mille" if match[0][-1] == "‰" else "percent"
    return f"{sign}{' to '.join(map(_number, re.findall(NUMBER, rest)))} {mark}"


def _measure(match: re.Match[str]) -> str:
    sign, rest = _signed(match["measure_numbers"])
    *first, last = map(plain, re.findall(NUMBER, rest))
    unit = match["measure_unit"]
    lead = sign + "".join(f"{english_number(number)} to " for number in first)
    if unit in _UNITS:
        return f"{lead}{english_number(last)} {_UNITS[unit][last != '1' or bool(first)]}"
    if len(last) > MAX_CARDINAL_DIGITS:
        return f"{lead}{english_number(last)} {unit}"
    return lead + measures.read(f"{last} {unit}", "en")


def _fraction(match: re.Match[str]) -> str:
    whole, top, bottom = match["fraction_whole"], match["fraction_top"], match["fraction_bottom"]
    if int(top) >= int(bottom) or (top, bottom) == ("9", "11"):
        return f"{english_cardinal(top)} {english_cardinal(bottom)}"
    ordinal = english_ordinal(bottom)
    names = _FRACTIONS.get(bottom, (ordinal, f"{ordinal}s"))
    words = f"{english_cardinal(top)} {names[top != '1']}"
    if not whole:
        return words
    return f"{english_cardinal(whole)} and {f'a {names[0]}' if top == '1' else words}"


def _scientific(match: re.Match[str]) -> str:
    base, exponent = re.split("[eE]", match[0])
    sign, digits = _signed(exponent)
    return f"{_number(base)} times ten to the power of {sign}{_number(digits)}"


def _power(match: re.Match[str]) -> str:
    if match[0] in ("²", "³"):
        return " squared" if match[0] == "²" else " cubed"
    sign, exponent = _signed(match[0].lstrip("^*"))
    return f" to the power of {sign}{_number(exponent)}"


def _operator(match: re.Match[str]) -> str:
    return f" {_OPERATORS[match[0].strip()]} "


def _word(match: re.Match[str]) -> str:
    return _WORDS[match[0].rstrip(".,").lower()]


RULES = RuleTable(
    *_NAMES.address_rules(),
    *DATE_RULES,
    _NAMES.version_rule(),
    (rf"(?<![\d:]){NUMBER}:{NUMBER}(?![\d:])", lambda match: _joined(match, " to ")),
    (
        (
            rf"(?P<money_sign>{one_of(_CURRENCIES)})\s?(?P<money_numbers>{NUMBER}"
            rf"(?:\s?[-–—]\s?\$?{NUMBER})?)(?P<money_magnitude>(?:[kKMB]|bn)(?![A-Za-z])"
            r"|\s(?:thousand|million|billion|trillion)\b)?"
        ),
        _money,
    ),
    (rf"{_SIGN}{NUMBER}(?:\s?[%‰]?{RANGE_MARK}{NUMBER})?\s?[%‰]", _percent),
    (
        (
            rf"(?P<measure_numbers>{_SIGN}{NUMBER}(?:{RANGE_MARK}{NUMBER})?)\s?(?P<measure_unit>"
            rf"{one_of([*_UNITS, *measures.ENGLISH_UNITS])})(?![A-Za-z\d²³/])"
        ),
        _measure,
    ),
    (r"(?<![\w-])(?:\+?1[-. ])?\(?[2-9]\d\d\)?[-. ]\d{3}[-. ]\d{4}(?![\d-])", _telephone),
    (r"\+\d{1,3}(?:[- ]\d{2,4}){2,4}(?![\d-])", _telephone),
    (r"(?<![\d-])\d{3}-\d{4}(?![\d-])", _telephone_or_range),
    (r"(?<!\d)\d{4}(?: \d{4}){2,}(?!\d)|(?<![\d-])\d+(?:-\d+){2,}(?![\d-])", _telephone),
    (r"\b\d+(?:st|nd|rd|th)\b", lambda match: english_ordinal(match[0][:-2])),
    (FRACTION, _fraction),
    (
        rf"(?<![\d.-])(?!0\d){NUMBER}{RANGE_MARK}(?!0\d){NUMBER}(?![\d-]|\s*=|\.\d)",
        lambda match: _joined(match, " to "),
    ),
    (rf"(?<![\w.]){NUMBER}\s?[xX]\s?{NUMBER}(?![\w.])", lambda match: _joined(match, " by ")),
    (rf"(?<![\w.]){NUMBER}[eE][-+]?\d{{1,3}}(?!\w)", _scientific),
    _NAMES.name_rule(),
    (r"\bNo\.\s?\d+|#\d+", lambda match: f"number {_joined(match, ' ')}"),
    (r"\b(?:Mrs?|Dr|Prof)\.(?=\s+[A-Z])", _word),
    (r"\b(?:vs|e\.g|i\.e|approx)\.(?=\s|,)", _word),
    (r"\betc\.(?=\s+[a-z]|,|\))", _word),
    YEAR_RULE,
    (rf"{NUMBER}\+(?!\s?[\w(])", lambda match: f"{_number(match[0][:-1])} plus"),
    (NUMBER, lambda match: _number(match[0])),
    (r"\.\d+", lambda match: f"point {english_digits(match[0][1:])}"),
    (r"(?:\^|\*\*)[-+]?\d+|(?<=[\w)])[²³]", _power),
    (rf"{OPERAND_BEHIND}\s*(?:<=|>=|!=|[×*÷+<>≤≥≠≈±])\s*{OPERAND_AHEAD}", _operator),
    (r"(?<=[\w)²³])\s*=\s*(?=[-\w(])", _operator),
    (r"(?<=[\w)])\s*[-−]\s*(?=[\w(.]+\s*=)|(?<=[\d)]) [-−] (?=[\d(])", _operator),
    (
        r"(?<![\w)])(?:<=|>=|[<>≤≥≈~±])\s?(?=\d)|(?<![\w).])[-−+](?=\d)",
        lambda match: f"{_PREFIXES[match[0].strip()]} ",
    ),
    (r"(?<=\))\s*/\s*(?=[\w(])", lambda _: " divided by "),
    (r"(?<=\s)&(?=\s)", lambda _: "and"),
    (r"(?<!\S)@(?=\w)", lambda _: "at "),
    (r"[½⅓⅔¼¾]", lambda match: _VULGAR[match[0]]),
)
"""All rules for English, the more particular first."""
