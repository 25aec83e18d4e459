"""The document as the tests read it: fields by their paths, and replies against their schemas."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from server.openapi.document import build
from server.openapi.sections import SECTIONS, SOCKETS

BASE_URL = "http://127.0.0.1:8000"
DOCUMENT: dict[str, Any] = json.loads(
    json.dumps(build(SECTIONS, SOCKETS, base_url=BASE_URL, root_path="", token=False))
)
JSON = "application/json"
TOKEN = "the right one"
"""What the fixture `whole_server` wants."""
_UNSAID_HEADERS = {"Retry-After", "x-ignored-parameters"}
"""They come in special cases only."""


@dataclass(frozen=True)
class Field:
    """A field of a request that has no fields itself.

    Attributes:
        path: of the names that lead to it.
        schema: without references.
        required: it, and all that it stands in, must be there.
    """

    path: tuple[str, ...]
    schema: dict[str, Any]
    required: bool

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def bound(self, key: str) -> Any:
        """A restriction, which may stand at one of the types that it may have."""
        schemas = [self.schema, *self.schema.get("anyOf", [])]
        return next((one[key] for one in schemas if key in one), None)

    @property
    def types(self) -> set[str]:
        schemas = [self.schema, *self.schema.get("anyOf", [])]
        return {one["type"] for one in schemas if "type" in one}


@dataclass(frozen=True)
class Described:
    """An operation of the document."""

    method: str
    path: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def media_types(self) -> list[str]:
        """Of its body."""
        return list(self.facts.get("requestBody", {}).get("content", {}))

    @property
    def fields(self) -> list[Field]:
        """What a client may send, but for headers and parameters of the path."""
        query = [
            Field((one["name"],), resolved(one["schema"]), one["required"])
            for one in self.facts.get("parameters", [])
            if one["in"] == "query"
        ]
        content = self.facts.get("requestBody", {}).get("content", {})
        bodies = list(content.values())[:1]
        return query + [field for body in bodies for field in leaves(body["schema"])]

    @property
    def samples(self) -> list[tuple[str, str]]:
        """Names and programs."""
        return [(one["label"], one["source"]) for one in self.facts.get("x-codeSamples", [])]

    def check(self, reply: httpx.Response) -> None:
        """A reply is one of those that are described, and has nothing that is not described."""
        assert str(reply.status_code) in self.facts["responses"], reply.text
        said = self.facts["responses"][str(reply.status_code)]
        headers = set(said.get("headers", {})) - _UNSAID_HEADERS
        assert headers <= {name for name in headers if name in reply.headers}
        content = said.get("content", {})
        if not content:
            assert reply.content == b""
            return
        media_type = reply.headers["content-type"].partition(";")[0]
        assert media_type in content
        if media_type == JSON:
            check_schema(content[JSON].get("schema", {}), reply.json())


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """What a schema stands for, with what is said beside the reference."""
    if "$ref" not in schema:
        return schema
    target = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    required = [*target.get("required", []), *beside.get("required", [])]
    return target | beside | {"required": required}


def leaves(
    schema: dict[str, Any], path: tuple[str, ...] = (), *, needed: bool = True
) -> Iterator[Field]:
    whole = resolved(schema)
    for name, part in whole.get("properties", {}).items():
        field = resolved(part)
        required = needed and name in whole.get("required", [])
        if "properties" in field:
            yield from leaves(part, (*path, name), needed=required)
        else:
            yield Field((*path, name), field, required)


def operations() -> list[Described]:
    return [
        Described(method.upper(), path, facts)
        for path, methods in DOCUMENT["paths"].items()
        for method, facts in methods.items()
    ]


def find(method: str, path: str) -> Described:
    return next(one for one in operations() if (one.method, one.path) == (method, path))


def check_schema(schema: dict[str, Any], value: Any) -> None:
    """The value is as described, and has no property that is not described."""
    whole = {**_closed(schema), "components": _closed(DOCUMENT["components"])}
    Draft202012Validator(whole).validate(value)


def _closed(schema: Any) -> Any:
    """The same schemas, for which one more property is one too many."""
    closed = copy.deepcopy(schema)
    waiting = [closed]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("properties"), dict) and node.get("type") == "object":
                node["additionalProperties"] = False
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return closed
