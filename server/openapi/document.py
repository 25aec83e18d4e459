"""Turns tables of operations into an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from server.errors import ErrorCode
from server.openapi.curl import curl
from server.openapi.operation import (
    JSON,
    Failures,
    Message,
    Operation,
    Reply,
    Section,
    Socket,
)
from server.version import __version__

VERSION = "3.1.1"
DOCS = "https://github.com/cosystream/cosystream/blob/main/docs/"
"""Where the compatibility pages stand."""
SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of the server's settings, or a key.",
    },
    "nlsToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-NLS-Token",
        "description": "The same, as Aliyun's SDKs send it.",
    },
    "tokenQuery": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "The same, for those who can set no header.",
    },
}
_ABOUT = """Speech over the protocols of several vendors, from one engine. Of all places where a \
token may stand the first right one counts. A reply of audio begins while the rest is still being \
made; errors come before its first byte, and after it an error cuts the reply off.

These addresses are WebSockets, which OpenAPI cannot describe:

"""
_TRY_AGAIN = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_RETRY = {"Retry-After": "Seconds, where it is known when to try again."}


def build(
    sections: Iterable[Section],
    sockets: Iterable[Socket],
    *,
    base_url: str,
    root_path: str,
    token: bool,
) -> dict[str, Any]:
    """The document.

    Args:
        sections: what there is.
        sockets: what there is besides.
        base_url: of the server, for the examples; without a slash at its end.
        root_path: of the server, below its host.
        token: whether the server lets in only those who have one.
    """
    sections, sockets = tuple(sections), tuple(sockets)
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for section in sections:
        writer = _SectionWriter(section, base_url=base_url, token=token)
        for path, method, operation in writer.operations():
            paths.setdefault(path, {})[method] = operation
        schemas |= writer.schemas
    return {
        "openapi": VERSION,
        "info": {
            "title": "CosyStream",
            "version": __version__,
            "description": _ABOUT + "\n".join(map(_socket_line, sockets)),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root_path or "/"}],
        "security": [{name: []} for name in SECURITY_SCHEMES] if token else [],
        "tags": [
            {
                "name": section.name,
                "description": section.about,
                "externalDocs": {"url": DOCS + section.page},
            }
            for section in sections
        ],
        "paths": paths,
        "components": {"securitySchemes": SECURITY_SCHEMES, "schemas": schemas},
        "x-websockets": [
            {"paths": one.paths, "summary": one.summary, "externalDocs": {"url": DOCS + one.page}}
            for one in sockets
        ],
    }


def _socket_line(socket: Socket) -> str:
    paths = ", ".join(f"`{path}`" for path in socket.paths)
    return f"* {paths}: {socket.summary}, see [{socket.page}]({DOCS}{socket.page})"


class _SectionWriter:
    """Writes one protocol's operations.

    Attributes:
        schemas: of its messages, by their names in the document.
    """

    def __init__(self, section: Section, *, base_url: str, token: bool) -> None:
        self._section = section
        self._base_url = base_url
        self._token = token
        kinds = list(dict.fromkeys(_kinds(section)))
        template = f"#/components/schemas/{section.prefix}{{name}}"
        found, components = msgspec.json.schema_components(kinds, ref_template=template)
        self._by_kind: dict[Any, dict[str, Any]] = dict(zip(kinds, found, strict=True))
        self.schemas = {
            section.prefix + name: _tidied(schema) for name, schema in components.items()
        }

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Path, method and description of each; an alias is described like what it stands for."""
        for operation in self._section.operations:
            method = operation.method.lower()
            described = self._operation(operation)
            yield operation.path, method, described | {"operationId": _id(method, operation.path)}
            for alias in operation.aliases:
                facts = {"operationId": _id(method, alias), "x-alias-of": operation.path}
                yield alias, method, described | facts

    def _operation(self, operation: Operation) -> dict[str, Any]:
        facts: dict[str, Any] = {"tags": [self._section.name], "summary": operation.summary}
        if operation.about:
            facts["description"] = operation.about
        if operation.public:
            facts["security"] = []
        if parameters := self._parameters(operation):
            facts["parameters"] = parameters
        if operation.body is not None:
            facts["requestBody"] = self._body(operation, operation.body)
        facts["responses"] = self._responses(operation)
        if operation.examples:
            facts["x-codeSamples"] = [
                {
                    "lang": "Shell",
                    "label": example.title,
                    "source": curl(operation, example, self._base_url, token=self._token),
                }
                for example in operation.examples
            ]
        return facts

    def _parameters(self, operation: Operation) -> list[dict[str, Any]]:
        places = {"path": operation.path_parameters, "header": operation.headers}
        named = [
            {
                "name": name,
                "in": place,
                "required": place == "path",
                "description": about,
                "schema": {"type": "string"},
            }
            for place, parameters in places.items()
            for name, about in parameters.items()
        ]
        return named + ([] if operation.query is None else self._query(operation.query))

    def _query(self, kind: Message) -> list[dict[str, Any]]:
        """A type's fields as parameters of the query."""
        message = self.schemas[self._by_kind[kind]["$ref"].rpartition("/")[2]]
        parameters = []
        for name, schema in message["properties"].items():
            facts = {"name": name, "in": "query", "required": name in message.get("required", [])}
            if "description" in schema:
                facts["description"] = schema["description"]
            bare = {key: value for key, value in schema.items() if key != "description"}
            parameters.append(facts | {"schema": bare})
        return parameters

    def _body(self, operation: Operation, kind: Message) -> dict[str, Any]:
        content: dict[str, Any] = {
            media_type: {"schema": self._by_kind[kind]} for media_type in operation.body_types
        }
        bodies = {one.title: one.body for one in operation.examples if one.body is not None}
        if bodies:
            content[JSON]["examples"] = {
                _slug(title): {"summary": title, "value": body} for title, body in bodies.items()
            }
        return {"required": True, "content": content}

    def _responses(self, operation: Operation) -> dict[str, Any]:
        answers = {str(reply.status): self._reply(reply) for reply in operation.replies}
        if operation.failures is not None:
            answers |= self._failures(operation.failures, operation.errors)
        return answers

    def _reply(self, reply: Reply) -> dict[str, Any]:
        content = {media_type: _bytes(media_type) for media_type in reply.media_types}
        if reply.kind is not None:
            content[JSON] = {"schema": self._schema(reply.kind)}
        return _response(reply.about, content, reply.headers)

    def _schema(self, kind: Any) -> dict[str, Any]:  # noqa: ANN401 - any type, or several
        if isinstance(kind, tuple):
            return {"anyOf": [self._by_kind[one] for one in kind]}
        return self._by_kind[kind]

    def _failures(self, failures: Failures, errors: Iterable[ErrorCode]) -> dict[str, Any]:
        by_status: dict[int, dict[str, list[str]]] = {}
        for code in sorted(errors):
            status, name = failures.told(code)
            by_status.setdefault(status, {}).setdefault(name, []).append(code.replace("_", " "))
        content = {JSON: {"schema": self._by_kind[failures.kind]}}
        return {
            str(status): _response(
                _told(status, names),
                content,
                {**failures.headers, **(_RETRY if status in _TRY_AGAIN else {})},
            )
            for status, names in sorted(by_status.items())
        }


