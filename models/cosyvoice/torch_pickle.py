"""The pickle inside a torch.save archive, read by an interpreter that can only describe tensors.

A pickle is a program that may call anything. This interpreter knows the instructions that
torch.save writes for tensors in dictionaries, lists and tuples, and the three names that these may
call. Nothing is imported, and any other instruction or name ends the reading. The standard
library's `pickletools` tells instructions apart, and runs none.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_MAX_DIMENSIONS = 16
_MAX_ITEMS = 1 << 40
_STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
ITEM_BYTES: Mapping[str, int] = {
    "f4": 4, "f8": 8, "f2": 2, "bfloat16": 2, "i8": 8, "i4": 4, "i2": 2, "i1": 1, "u1": 1, "?": 1
}  # fmt: skip
"""Sizes of the kinds of numbers: numpy's names without byte order, and `bfloat16`."""


class TorchPickleError(ValueError):
    """The pickle is damaged, or holds something other than tensors and plain values."""


@dataclass(frozen=True, slots=True)
class Storage:
    """An array of numbers in the archive."""

    key: str
    kind: str
    """A key of `ITEM_BYTES`."""
    items: int

    @property
    def size_bytes(self) -> int:
        """Its size in the archive."""
        return self.items * ITEM_BYTES[self.kind]


@dataclass(frozen=True, slots=True)
class TensorView:
    """A tensor whose numbers have not been read: a view of a storage. Counts are in items."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def items(self) -> int:
        """Elements of the tensor."""
        return math.prod(self.shape)

    @property
    def end(self) -> int:
        """Index after the last item of the storage that it reaches."""
        if not self.items:
            return self.offset
        last = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        return self.offset + last + 1


@dataclass(frozen=True, slots=True)
class _Name:
    """A name that the pickle would have imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


_MARK = object()


def read_torch_pickle(program: bytes) -> object:
    """What the pickle describes: dictionaries, lists, tuples, plain values, `TensorView`.

    Raises:
        TorchPickleError: it is damaged or asks for anything else.
    """
    return _Interpreter().run(program)


class _Interpreter:
    """A stack machine; each method below is an instruction of the pickle protocol."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._instructions: dict[str, Callable[[], None]] = {
            "MARK": lambda: self._stack.append(_MARK),
            "EMPTY_DICT": lambda: self._stack.append({}),
            "EMPTY_LIST": lambda: self._stack.append([]),
            "EMPTY_TUPLE": lambda: self._stack.append(()),
            "TUPLE": lambda: self._stack.append(tuple(self._since_mark())),
            "TUPLE1": lambda: self._tuple(1),
            "TUPLE2": lambda: self._tuple(2),
            "TUPLE3": lambda: self._tuple(3),
            "APPEND": lambda: self._append([self._stack.pop()]),
            "APPENDS": lambda: self._append(self._since_mark()),
            "SETITEM": lambda: self._set_items(self._last(2)),
            "SETITEMS": lambda: self._set_items(self._since_mark()),
            "MEMOIZE": lambda: self._memo.update({len(self._memo): self._stack[-1]}),
            "STACK_GLOBAL": lambda: self._stack.append(_Name(*map(str, self._last(2)))),
            "BINPERSID": lambda: self._stack.append(_storage(self._stack.pop())),
            "NONE": lambda: self._stack.append(None),
            "NEWTRUE": lambda: self._stack.append(True),
            "NEWFALSE": lambda: self._stack.append(False),
            "REDUCE": lambda: self._stack.append(_call(*self._last(2))),
            "BUILD": self._build,
            "PROTO": lambda: None,
            "FRAME": lambda: None,
        }

    def run(self, program: bytes) -> object:
        try:
            for opcode, argument, _position in pickletools.genops(program):
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, argument)
        except TorchPickleError:
            raise
        except (ValueError, IndexError, KeyError) as error:
            # ValueError is pickletools' own; the others are an empty stack and an empty memo.
            raise TorchPickleError(f"its pickle is damaged: {error}") from None
        raise TorchPickleError("its pickle has no end")

    def _step(self, name: str, argument: Any) -> None:  # noqa: ANN401 - as pickletools has it
        match name:
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BININT" | "BININT1" | "BININT2":
                self._stack.append(argument)
            case "LONG1" | "BINFLOAT":
                self._stack.append(argument)
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo[argument])
            case "GLOBAL":
                module, _, qualified_name = argument.partition(" ")
                self._stack.append(_Name(module, qualified_name))
            case _ if name in self._instructions:
                self._instructions[name]()
            case _:
                raise TorchPickleError(f"its pickle has the instruction {name}, not read here")

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError("too little on the stack")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _since_mark(self) -> list[Any]:
        taken = []
        while (value := self._stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def _tuple(self, count: int) -> None:
        self._stack.append(tuple(self._last(count)))

    def _append(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise TorchPickleError("its pickle appends to what is no list")
        self._stack[-1].extend(values)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise TorchPickleError("its pickle sets items of what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Only these: the hash of a nested tuple can take for ever.
            if not isinstance(key, (str, int)):
                raise TorchPickleError(f"a dictionary has a key of type {type(key).__name__}")
            target[key] = value

    def _build(self) -> None:
        """Attributes of a state dict (`_metadata`): nothing that we need."""
        target, _state = self._last(2)
        if not isinstance(target, dict):
            raise TorchPickleError("its pickle sets attributes of what is no dictionary")
        self._stack.append(target)


def _storage(reference: object) -> Storage:
    match reference:
        case ("storage", _Name("torch", name), str(key), str(), int(items)) if name in _STORAGES:
            if items >= 0:
                return Storage(key, _STORAGES[name], items)
    raise TorchPickleError("a tensor refers to an unknown kind of storage")


def _call(function: object, arguments: object) -> object:
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise TorchPickleError("its pickle calls what is no function")
    match str(function), arguments:
        case "collections.OrderedDict", ():
            return {}
        case "torch._utils._rebuild_tensor_v2", (Storage() as storage, offset, shape, strides, *_):
            return _view(storage, offset, shape, strides)
        case "torch._utils._rebuild_parameter", (TensorView() as view, *_):
            return view
    raise TorchPickleError(f"it would call {function}, and only tensors are read here")


def _view(storage: Storage, offset: object, shape: object, strides: object) -> TensorView:
    (first,), sizes, steps = _counts((offset,)), _counts(shape), _counts(strides)
    if len(sizes) != len(steps) or math.prod(size or 1 for size in sizes) > _MAX_ITEMS:
        raise TorchPickleError("a tensor's shape is damaged")
    return TensorView(storage, first, sizes, steps)


def _counts(numbers: object) -> tuple[int, ...]:
    if not isinstance(numbers, tuple) or len(numbers) > _MAX_DIMENSIONS:
        raise TorchPickleError("a tensor's shape is damaged")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise TorchPickleError("a tensor's shape is damaged")
    return numbers
