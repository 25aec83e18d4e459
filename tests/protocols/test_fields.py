"""Fields that are read by what their message's type says of them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, inspect

from server.errors import SpeechError
from server.protocols import nls_rest
from server.protocols.fields import Fields


class Message(msgspec.Struct):
    name: str
    count: Annotated[Annotated[int, Meta(ge=-3, le=7)] | None, Meta(description="How many.")] = None
    size: Annotated[int, Meta(ge=0, le=9)] = 5
    loose: int = 1
    loud: Annotated[bool, Meta(description="As it says.")] = True
    word: str = "one"


FIELDS = Fields(Message)


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        ({}, (None, 5, True, "one")),
        ({"count": None, "size": None, "loud": None, "word": None}, (None, 5, True, "one")),
        ({"count": -3, "size": 9, "loud": False, "word": "two"}, (-3, 9, False, "two")),
        ({"count": 7.0, "more": 1}, (7, 5, True, "one")),
    ],
)
def test_values_and_defaults(payload: dict[str, Any], read: tuple[Any, ...]) -> None:
    values = (
        FIELDS.integer(payload, "count"),
        FIELDS.integer(payload, "size"),
        FIELDS.boolean(payload, "loud"),
        FIELDS.string(payload, "word"),
    )
    assert values == read


@pytest.mark.parametrize("count", [-4, 8, "1", True, 1.5])
def test_the_types_bounds_count(count: Any) -> None:
    with pytest.raises(SpeechError, match="count"):
        FIELDS.integer({"count": count}, "count")


@pytest.mark.parametrize("name", ["loose", "word"])
def test_an_integer_needs_bounds(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        FIELDS.integer({}, name)


def test_what_must_be_there_has_no_default() -> None:
    with pytest.raises(TypeError, match="name"):
        FIELDS.string({}, "name")


def test_names_by_type() -> None:
    assert FIELDS.of_type(inspect.IntType) == ("count", "size", "loose")
    assert FIELDS.of_type(inspect.BoolType) == ("loud",)


@pytest.mark.parametrize("flag", ["enable_subtitle", "enable_ssml", "enable_markdown_filter"])
@pytest.mark.parametrize("value", ["true", "False"])
def test_every_flag_may_stand_in_a_query(flag: str, value: str) -> None:
    parameters = nls_rest.parse_text_fields({"text": "one", flag: value})
    assert parameters[flag] is (value == "true")
    nls_rest.read_request(parameters, require_appkey=False)
