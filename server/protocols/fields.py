"""Fields that are read one by one, for the sake of the vendors' error texts.

A message's type says which fields there are, from where to where they go and what they are when
absent; the document of the HTTP endpoints is made of the same type. So neither the reader nor the
document has these facts a second time.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

from server.protocols import nls


class Fields:
    """Reads the fields of one type; null is as good as absent.

    Args:
        kind: its integers have both bounds.
    """

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        described = inspect.type_info(kind)
        if not isinstance(described, inspect.StructType):
            raise TypeError(f"{kind!r} is no message")
        self._defaults = {field.name: field.default for field in described.fields}
        self._bounds = {field.name: _bounds(field.type) for field in described.fields}
        self._kinds = {field.name: _kinds(field.type) for field in described.fields}

    def of_type(self, kind: type[inspect.Type]) -> tuple[str, ...]:
        """The names of the fields that are, or may be, of a type."""
        return tuple(name for name, kinds in self._kinds.items() if kind in kinds)

    def default(self, name: str) -> Any:  # noqa: ANN401 - of any type that JSON has
        """What a field is when absent."""
        value = self._defaults[name]
        if value is msgspec.NODEFAULT:
            raise TypeError(f"{name} has no default")
        return value

    def integer(self, payload: dict[str, Any], name: str) -> int | None:
        """A whole number; see `nls.integer`."""
        bounds = self._bounds[name]
        if bounds is None:
            raise TypeError(f"{name} is no integer with two bounds")
        low, high = bounds
        return nls.integer(payload, name, low=low, high=high, default=self.default(name))

    def string(self, payload: dict[str, Any], name: str) -> str:
        """A string; see `nls.string`."""
        return nls.string(payload, name, self.default(name))

    def boolean(self, payload: dict[str, Any], name: str) -> bool:
        """A flag; see `nls.boolean`."""
        return nls.boolean(payload, name, default=self.default(name))


def _parts(kind: inspect.Type) -> list[inspect.Type]:
    """What a type may be, without what is said of it."""
    if isinstance(kind, inspect.Metadata):
        return _parts(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [part for one in kind.types for part in _parts(one)]
    return [kind]


def _kinds(kind: inspect.Type) -> set[type[inspect.Type]]:
    return {type(part) for part in _parts(kind)}


def _bounds(kind: inspect.Type) -> tuple[int, int] | None:
    for part in _parts(kind):
        if isinstance(part, inspect.IntType) and part.ge is not None and part.le is not None:
            return part.ge, part.le
    return None
