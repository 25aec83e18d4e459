"""The text of a request in tokens: whole, or as it comes."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeAlias

from models.base import ModelError
from models.cosyvoice.guards import TokenGuard
from models.cosyvoice.text_pieces import is_speakable, whole_words
from models.cosyvoice.user_text import clean, sentence

Encode: TypeAlias = Callable[[str], list[int]]

_PASSAGE_TOKENS = 120
"""Half a minute or more. The flow computes the past anew for each chunk (defect 3), and its noise
ends after 300 seconds; so a stream of text is spoken in passages that end with a sentence."""
_LONGEST_PASSAGE_TOKENS = 3 * _PASSAGE_TOKENS
_BEGIN_LETTERS = 10
"""Enough to tell the script by. They are about the five tokens without which nothing is decoded."""
_MARK = re.compile(r"\[[^\[\]\s]*\]|</?[a-z]+>")
_ENDS_SENTENCE = re.compile(r"[。！？!?.…\n][\"'”’）)\s]*$")


class WholeText:
    """A text that is there.

    Args:
        text: of the request.
        marks: that the model understands.
        encode: the tokenizer.

    Raises:
        ModelError: `text_unspeakable`.
    """

    def __init__(self, text: str, marks: Collection[str], encode: Encode) -> None:
        self.text = sentence(text, marks)
        self.ids: Sequence[int] = encode(self.text)

    def read(self, guard: TokenGuard) -> Sequence[int]:
        """All tokens, made known to the guard."""
        guard.add_text(self.text, len(self.ids))
        return self.ids


class StreamedText:
    """A text that comes in pieces.

    Args:
        pieces: of any size; may be awaited for as long as they take.
        marks: that the model understands.
        encode: the tokenizer.
    """

    def __init__(self, pieces: Iterator[str], marks: Collection[str], encode: Encode) -> None:
        self._pieces = whole_words(pieces)
        self._marks = marks
        self._encode = encode
        self._read_ahead: deque[_Piece] = deque()

    def begin(self) -> str:
        """How the text begins, once enough of it has come: a few letters, or all there are.

        It depends on the text alone, not on its pieces.
        """
        begin = ""
        while _n_letters(begin) < _BEGIN_LETTERS and (piece := self._take()) is not None:
            self._read_ahead.append(piece)
            begin += _MARK.sub("", piece[0])
        while _n_letters(begin) > _BEGIN_LETTERS:
            begin = begin[:-1]
        return begin.strip()

    def passages(self) -> Iterator[StreamedPassage]:
        """The text's passages one after the other; each is read to its end before the next.

        Raises:
            ModelError: `text_unspeakable`, the text has ended without anything to speak.
        """
        first = self._next_speakable()
        if first is None:
            raise ModelError("text_unspeakable", "there is nothing to say in the text")
        while first is not None:
            yield StreamedPassage(first, self._next)
            first = self._next_speakable()

    def _next_speakable(self) -> _Piece | None:
        """What a passage begins with; marks and blanks before it belong to none."""
        while (piece := self._next()) is not None:
            if is_speakable(piece[0]):
                return piece
        return None

    def _next(self) -> _Piece | None:
        return self._read_ahead.popleft() if self._read_ahead else self._take()

    def _take(self) -> _Piece | None:
        for piece in self._pieces:
            text = clean(piece, self._marks)
            if ids := self._encode(text):
                return text, ids
        return None


_Piece: TypeAlias = tuple[str, list[int]]


def _n_letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


class StreamedPassage:
    """A part of a streamed text that is decoded in one go. It can be read again from its begin."""

    def __init__(self, first: _Piece, next_piece: Callable[[], _Piece | None]) -> None:
        self._pieces = [first]
        self._next_piece = next_piece
        self._ended = False

    def read(self, guard: TokenGuard) -> Iterator[int]:
        """The tokens, each piece made known to the guard as it comes."""
        for text, ids in self.pieces():
            guard.add_text(text, len(ids))
            yield from ids

    def pieces(self) -> Iterator[tuple[str, list[int]]]:
        """Pieces of the text and their tokens, as they come."""
        n_tokens = position = 0
        while position < len(self._pieces) or self._fetch(n_tokens):
            text, ids = self._pieces[position]
            position += 1
            n_tokens += len(ids)
            yield text, ids

    def skip(self) -> None:
        """Read what is left of it for nothing."""
        while self._fetch(sum(len(ids) for _, ids in self._pieces)):
            pass

    def _fetch(self, n_tokens: int) -> bool:
        last_text, _ = self._pieces[-1]
        enough = n_tokens >= _PASSAGE_TOKENS and _ENDS_SENTENCE.search(last_text)
        if self._ended or enough or n_tokens >= _LONGEST_PASSAGE_TOKENS:
            return False
        piece = self._next_piece()
        if piece is None:
            self._ended = True
            return False
        self._pieces.append(piece)
        return True
