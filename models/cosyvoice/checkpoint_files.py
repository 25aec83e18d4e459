"""Checks of a checkpoint's files that need no knowledge of what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from models.cosyvoice.errors import CheckpointError

_ONNX_FIRST_BYTE = 0x08
"""Protobuf's tag of the field ir_version, a number, which comes first."""
_POINTER = b"version https://git-lfs.github.com/spec"
_MAX_HEADER_BYTES = 16 << 20


def require_files(directory: Path, names: Iterable[str]) -> None:
    """See that all files are there.

    Raises:
        CheckpointError: it names all that are missing.
    """
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{directory}: lacks {', '.join(missing)}; the download is incomplete, run it again"
        )


def check_file(path: Path) -> None:
    """See that a file is what its name says, by its first bytes and its size.

    Raises:
        CheckpointError: it is empty, a pointer of git-lfs, cut short or something else.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path}: is empty; fetch it again")
    if head.startswith(_POINTER):
        raise CheckpointError(f"{path}: is a pointer of git-lfs; run git lfs pull to get the file")
    if path.suffix == ".onnx" and head[0] != _ONNX_FIRST_BYTE:
        raise CheckpointError(f"{path}: is no ONNX model; fetch it again")
    if path.suffix == ".json" and not head.lstrip().startswith(b"{"):
        raise CheckpointError(f"{path}: is no JSON object; fetch it again")
    if path.suffix == ".safetensors":
        _check_safetensors(path)


def _check_safetensors(path: Path) -> None:
    """The header says where the last tensor ends, and there the file ends."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if not 0 < header_bytes <= min(_MAX_HEADER_BYTES, size_bytes):
            raise CheckpointError(f"{path}: is no safetensors file; fetch it again")
        header = file.read(header_bytes)
    try:
        tensors = json.loads(header)
        end_bytes = max(
            (entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"),
            default=0,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise CheckpointError(f"{path}: is no safetensors file; fetch it again") from None
    if size_bytes != 8 + header_bytes + end_bytes:
        raise CheckpointError(
            f"{path}: has {size_bytes} bytes and ought to have {8 + header_bytes + end_bytes}; "
            "fetch it again"
        )
