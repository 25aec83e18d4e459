"""Where the Wyoming port listens: the setting `wyoming`, taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

DEFAULT_PORT = 10_200
"""Where Home Assistant's own text-to-speech over Wyoming listens."""
ON = "on"
_WORDS = {
    **dict.fromkeys(("on", "true", "yes", "1"), ON),
    **dict.fromkeys(("", "off", "false", "no", "0"), ""),
}
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class WyomingAddress:
    """An address to listen on."""

    host: str
    """Empty for the one that HTTP has."""
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """Read `on`, `off`, `PORT`, `HOST`, `HOST:PORT` or `[HOST]:PORT`; None is off.

        Raises:
            ValueError: it is none of these.
        """
        value = _WORDS.get(value.strip().lower(), value.strip())
        if not value:
            return None
        if value == ON:
            return cls("")
        if value.isdecimal():
            return cls("", _port(value))
        if value.startswith("["):
            host, bracket, rest = value[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise ValueError(f"{value!r} is no address such as '[::1]:{DEFAULT_PORT}'")
            return cls(_host(host), _port(rest[1:]) if rest else DEFAULT_PORT)
        if value.count(":") > 1:
            return cls(_host(value))
        host, colon, port = value.partition(":")
        return cls(_host(host) if host else "", _port(port) if colon else DEFAULT_PORT)


def _host(value: str) -> str:
    if not value or any(mark in value for mark in " /@[]"):
        raise ValueError(f"{value!r} is no host; write on, HOST or HOST:PORT")
    return value


def _port(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and int(value) <= _MAX_PORT):
        raise ValueError(f"{value!r} is no port; it is from 0 to {_MAX_PORT}")
    return int(value)
