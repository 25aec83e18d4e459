"""Which script a text is written in, as far as it tells languages apart."""

from __future__ import annotations

import re
from collections import Counter

_WORDS = re.compile(
    r"(?P<han>[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af])"
    r"|(?P<kana>[\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d])"
    r"|(?P<hangul>[\uac00-\ud7a3])"
    r"|(?P<latin>[A-Za-z\u00c0-\u024f\u1e00-\u1eff]+)"
    r"|(?P<other>[^\W\d_])"
)
_KANA_SHARE = 4
"""Japanese has a kana for every four Han characters at least; Chinese with a の in it has not."""


def script_shares(text: str) -> dict[str, float]:
    """The share of each script in a text, counting a character or a word of Latin letters as one.

    Han characters among kana are Japanese and count as kana. Digits and marks do not count.

    Returns:
        Shares above zero by `han`, `kana`, `hangul`, `latin` or `other`, which add up to 1; nothing
        for a text without letters.
    """
    counts = Counter(match.lastgroup or "" for match in _WORDS.finditer(text))
    if counts["kana"] * _KANA_SHARE >= counts["han"] and counts["kana"]:
        counts["kana"] += counts.pop("han", 0)
    total = counts.total()
    return {script: count / total for script, count in counts.items() if count}


def main_script(text: str) -> str:
    """The script with the largest share, empty for a text without letters."""
    shares = script_shares(text)
    return max(shares, key=lambda script: shares[script], default="")
