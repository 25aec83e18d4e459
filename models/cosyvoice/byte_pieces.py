"""Text out of token ids of a byte-level BPE vocabulary, such as Qwen2's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from models.cosyvoice.errors import CheckpointError


def byte_characters() -> dict[int, str]:
    """The printable character that byte-level BPE (GPT-2, Qwen2) writes for each byte.

    Printable bytes of Latin-1 stand for themselves; the others take the code points from 256 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable}
    return characters | {byte: chr(256 + i) for i, byte in enumerate(others)}


class BytePieces:
    """The vocabulary of a vocab.json.

    Raises:
        CheckpointError: the file is no vocabulary.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            vocabulary = json.loads(path.read_text(encoding="utf-8"))
            self._pieces = {token_id: piece for piece, token_id in vocabulary.items()}
        except (ValueError, AttributeError, TypeError):
            raise CheckpointError(f"{path}: is no vocabulary; fetch it again") from None
        self._bytes = {character: byte for byte, character in byte_characters().items()}

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of tokens; control tokens (`<|...|>`) and unknown ids leave nothing."""
        pieces = (self._pieces.get(token_id, "") for token_id in token_ids)
        data = bytes(
            self._bytes[character]
            for piece in pieces
            if not piece.startswith("<|")
            for character in piece
            if character in self._bytes
        )
        return data.decode("utf-8", errors="replace")
