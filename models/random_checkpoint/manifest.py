"""Names and shapes of the tensors in each file, dumped once from upstream's own modules."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Manifest: TypeAlias = Mapping[str, Mapping[str, tuple[int, ...]]]
"""`llm`, `flow` and `hift` to tensor name to shape. Every tensor is float32."""


def read_manifest(variant: str) -> Manifest:
    """The manifest of a variant, in the order of upstream's modules."""
    path = Path(__file__).parent / "manifests" / f"{variant}.json.gz"
    files = json.loads(gzip.decompress(path.read_bytes()))
    return {
        file: {name: tuple(shape) for name, (shape, _dtype) in tensors.items()}
        for file, tensors in files.items()
    }
