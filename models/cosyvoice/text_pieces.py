"""Cuts streamed text anew, where it can be cut."""

from __future__ import annotations

import re
from collections.abc import Iterator

_UNCERTAIN_CHARACTERS = 48
"""Longer than words and marks are; a run without a boundary is not held back beyond it."""
_SELF_CONTAINED = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
"""Han, kana, Hangul and wide punctuation: a cut on either side breaks no word."""
_BETWEEN_SENTENCES = re.compile(r"(?<=[。！？…\n])|(?<=[.!?])(?=\s)")
_OPEN_END = re.compile(
    rf"(?:[<\[][^<>\[\]]{{0,{_UNCERTAIN_CHARACTERS}}}"  # a mark that is not closed yet
    rf"|\s*[^\s{_SELF_CONTAINED}]{{1,{_UNCERTAIN_CHARACTERS}}}"  # a word, with the space before it
    r"|\s+)$"
)


def is_speakable(text: str) -> bool:
    """Whether there is a letter or a digit in it, of any script."""
    return any(character.isalnum() for character in text)


def whole_words(pieces: Iterator[str]) -> Iterator[str]:
    """Cut a stream of text so that no word, number or mark is parted.

    The tokenizer of the language model sees each piece alone: of "Hel" and "lo" it would make
    other tokens than of "Hello".

    Args:
        pieces: of any size, cut anywhere.

    Returns:
        The same text in pieces of a sentence at most, each as soon as nothing can change it.
    """
    pending = ""
    for piece in pieces:
        pending += piece
        end = _certain_end(pending)
        yield from filter(None, _BETWEEN_SENTENCES.split(pending[:end]))
        pending = pending[end:]
    yield from filter(None, _BETWEEN_SENTENCES.split(pending))


def _certain_end(text: str) -> int:
    """Where the part ends that no further text can change."""
    open_end = _OPEN_END.search(text)
    return open_end.start() if open_end else len(text)
