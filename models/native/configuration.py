"""The numbers in a checkpoint's YAML file, read without building anything.

Official files say what to build by tags (`!new:cosyvoice.flow.flow...`), which hyperpyyaml obeys.
Here a tag is only a name: nothing is imported, and a value that is no plain number, text, list or
reference to one stops the reading. Source: upstream's `examples/*/conf/*.yaml`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from models.cosyvoice.errors import CheckpointError

_MAX_BYTES = 256 << 10
_MAX_DEPTH = 32
_STANDARD_TAG = "tag:yaml.org,2002:"
_TERM = re.compile(r"\s*(?:<(\w+)>|(\d+))\s*")
_OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}


class Section:
    """A mapping of the file; its values are asked for with the type that they must have.

    Args:
        values: the mapping.
        place: where it stands, for messages.
        class_name: what its tag names, the last part of it; empty without one.
    """

    def __init__(self, values: Mapping[str, object], place: str, class_name: str = "") -> None:
        self._values = values
        self._place = place
        self.class_name = class_name

    def section(self, key: str) -> Section:
        """A mapping within."""
        value = self._get(key)
        if not isinstance(value, Section):
            raise self._wrong(key, "no group of values")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "no whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "no number")
        return float(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        value = self._get(key)
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise self._wrong(key, "no list of whole numbers")
        return tuple(value)

    def lists(self, key: str) -> tuple[tuple[int, ...], ...]:
        """A list of lists of whole numbers."""
        value = self._get(key)
        if not isinstance(value, list) or not all(
            isinstance(row, list) and all(type(item) is int for item in row) for row in value
        ):
            raise self._wrong(key, "no list of lists of whole numbers")
        return tuple(tuple(row) for row in value)

    def text(self, key: str, default: str | None = None) -> str:
        """A text."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "no text")
        return value

    def has(self, key: str) -> bool:
        """The value is given, if only as null."""
        return key in self._values

    def is_null(self, key: str) -> bool:
        """The value is given as null."""
        return key in self._values and self._values[key] is None

    def _get(self, key: str, default: object = None) -> object:
        value = self._values.get(key, default)
        if value is None:
            raise CheckpointError(f"{self._place}: does not say {key}; fetch it again")
        return value

    def _wrong(self, key: str, what: str) -> CheckpointError:
        return CheckpointError(f"{self._place}: {key} is {what}; fetch it again")


def read_configuration(path: Path) -> Section:
    """Read a checkpoint's YAML file.

    Raises:
        CheckpointError: it is no YAML, or has something that no official file has.
        OSError: it cannot be read.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path}: is too big for a configuration")
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: is no UTF-8 text; fetch it again") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise CheckpointError(f"{path}: is no YAML: {error}") from None
    if not isinstance(root, yaml.MappingNode):
        raise CheckpointError(f"{path}: is no configuration; fetch it again")
    reader = _Reader(path)
    section = reader.value(root, str(path), 0)
    assert isinstance(section, Section)  # noqa: S101 - a mapping node becomes one
    return section


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._globals: dict[str, object] = {}

    def value(self, node: yaml.Node, place: str, depth: int) -> object:
        if depth > _MAX_DEPTH:
            raise CheckpointError(f"{self._path}: is nested too deeply")
        match node:
            case yaml.MappingNode():
                return self._mapping(node, place, depth)
            case yaml.SequenceNode():
                return [self.value(item, place, depth + 1) for item in node.value]
            case yaml.ScalarNode():
                return self._scalar(node)
            case _:
                raise CheckpointError(f"{place}: has a value of no known kind")

    def _mapping(self, node: yaml.MappingNode, place: str, depth: int) -> Section:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise CheckpointError(f"{place}: has a key that is no word")
            key = str(key_node.value)
            if key in values:
                raise CheckpointError(f"{place}: says {key} twice")
            inner = f"{place}: {key}" if depth == 0 else f"{place}.{key}"
            values[key] = self.value(value_node, inner, depth + 1)
            if depth == 0:
                self._globals[key] = values[key]
        return Section(values, place, node.tag.rpartition(".")[2] if node.tag[0] == "!" else "")

    def _scalar(self, node: yaml.ScalarNode) -> object:
        if node.tag == "!ref":
            return self._reference(str(node.value))
        if not node.tag.startswith(_STANDARD_TAG):
            return None  # something to build out of nothing: no number of ours
        try:
            return yaml.constructor.SafeConstructor().construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise CheckpointError(f"{self._path}: {error}") from None

    def _reference(self, text: str) -> object:
        """`<name>`, or names and whole numbers with + - * / between them, from left to right."""
        rest = text
        result: object = None
        operation = ""
        while True:
            match = _TERM.match(rest)
            if match is None:
                raise self._bad_reference(text)
            term = self._global(match[1]) if match[1] else int(match[2])
            result = self._combine(result, operation, term, text) if operation else term
            rest = rest[match.end() :]
            if not rest:
                return result
            operation, rest = rest[0], rest[1:]

    def _combine(self, left: object, operation: str, right: object, text: str) -> int:
        if operation not in _OPERATIONS or type(left) is not int or type(right) is not int:
            raise self._bad_reference(text)
        try:
            return _OPERATIONS[operation](left, right)
        except ZeroDivisionError:
            raise self._bad_reference(text) from None

    def _global(self, name: str) -> object:
        if name not in self._globals:
            raise CheckpointError(f"{self._path}: refers to <{name}>, which it does not say before")
        return self._globals[name]

    def _bad_reference(self, text: str) -> CheckpointError:
        return CheckpointError(f"{self._path}: has the reference {text[:80]!r}")
