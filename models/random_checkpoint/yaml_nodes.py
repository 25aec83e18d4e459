"""The little of YAML that a hyperpyyaml file needs, written out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Keys: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tagged:
    """A node with a hyperpyyaml tag: `!new:` builds a class, `!name:` names a function."""

    tag: str
    keys: Keys


@dataclass(frozen=True, slots=True)
class Raw:
    """A value that is written as it stands, such as `!ref <sample_rate>`."""

    text: str


def new(target: str, /, **keys: object) -> Tagged:
    """An object of the class `target`."""
    return Tagged(f"!new:{target}", keys)


def name(target: str, /, **keys: object) -> Tagged:
    """The function `target`, partially applied."""
    return Tagged(f"!name:{target}", keys)


def ref(expression: str) -> Raw:
    """The value of another key, or an expression of several in angle brackets."""
    return Raw(f"!ref {expression}")


def yaml_text(keys: Keys) -> str:
    """`keys` as a block mapping."""
    return "\n".join(_lines(keys, 0)) + "\n"


def _lines(keys: Keys, depth: int) -> list[str]:
    lines = []
    for key, value in keys.items():
        head = f"{'    ' * depth}{key}:"
        if isinstance(value, Tagged):
            lines.append(f"{head} {value.tag}")
            lines += _lines(value.keys, depth + 1)
        elif isinstance(value, Mapping):
            lines.append(head)
            lines += _lines(value, depth + 1)
        else:
            lines.append(f"{head} {_scalar(value)}")
    return lines


def _scalar(value: object) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_scalar(item) for item in value)}]"
    if isinstance(value, str):
        return f"'{value}'"
    return "null" if value is None else str(value)
