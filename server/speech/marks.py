"""The marks in a text by which it asks a model for sounds, stress or a pronunciation.

CosyVoice takes `[laughter]`, `<strong>`, `[j][ǐ]` and more (the names are its tokenizers'). To
everything that cleans and reads text, such a mark is one character of a private plane, so that no
rule takes it for a link or a tag, reads its digits or pauses beside it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

_MARK = re.compile(
    r"\[[^\[\]\s<>()|]{1,20}\](?!\((?:[a-z]+:|www\.|[/#.]))"
    r"|</?[a-z]{1,20}>"
    r"|(?P<private>[\U000f0000-\U0010ffff])"
)
"""What may be a mark; in `[b](https://a.com)` it is a link."""
_FIRST_CODE = 0xF0000


class Marks:
    """The marks that one model understands.

    Args:
        known: each as it stands in a text, brackets included.
    """

    __slots__ = ("_codes", "_marks")

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._codes = {mark: chr(_FIRST_CODE + index) for index, mark in enumerate(known)}
        self._marks = {code: mark for mark, code in self._codes.items()}

    def __bool__(self) -> bool:
        return bool(self._codes)

    def hide(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield edits that put a private character in place of each mark."""
        for match in _MARK.finditer(text):
            code = self._codes.get(unicodedata.normalize("NFC", match[0]))
            if code is not None or match["private"] is not None:
                yield match.start(), match.end(), code or ""

    def show(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield edits that put the marks back."""
        for index, code in enumerate(text):
            if (mark := self._marks.get(code)) is not None:
                yield index, index + 1, mark

    def sounds(self, text: str) -> bool:
        """Tell whether hidden marks in `text` are to be heard by themselves, as a laugh is."""
        return any(self._marks.get(code, "").startswith("[") for code in text)
