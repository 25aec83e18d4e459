"""Writes torch.save archives without torch, well-formed and otherwise."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np

STORAGES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.int32): "IntStorage",
    np.dtype(np.uint8): "ByteStorage",
    np.dtype(np.bool_): "BoolStorage",
}


class Raw(bytes):
    """Instructions that leave one object on the stack."""


def name(module: str, attribute: str) -> Raw:
    return Raw(f"c{module}\n{attribute}\n".encode())


def call(function: Raw, *arguments: object) -> Raw:
    return Raw(function + pickled(arguments) + b"R")


def pickled(value: object) -> bytes:  # noqa: PLR0911 - a table
    """The instructions for a value, as torch.save writes them (protocol 2)."""
    match value:
        case Raw():
            return value
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            data = value.to_bytes(9, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            data = value.encode()
            return b"X" + struct.pack("<I", len(data)) + data
        case tuple():
            return b"(" + b"".join(map(pickled, value)) + b"t"
        case list():
            return b"](" + b"".join(map(pickled, value)) + b"e"
        case dict():
            items = (pickled(part) for item in value.items() for part in item)
            return b"}(" + b"".join(items) + b"u"
    raise TypeError(type(value))


def storage(key: str, kind: str, items: int) -> Raw:
    return Raw(pickled(("storage", name("torch", kind), key, "cpu", items)) + b"Q")


def view(
    stored: Raw, offset: object, shape: tuple[object, ...], strides: tuple[object, ...]
) -> Raw:
    hooks = call(name("collections", "OrderedDict"))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, stored, offset, shape, strides, False, hooks)


class Archive:
    """Collects storages while a value is put together; `write` makes the file."""

    def __init__(self, *, big_endian: bool = False) -> None:
        self.storages: dict[str, bytes] = {}
        self.byte_order = "big" if big_endian else "little"

    def add(self, data: bytes) -> str:
        key = str(len(self.storages))
        self.storages[key] = data
        return key

    def tensor(self, array: np.ndarray) -> Raw:
        """A tensor with a storage of its own."""
        stored = array.astype(array.dtype.newbyteorder(">")) if self.byte_order == "big" else array
        key = self.add(stored.tobytes())
        strides = tuple(step // array.itemsize for step in np.empty_like(array, order="C").strides)
        return view(storage(key, STORAGES[array.dtype], array.size), 0, array.shape, strides)

    def constant(self, shape: tuple[int, ...]) -> Raw:
        """A float32 tensor of any size whose storage has one number."""
        key = self.add(bytes(4))
        return view(storage(key, "FloatStorage", 1), 0, shape, (0,) * len(shape))

    def write(self, path: Path, value: object, compression: int = zipfile.ZIP_STORED) -> Path:
        with zipfile.ZipFile(path, "w", compression) as file:
            file.writestr("archive/data.pkl", b"\x80\x02" + pickled(value) + b".")
            file.writestr("archive/byteorder", self.byte_order)
            for key, data in self.storages.items():
                file.writestr(f"archive/data/{key}", data)
            file.writestr("archive/version", "3\n")
        return path
