"""The two things that are left to wetext: measures, and numbers in Japanese.

wetext is a grammar of weighted transducers. It knows many units, but takes what looks like a unit
or a date for one ("5 m" is five minutes, "12.5" is the fifth of December, "GPT-4o" is GPT minus
four o), so of Chinese and English it is given single measures in the units below and nothing else.

Importing it reads all its grammars: about 0.4 s and 40 MB. `load` does that ahead of time, and
may run in a thread; without it the first measure does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

Language: TypeAlias = Literal["zh", "en", "ja"]

CHINESE_UNITS = (
    "km/h", "m/s", "cm²", "m²", "m³", "km", "cm", "mm", "m", "kg", "mg", "ml", "L", "h", "min", "s",
)  # fmt: skip
ENGLISH_UNITS = (
    "km/h", "mph", "km²", "m²", "m³", "km", "cm", "mm", "ft", "kg", "mg", "oz", "lb", "lbs", "ml",
    "min", "ms", "GB", "MB", "TB", "GHz", "MHz", "Hz", "kW",
)  # fmt: skip
JAPANESE_UNITS = ("km/h", "km", "cm", "mm", "m", "kg", "mg", "ml")


def load() -> None:
    """Import wetext and run each grammar once."""
    read("5km", "zh")
    read("5 km", "en")
    read("5個", "ja")


@lru_cache(maxsize=1024)
def read(text: str, language: Language) -> str:
    """Read one expression, in a fraction of a millisecond; small numbers come again and again."""
    import wetext  # noqa: PLC0415 - 0.4 s for which the start of the server shall not wait

    return str(wetext.normalize(text, lang=language, operator="tn"))
