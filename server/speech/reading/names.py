"""Names in which letters, digits and dots are mixed: addresses, files, versions, models."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from server.speech.reading.rules import Rule, keep

_HOST_ENDINGS = (
    "com|cn|org|net|edu|gov|io|ai|dev|app|co|me|tv|cc|info|xyz|top|site|tech|jp|kr|uk|de|fr|us|eu"
)
_FILE_ENDINGS = (
    "py|js|ts|md|txt|json|ya?ml|toml|csv|html?|css|go|rs|java|cpp|sh|exe|zip|pdf|docx?|xlsx?|pptx?"
    "|jpe?g|png|gif|mp3|mp4|wav|log|ini|cfg|xml|sql"
)
_URL = r"\b(?:https?|ftp|wss?)://[!-~]+"
_EMAIL = r"(?<![\w.+-])\w[\w.+-]*@[\w-]+(?:\.[\w-]+)+\b"
_HOST_OR_FILE = (
    rf"(?<![\w.@-])\w[\w-]*(?:\.[\w-]+)*\.(?:{_HOST_ENDINGS}|{_FILE_ENDINGS})\b(?![\w@])"
)
_ADDRESS = r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)"
_VERSION = r"\b[vV]\.?\d+(?:\.\d+)+(?!\.?\d)|(?<![\d.])\d+(?:\.\d+){2,}(?!\.?\d)"
_NAME = (
    r"(?<![\w.])(?=[A-Za-z_-]*\d)[A-Za-z]++(?:[-_]?(?:\d+(?:\.\d+)?(?![.\d]*\.\d)|[A-Za-z]++))*"
    r"|(?<![\w.])\d+(?:\.\d+)?[A-Za-z]++(?:[-_]?(?:\d+(?:\.\d+)?|[A-Za-z]++))*"
)
_NAME_PARTS = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?|[-_]")
_CARDINAL_DIGITS = 2
_AMOUNT_LETTERS = frozenset("KMBTGWkw")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameReader:
    """How a language reads names."""

    read_number: Callable[[str], str]
    read_digits: Callable[[str], str]
    dot: str
    """Said for the dot of a host."""
    point: str
    """Said for the dot of a version."""
    at: str
    gap: str
    """Stands between letters and a number that is read."""

    def name(self, text: str) -> str:
        """Read letters with digits: GPT-4o, AB-1234, H100, Qwen2.5-7B.

        A number of one or two digits, of whole hundreds, with a point, or before a unit of one
        letter (128K, but not 720p) is an amount, any other a row of digits. The hyphen between
        letters and digits is silent.
        """
        if not re.search(r"\d", text):
            return text
        parts = _NAME_PARTS.findall(text)
        spoken = ""
        for index, part in enumerate(parts):
            before = parts[index - 1] if index else ""
            if part in ("-", "_"):
                spoken += self._joint(before, "".join(parts[index + 1 : index + 2]), part)
            elif part.isalpha():
                spoken += (self.gap if before[:1].isdecimal() else "") + part
            else:
                after = "".join(parts[index + 1 : index + 2])
                is_amount = index == 0 and after in _AMOUNT_LETTERS
                spoken += self.gap if before.isalpha() else ""
                spoken += self.read_number(part) if is_amount else self._number(part)
        return spoken

    def _joint(self, before: str, after: str, hyphen: str) -> str:
        if before.isalpha() and after.isalpha():
            return " " if hyphen == "_" else hyphen
        return self.gap if before.isalpha() else " "

    def _number(self, number: str) -> str:
        is_cardinal = len(number) <= _CARDINAL_DIGITS or "." in number or number.endswith("00")
        return self.read_number(number) if is_cardinal else self.read_digits(number)

    def host(self, text: str) -> str:
        """Read a host or a file name, a part of digits digit by digit."""
        parts = (self.read_digits(p) if p.isdecimal() else self.name(p) for p in text.split("."))
        return self.dot.join(parts)

    def email(self, text: str) -> str:
        """Read an e-mail address."""
        user, _, host = text.partition("@")
        return self.host(user) + self.at + self.host(host)

    def version(self, text: str) -> str:
        """Read v1.2.3."""
        head = text[0] + self.gap if text[0] in "vV" else ""
        return head + self.point.join(map(self.read_number, re.findall(r"\d+", text)))

    def address(self, text: str) -> str:
        """Read an IPv4 address, digit by digit."""
        return self.dot.join(map(self.read_digits, text.split(".")))

    def address_rules(self) -> tuple[Rule, ...]:
        """Rules that nothing may come before: what they match looks like much else inside."""
        return (
            (_URL, keep),
            (_EMAIL, lambda match: self.email(match[0])),
            (_ADDRESS, lambda match: self.address(match[0])),
            (_HOST_OR_FILE, lambda match: self.host(match[0])),
        )

    def version_rule(self) -> Rule:
        """After dates, which have dots as well."""
        return _VERSION, lambda match: self.version(match[0])

    def name_rule(self) -> Rule:
        """After measures, which are letters after digits as well."""
        return _NAME, lambda match: self.name(match[0])
