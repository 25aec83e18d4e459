"""An example as a program for a POSIX shell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from shlex import quote

from server.openapi.operation import JSON, Example, Operation

_VARIABLE = re.compile(r"\$[A-Z_]+")


def curl(operation: Operation, example: Example, base_url: str, *, token: bool) -> str:
    """The program.

    Args:
        operation: what is asked for.
        example: how.
        base_url: of the server, without a slash at its end.
        token: whether one is needed; the shell has it in `$TOKEN`.
    """
    head = ["curl --fail-with-body", *_method(operation, example)]
    head.append(quote(base_url + (example.path or operation.path)))
    arguments = [" ".join(head)]
    if token and not operation.public:
        arguments.append('--header "Authorization: Bearer $TOKEN"')
    program = " \\\n  ".join([*arguments, *_arguments(example)])
    return f"{example.stdin} |\n  {program}" if example.stdin else program


def _method(operation: Operation, example: Example) -> Iterator[str]:
    """What makes curl use the method, if nothing else does."""
    if example.query:
        yield "--get"
    sends = example.body is not None or bool(example.form or example.stdin)
    if operation.method != ("POST" if sends else "GET"):
        yield f"--request {operation.method}"


def _arguments(example: Example) -> Iterator[str]:
    if example.body is not None or example.stdin:
        yield f"--header 'Content-Type: {JSON}'"
    for name, value in example.headers.items():
        yield f"--header {quote(f'{name}: {value}')}"
    for name, value in example.query.items():
        pair = f"{name}={value}"
        written = f'"{pair}"' if _VARIABLE.fullmatch(value) else quote(pair)
        yield f"--data-urlencode {written}"
    for name, value in example.form.items():
        yield f"--form {quote(f'{name}={value}')}"
    if example.body is not None:
        yield f"--data-raw {quote(json.dumps(example.body, ensure_ascii=False))}"
    if example.stdin:
        yield "--data-binary @-"
    if example.output:
        yield f"--output {quote(example.output)}"
