"""How much of a sentence can be read before the rest of it has been written.

`stable_end` finds a place up to which text is normalised in one way, whatever follows it. It goes
by what the rules of `normalizer` look at, and rather stops too early than too late:

* Han characters, kana and words without digits are read as they are, alone or in a sentence, with
  single marks and blanks between them. A word counts when what follows it is known to be another:
  "May" may become "May 5th", "example" may become "example.com".
* A number waits for the next Chinese clause mark and the character after it: "25" may become "25℃",
  "2,500" or "25号楼". That is done only among Chinese text.
* At anything else (markup, links, names with hyphens and digits, line breaks, formulas) the stable
  part ends, for the whole rest of the sentence.

What is read differently nevertheless: numbers of a sentence that begins in Chinese and goes on in
Japanese or Korean.
"""

from __future__ import annotations

import re

_HAN = r"\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_KANA = r"\u3041-\u3096\u309d\u309e\u30a1-\u30fa\u30fc-\u30fe"
_LATIN = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_LETTER = rf"{_LATIN}\u0400-\u0481\u048a-\u052f\uac00-\ud7a3"
"""Not the full-width letters and the Greek ones: beside numbers these are read."""
_QUOTES = r"“”‘’（）《》〈〉「」『』\""
_PAUSES = "，；：、。！？,;:!?"
"""Of two of these in a row, one may be dropped."""

_WORD = rf"[{_LETTER}]++(?:['’-][{_LETTER}]++)*+"
_GAP = rf"[{_QUOTES}]*+[{_PAUSES}]?[{_QUOTES}]*+(?: [{_QUOTES}]*+)?"
_NEXT = rf"(?=[{_HAN}{_KANA}{_LETTER}])"
_PLAIN = re.compile(
    rf"(?:[{_HAN}{_KANA}]|{_WORD}(?={_GAP}{_NEXT})|(?=[ {_QUOTES}{_PAUSES}]){_GAP}{_NEXT})*+"
)
_LEAD = re.compile(r"(?:[\s。！？；：，、”’）」』》〉!?;:,]|(?<!…)…(?!…))*+")
"""What is dropped at the beginning of a sentence."""
_TRAIL = f" {_QUOTES}".replace("\\", "")
"""What rather goes with the next word."""

_COUNTED = re.compile(
    rf"[{_HAN}{_LATIN}{_QUOTES}{_PAUSES}0-9 .%‰℃℉°￥¥€£/+']*"
    rf"(?<![\s{_PAUSES}])[，；。！？](?=[{_HAN}{_LATIN}])"
)
"""Text with numbers in it up to the last mark that ends their reach."""
_UNDECIDED = re.compile(
    rf"^\s*(?:\+|\d{{1,3}}[.)]) |[{_PAUSES}….] *[{_PAUSES}….]|  |//|www\.|[{_KANA}\uac00-\ud7a3]"
)
"""An item of a list, marks of which one may be dropped, an address, another language's numbers."""
_HAS_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


def stable_end(text: str, begin: int = 0) -> int:
    """Return how many characters of a sentence's beginning are read in one way, whatever follows.

    Args:
        text: the sentence, as far as it has been written.
        begin: an earlier result for a shorter beginning of the same sentence.
    """
    at = begin or _lead_end(text)
    end = _plain_end(text, at)
    counted = _COUNTED.match(text, end)
    if counted is not None and _is_decided(text[: counted.end()]):
        end = _plain_end(text, counted.end())
    return end if end > at else begin


def _lead_end(text: str) -> int:
    lead = _LEAD.match(text)
    return lead.end() if lead is not None else 0


def _plain_end(text: str, begin: int) -> int:
    plain = _PLAIN.match(text, begin)
    end = plain.end() if plain is not None else begin
    return max(begin, len(text[:end].rstrip(_TRAIL)))


def _is_decided(text: str) -> bool:
    return _HAS_HAN.search(text) is not None and _UNDECIDED.search(text) is None