def _kinds(section: Section) -> Iterator[Any]:
    """The types of all that a protocol's operations send and take."""
    for operation in section.operations:
        failures = None if operation.failures is None else operation.failures.kind
        for kind in (operation.query, operation.body, failures):
            if kind is not None:
                yield kind
        for reply in operation.replies:
            if reply.kind is not None:
                yield from reply.kind if isinstance(reply.kind, tuple) else (reply.kind,)


def _told(status: int, names: Mapping[str, list[str]]) -> str:
    reasons = "; ".join(f"`{name}` ({', '.join(codes)})" for name, codes in names.items())
    return f"{HTTPStatus(status).phrase}: {reasons}"


def _response(about: str, content: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    facts: dict[str, Any] = {"description": about}
    if headers:
        facts["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        }
    if content:
        facts["content"] = dict(content)
    return facts


def _bytes(media_type: str) -> dict[str, Any]:
    """A body that is no JSON: text, or anything, for which 3.1 has an empty schema."""
    return {"schema": {"type": "string"}} if media_type.startswith("text/") else {}


def _tidied(schema: dict[str, Any]) -> dict[str, Any]:
    """Without titles, which repeat names, and without defaults that are as good as nothing."""
    tidy = {key: value for key, value in schema.items() if key != "title"}
    if "properties" in tidy:
        tidy["properties"] = {
            name: {k: v for k, v in one.items() if k != "default" or v not in (None, "")}
            for name, one in tidy["properties"].items()
        }
    return tidy


def _id(method: str, path: str) -> str:
    return f"{method}_{_slug(path)}" if _slug(path) else f"{method}_root"


def _slug(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_").lower()
