"""A table of patterns with their readings, tried from left to right in one pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

Reading: TypeAlias = Callable[[re.Match[str]], str | None]
"""Says what a match is read as, or None if it stays as it is."""
Rule: TypeAlias = tuple[str, Reading]
"""A pattern and its reading."""

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
"""A number without a sign, with or without thousands commas."""
FRACTION = (
    r"(?<![\d/.])(?:(?P<fraction_whole>\d+) )?"
    r"(?P<fraction_top>\d+)/(?P<fraction_bottom>[1-9]\d*)(?![\d/.])"
)
RANGE_MARK = r"\s?[-–—~～〜]\s?"
OPERAND_BEHIND = r"(?<=[\w)²³π])(?<![A-Za-z]{2})"
OPERAND_AHEAD = r"(?=[-\d(√π]|[A-Za-z](?![A-Za-z]))"
"""An operator is one only between numbers, brackets and variables of one letter."""


_NOT_IN_A_WORD = r"(?:(?<![A-Za-z])|(?![A-Za-z]))"
"""No rule begins in the middle of a word; not to try there halves the time."""


class RuleTable:
    r"""Rules in the order of their precedence.

    Patterns are compiled with `re.ASCII`, so that `\b` lies between a Han character and a
    digit. Named groups must be unique in the table.
    """

    def __init__(self, *rules: Rule) -> None:
        parts = [f"(?P<rule{index}>{pattern})" for index, (pattern, _) in enumerate(rules)]
        self._pattern = re.compile(f"{_NOT_IN_A_WORD}(?:{'|'.join(parts)})", re.ASCII)
        self._readings = {f"rule{index}": reading for index, (_, reading) in enumerate(rules)}

    def edits(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield the changes to `text`, in order."""
        for match in self._pattern.finditer(text):
            # The group that closes last is the rule's own, whatever groups lie in it.
            spoken = self._readings[match.lastgroup or ""](match)
            if spoken is not None:
                yield match.start(), match.end(), spoken


def keep(_: re.Match[str]) -> None:
    """Leave the match as it is, and keep other rules from it."""


def follows(match: re.Match[str], n_characters: int = 1) -> str:
    """What stands after a match, up to so many characters."""
    return match.string[match.end() : match.end() + n_characters]


def plain(number: str) -> str:
    """A number without its thousands commas."""
    return number.replace(",", "")


def one_of(signs: Iterable[str]) -> str:
    """A pattern for any of some strings, the longest first."""
    return "|".join(map(re.escape, sorted(set(signs), key=len, reverse=True)))
