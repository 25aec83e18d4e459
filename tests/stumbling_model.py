"""A sine model that stumbles over a word a few times, and writes down what it was given.

See `piece_model` for the record.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from piece_model import PieceModel, read_record  # noqa: F401 - for whoever uses this one

from models.base import PcmChunk, SynthesisRequest


class StumblingModel(PieceModel):
    """Speaks sines.

    Args:
        stumbles_path: a file that grows by a byte with each stumble, in all processes.
        stumbles: how often texts with `word` fail before they succeed.
        word: over which it stumbles.
        dies: the process ends instead of raising.
        options: of `PieceModel`.
    """

    def __init__(
        self,
        *,
        stumbles_path: str,
        stumbles: int,
        word: str = "stumble",
        dies: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._path = stumbles_path
        self._stumbles = stumbles
        self._word = word
        self._dies = dies

    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        """Speak, or stumble after the first chunk."""
        chunks = super().synthesize(request, text)
        if isinstance(text, str) and self._word in text:
            yield next(chunks)
            with open(self._path, "ab", buffering=0) as file:  # noqa: PTH123
                if file.tell() < self._stumbles:
                    file.write(b".")
                    if self._dies:
                        os._exit(3)
                    raise RuntimeError("the sine was told to stumble here")
        yield from chunks
