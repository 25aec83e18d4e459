"""A sine model that writes down what it was given: whole texts, or pieces as they came.

Use it as `ModelSpec(name="pieces", factory="piece_model:PieceModel", options={...})`; see
`sine_model` for the rest. `read_record` reads what it wrote.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sine_model import SineModel

from models.base import PcmChunk, SynthesisRequest


class PieceModel(SineModel):
    """Speaks sines, piece by piece.

    Args:
        record_path: where it writes what it was given.
        breaks_at: it raises when this stands in a piece.
        stops_at: it reads nothing after the piece in which this stands, though more may come.
        options: of `SineModel`.
    """

    def __init__(
        self, *, record_path: str, breaks_at: str = "", stops_at: str = "", **options: Any
    ) -> None:
        super().__init__(**options)
        self._record_path = record_path
        self._lock = threading.Lock()
        self._n_syntheses = 0
        self._breaks_at = breaks_at
        self._stops_at = stops_at

    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        """Speak, and write down."""
        with self._lock:
            self._n_syntheses += 1
            key = f"{os.getpid()}.{self._n_syntheses}"
        if isinstance(text, str):
            self._write(key, "whole", text)
            return super().synthesize(request, text)
        return super().synthesize(request, self._noted(key, text))

    def _noted(self, key: str, pieces: Iterator[str]) -> Iterator[str]:
        self._write(key, "begin", "")
        for piece in pieces:
            self._write(key, "piece", piece)
            if self._breaks_at and self._breaks_at in piece:
                raise RuntimeError("the sine was told to break here")
            yield piece
            if self._stops_at and self._stops_at in piece:
                return
        self._write(key, "end", "")

    def _write(self, key: str, kind: str, text: str) -> None:
        line = json.dumps([key, kind, text]) + "\n"
        with open(self._record_path, "ab", buffering=0) as record:  # noqa: PTH123
            record.write(line.encode())


@dataclass
class Synthesis:
    """What one call of `synthesize` was given."""

    pieces: list[str] = field(default_factory=list)
    is_streamed: bool = False
    is_ended: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def read_record(path: Path) -> list[Synthesis]:
    """All syntheses so far, in the order in which they began."""
    syntheses: dict[str, Synthesis] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        key, kind, text = json.loads(line)
        synthesis = syntheses.setdefault(key, Synthesis())
        if kind in ("whole", "piece"):
            synthesis.pieces.append(text)
        synthesis.is_streamed |= kind == "begin"
        synthesis.is_ended |= kind in ("whole", "end")
    return list(syntheses.values())
