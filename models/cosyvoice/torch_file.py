"""Reads what torch.save wrote, without torch and without running a pickle.

The file is a zip archive: `NAME/data.pkl` is a pickle of the objects, in which each tensor refers
to a storage, `NAME/data/KEY`, an uncompressed array of numbers (torch/serialization.py).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.torch_pickle import (
    ITEM_BYTES,
    TensorView,
    TorchPickleError,
    read_torch_pickle,
)

Array: TypeAlias = npt.NDArray[Any]

_MAX_PICKLE_BYTES = 16 << 20
_MAX_DEPTH = 16


def read_torch_file(path: Path, *, max_bytes: int) -> object:
    """Everything in the file: dictionaries, lists and tuples of plain values and numpy arrays.

    Arrays are in native byte order and own their memory; bfloat16 comes as float32.

    Args:
        path: what torch.save wrote.
        max_bytes: all arrays together may take so much memory.

    Raises:
        CheckpointError: the file is damaged, too big, of the legacy format, or holds something
            else.
        OSError: it cannot be read.
    """
    with _Archive(path) as archive:
        content = archive.content()
        total_bytes = sum(_memory_bytes(view) for view in _views(content))
        if total_bytes > max_bytes:
            raise CheckpointError(f"{path}: {total_bytes} bytes of tensors, more than {max_bytes}")
        return archive.with_arrays(content)


def read_state_dict_views(path: Path) -> Mapping[str, TensorView]:
    """Names and shapes of a state dict, however big, without reading its numbers.

    Every storage is checked to be in the archive, in its full size.

    Raises:
        CheckpointError: as in `read_torch_file`, or the file holds no state dict.
        OSError: it cannot be read.
    """
    with _Archive(path) as archive:
        content = archive.content()
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path}: holds no state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, TensorView):
            raise CheckpointError(f"{path}: holds no state dict, {name!r} is no tensor")
    return content


class _Archive:
    """An open file, and the checks that it is what torch.save writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size_bytes = path.stat().st_size
        self._file = path.open("rb")
        try:
            self._zip = self._open()
            self._prefix = self._find_prefix()
            self._order = self._byte_order()
        except BaseException:  # raised again; nobody would close the file otherwise
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    def _error(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self._path}: {reason}")

    def _open(self) -> zipfile.ZipFile:
        magic = self._file.read(4)
        if magic[:2] == b"\x80\x02":
            raise self._error(
                "is of torch's format before 1.6, which can only be read by running it; "
                "save it again with a recent torch.save"
            )
        if magic != b"PK\x03\x04":
            raise self._error("is not what torch.save writes; fetch it again")
        try:
            return zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            raise self._error("is cut short or damaged; fetch it again") from None

    def _find_prefix(self) -> str:
        for name in self._zip.namelist():
            folder, _, file = name.rpartition("/")
            if file == "data.pkl" and "/" not in folder:
                return f"{folder}/" if folder else ""
        raise self._error("is a zip archive, but not one that torch.save wrote")

    def _byte_order(self) -> Literal["<", ">"]:
        if f"{self._prefix}byteorder" not in self._zip.namelist():
            return "<"  # files before torch 2.1 do not say, and come from little endian machines
        order = self._read("byteorder", 16)
        if order not in (b"little", b"big"):
            raise self._error(f"has an unknown byte order {order!r}")
        return "<" if order == b"little" else ">"

    def _entry(self, name: str) -> zipfile.ZipInfo:
        try:
            entry = self._zip.getinfo(self._prefix + name)
        except KeyError:
            raise self._error(f"lacks its part {name}; fetch it again") from None
        if not 0 <= entry.header_offset <= self._size_bytes - entry.compress_size:
            raise self._error(f"its part {name} is damaged; fetch it again")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise self._error(f"its part {name} is compressed, which torch.save does not do")
        return entry

    def _read(self, name: str, max_bytes: int) -> bytes:
        entry = self._entry(name)
        if entry.file_size > max_bytes:
            raise self._error(f"its part {name} is too big")
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError):
            raise self._error(f"its part {name} is damaged; fetch it again") from None

    def content(self) -> object:
        """What the pickle describes, each tensor as a checked `TensorView`."""
        program = self._read("data.pkl", _MAX_PICKLE_BYTES)
        try:
            content = read_torch_pickle(program)
        except TorchPickleError as error:
            raise self._error(str(error)) from None
        for view in _views(content):
            if view.end > view.storage.items:
                raise self._error("a tensor reaches beyond its storage")
            if self._entry(f"data/{view.storage.key}").file_size < view.storage.size_bytes:
                raise self._error("a storage is smaller than its tensor; fetch it again")
        return content

    def with_arrays(self, content: object) -> object:
        """`content` with arrays for views; what is the same object stays the same object."""
        done: dict[int, object] = {}

        def convert(value: object, depth: int) -> object:
            if depth > _MAX_DEPTH:
                raise self._error("is nested too deeply")
            if id(value) in done:
                return done[id(value)]
            result = value
            if isinstance(value, TensorView):
                result = self._array(value)
            elif isinstance(value, dict):
                result = {key: convert(item, depth + 1) for key, item in value.items()}
            elif isinstance(value, (list, tuple)):
                result = type(value)([convert(item, depth + 1) for item in value])
            done[id(value)] = result
            return result

        return convert(content, 0)

    def _array(self, view: TensorView) -> Array:
        storage = view.storage
        data = self._read(f"data/{storage.key}", self._entry(f"data/{storage.key}").file_size)
        kind = "u2" if storage.kind == "bfloat16" else storage.kind
        numbers = np.frombuffer(data, np.dtype(kind).newbyteorder(self._order), storage.items)
        if not view.items:
            strided: Array = np.zeros(view.shape, numbers.dtype)
        else:
            steps = tuple(step * numbers.itemsize for step in view.strides)
            strided = np.lib.stride_tricks.as_strided(numbers[view.offset :], view.shape, steps)
        native = strided.astype(np.dtype(kind))
        if storage.kind == "bfloat16":  # the upper half of a float32
            return (native.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return native


def _memory_bytes(view: TensorView) -> int:
    return max(view.items * max(4, ITEM_BYTES[view.storage.kind]), view.storage.size_bytes)


def _views(content: object) -> Iterator[TensorView]:
    """Each tensor once, however often the same one is referred to."""
    pending, seen = [content], set[int]()
    while pending:
        value = pending.pop()
        if id(value) in seen or not isinstance(value, (TensorView, dict, list, tuple)):
            continue
        seen.add(id(value))
        if isinstance(value, TensorView):
            yield value
        else:
            pending += value.values() if isinstance(value, dict) else value
