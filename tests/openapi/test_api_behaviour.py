"""What the document says of each field, tried: bounds, choices, lengths, types and defaults.

Each test sends a request of BASES with one change. A new operation with fields needs a line there.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
from clone_model import wav_file
from described import JSON, Described, Field, find, operations
from server_process import ServerProcess
from word_recognizer import sound

TEXT = "一二"
MARKED = "**一共** 23个，3%"
"""Read in other ways without markup or numbers."""
SSML = '<speak>一<sub alias="二三四五六">七</sub></speak>'
PATIENCE_S = 30

_RECORDING = base64.b64encode(wav_file(sound(3, 16_000), 16_000)).decode()
"""Also good for `raw`, in which its header is a click."""
BASES: dict[str, dict[str, Any]] = {
    "GET /stream/v1/tts": {"text": TEXT, "voice": "sine"},
    "POST /stream/v1/tts": {"text": TEXT, "voice": "sine"},
    "GET /stream/v1/tts/voices/info": {"voice": "sine"},
    "POST /v1/audio/speech": {"model": "any", "voice": "sine", "input": TEXT},
    "POST /api/v1/services/audio/tts/SpeechSynthesizer": {
        "model": "any",
        "input": {"text": TEXT, "voice": "sine", "format": "wav"},
    },
    "POST /api/v1/services/audio/tts/customization": {
        "model": "voice-enrollment",
        "input": {"action": "list_voice"},
    },
    "POST /v1/voice/tts": {
        "audio": {"voice_type": "sine", "encoding": "pcm"},
        "request": {"text": TEXT},
    },
    "POST /v1/voice/asr": {"audio": {"format": "raw", "data": _RECORDING}},
    "POST /rest/v1/tts/async": {
        "header": {"appkey": "any"},
        "payload": {"tts_request": {"text": TEXT, "voice": "sine"}},
        "context": {},
    },
    "GET /v1/voice/preview/{voice}": {},
    "GET /v1/voices/{voice}/preview": {"text": TEXT, "format": "wav"},
}
"""A request of each operation that has fields."""
UNTRIED = {
    "POST /v1/voices": "needs a recording: test_voice_library",
    "GET /rest/v1/tts/async": "needs a task: test_api_examples",
    "DELETE /rest/v1/tts/async": "needs a task: test_api_examples",
}
"""Operations with fields that are tried elsewhere."""
TEXTS = {
    "GET /stream/v1/tts": "text",
    "POST /stream/v1/tts": "text",
    "POST /rest/v1/tts/async": "payload.tts_request.text",
    "POST /v1/audio/speech": "input",
    "POST /api/v1/services/audio/tts/SpeechSynthesizer": "input.text",
    "POST /v1/voice/tts": "request.text",
    "GET /v1/voices/{voice}/preview": "text",
}
"""Where an operation's text is."""
_ENROLLMENT = "POST /api/v1/services/audio/tts/customization"
_CREATION = {
    "input.action": "create_voice",
    "input.target_model": "any",
    "input.prefix": "mine",
    "input.url": "https://127.0.0.1/none.wav",
    "input.text": TEXT,
}
BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("POST /api/v1/services/audio/tts/SpeechSynthesizer", "input.bit_rate"): {
        "input.format": "opus"
    },
    **{
        (_ENROLLMENT, f"input.{name}"): _CREATION
        for name in (
            *("target_model", "prefix", "url", "text", "language_hints"),
            *("max_prompt_audio_length", "voice_prompt"),
        )
    },
    ("POST /rest/v1/tts/async", "payload.notify_url"): {"payload.enable_notify": True},
    (_ENROLLMENT, "input.voice_id"): {"input.action": "query_voice"},
}
"""What has to be asked for as well, before a field counts."""
LOOSE = {
    "appkey": "is looked at only where the server is set to require one",
    "token": "is looked at only where one is needed",
    "device_id": "is ignored, as the document says",
    "signature": "is looked at only where a token is needed",
}
"""Fields of which any type is taken, and why."""
WITHOUT_EFFECT = {
    "enable_subtitle": "is ignored over HTTP, as the document says",
    "input.word_timestamp_enabled": "changes events, not audio",
    "input.seed": "a sine leaves nothing to chance",
    "stream_format": "changes how the audio comes, not the audio",
    "input.max_prompt_audio_length": "needs a recording: test_dashscope_voices",
    "input.page_index": "needs voices: test_dashscope_voices",
    "input.page_size": "needs voices: test_dashscope_voices",
    "model": "is another name of what there is one of",
}
"""Fields with a default that another value would not change, and why."""
WRONG = {
    "integer": ["x", 1.5, True, {}],
    "number": ["x", True, {}],
    "boolean": ["yes", 1, {}],
    "string": [1, True, {}, []],
    "array": ["zh", {}, [1]],
    "null": [{"more": 1}],
}
"""Values of other types."""


@dataclass(frozen=True)
class Case:
    """A field of an operation."""

    operation: Described
    field: Field

    def __str__(self) -> str:
        return f"{self.operation} {self.field.name}"

    @property
    def base(self) -> dict[str, Any]:
        request = copy.deepcopy(BASES[str(self.operation)])
        for path, value in BESIDE.get((str(self.operation), self.field.name), {}).items():
            request = changed(request, tuple(path.split(".")), value)
        return request

    def request(self, value: Any) -> dict[str, Any]:
        return changed(self.base, self.field.path, value)


def changed(request: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with another value, or without one if it is Ellipsis."""
    result = copy.deepcopy(request)
    node = result
    for name in path[:-1]:
        node = node[name]
    node.pop(path[-1], None)
    if value is not ...:
        node[path[-1]] = value
    return result


CASES = [
    Case(operation, field)
    for operation in operations()
    if str(operation) in BASES
    for field in operation.fields
]


def cases(wanted: Callable[[Case], object]) -> pytest.MarkDecorator:
    found = [pytest.param(case, id=str(case)) for case in CASES if wanted(case)]
    assert found
    return pytest.mark.parametrize("case", found)


class Client:
    """Asks a server for what is described."""

    def __init__(self, server: ServerProcess) -> None:
        self.http = httpx.Client(base_url=f"http://{server.address}", timeout=PATIENCE_S)

    def ask(self, operation: Described, request: dict[str, Any]) -> httpx.Response:
        """The reply, which is one of those that are described."""
        path = operation.path.replace("{voice}", "sine")
        if operation.method == "GET":
            query = {name: _as_text(value) for name, value in request.items()}
            reply = self.http.get(path, params=query)
        else:
            reply = self.http.post(path, json=request)
        operation.check(reply)
        return reply

    def heard(self, operation: Described, request: dict[str, Any]) -> tuple[int, str]:
        """Status and what is heard or understood, without the names that each reply has."""
        reply = self.ask(operation, request)
        if reply.status_code != httpx.codes.OK:
            return reply.status_code, ""
        content = reply.content
        if reply.headers["content-type"].startswith(JSON):
            said = reply.json()
            if "task_id" in said.get("data", {}):
                content = self._long_text(said["data"]["task_id"])
            elif "data" in said:
                content = str(said["data"]).encode()
            elif "audio" in said.get("output", {}):
                content = self.http.get(said["output"]["audio"]["url"]).content
            else:
                content = str(said.get("output", said)).encode()
        return reply.status_code, hashlib.sha256(content).hexdigest()

    def _long_text(self, task_id: str) -> bytes:
        """The file and the sentences of a text that was handed in, when all is spoken."""
        operation = find("GET", "/rest/v1/tts/async")
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            data = self.ask(operation, {"task_id": task_id}).json()["data"]
            if data["audio_address"]:
                return (
                    self.http.get(data["audio_address"]).content + str(data["sentences"]).encode()
                )
            time.sleep(0.02)
        raise AssertionError("the text is not spoken")

    def refuses(self, case: Case, value: Any) -> bool:
        """Whether a value is answered with an error that names its field.

        Any other answer must be what the value's field has nothing to do with.
        """
        reply = self.ask(case.operation, case.request(value))
        if reply.status_code != httpx.codes.BAD_REQUEST:
            return False
        if case.field.path[-1].lower() in reply.text.lower():
            return True
        assert self.ask(case.operation, case.base).status_code == reply.status_code, reply.text
        return False


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture(scope="module")
def client(known_server: ServerProcess) -> Iterator[Client]:
    one = Client(known_server)
    yield one
    one.http.close()


# --- What is tried ---------------------------------------------------------------------------


def test_every_operation_with_fields_is_tried() -> None:
    described = {str(one) for one in operations() if one.fields and "x-alias-of" not in one.facts}
    missing = described - BASES.keys() - UNTRIED.keys()
    assert not missing, f"add a request of each to BASES: {sorted(missing)}"
    assert not (BASES.keys() | UNTRIED.keys()) - described


@pytest.mark.parametrize("name", BASES)
def test_the_bases_are_accepted(client: Client, name: str) -> None:
    method, path = name.split(" ")
    assert client.ask(find(method, path), BASES[name]).status_code == httpx.codes.OK


def test_exceptions_are_there() -> None:
    assert not LOOSE.keys() - {case.field.path[-1] for case in CASES}
    assert not WITHOUT_EFFECT.keys() - {case.field.name for case in CASES}
    assert not BESIDE.keys() - {(str(case.operation), case.field.name) for case in CASES}


# --- Values ----------------------------------------------------------------------------------


@cases(lambda case: case.field.bound("minimum") is not None)
def test_bounds(client: Client, case: Case) -> None:
    least, most = case.field.bound("minimum"), case.field.bound("maximum")
    step = 1 if "integer" in case.field.types else 0.01
    # Zero stands for no wish in some of them, so the least but one is tried as well.
    assert not client.refuses(case, least)
    assert not client.refuses(case, least + step)
    assert not client.refuses(case, most)
    assert client.refuses(case, least - step)
    assert client.refuses(case, most + step)


@cases(lambda case: case.field.bound("enum"))
def test_choices(client: Client, case: Case) -> None:
    choices = case.field.bound("enum")
    if case.field.name != "input.action":
        # What an action needs besides is told by its own error.
        assert not [value for value in choices if client.refuses(case, value)]
    others = ["nothing of the kind"] if "string" in _types(choices) else [max(choices) + 1, -1]
    assert all(client.refuses(case, value) for value in others)


def _types(values: list[Any]) -> set[str]:
    return {"string" if isinstance(value, str) else "integer" for value in values}


@cases(lambda case: case.field.bound("maxLength") is not None)
def test_lengths(client: Client, case: Case) -> None:
    shortest, longest = case.field.bound("minLength") or 0, case.field.bound("maxLength")
    # Blanks cost the model nothing.
    assert not client.refuses(case, "a" + " " * (longest - 2) + "b")
    assert client.refuses(case, "a" + " " * (longest - 1) + "b")
    if shortest:
        assert client.refuses(case, "")


@cases(lambda case: case.field.bound("pattern"))
def test_patterns(client: Client, case: Case) -> None:
    pattern = case.field.bound("pattern")
    for value in ("a", "abc1", "a-b", "x" * 10, "x" * 11, "x" * 40, "x" * 41, "音", "a b"):
        assert client.refuses(case, value) is not bool(re.fullmatch(pattern, value)), value


@cases(
    lambda case: (
        case.field.types
        and case.field.path[-1] not in LOOSE
        and (case.operation.method == "POST" or "string" not in case.field.types)
    )
)
def test_types(client: Client, case: Case) -> None:
    (kind,) = case.field.types - {"null"} or {"null"}
    wrong = [v for v in WRONG[kind] if case.operation.method == "POST" or isinstance(v, str)]
    assert wrong
    for value in wrong:
        assert client.refuses(case, value), value


@cases(lambda case: case.field.required)
def test_what_must_be_there(client: Client, case: Case) -> None:
    assert client.refuses(case, ...)


@cases(lambda case: not case.field.required and case.operation.method == "POST")
def test_null_is_as_good_as_absent(client: Client, case: Case) -> None:
    heard = partial(client.heard, case.operation)
    assert heard(case.request(None)) == heard(case.request(...))


# --- Defaults --------------------------------------------------------------------------------


def texts(case: Case) -> list[dict[str, Any]]:
    """The base with texts that are read in different ways."""
    path = TEXTS.get(str(case.operation))
    if path is None:
        return [case.base]
    place = tuple(path.split("."))
    return [changed(case.base, place, text) for text in (TEXT, MARKED, SSML)]


@cases(lambda case: "default" in case.field.schema)
def test_the_default_is_what_absence_means(client: Client, case: Case) -> None:
    path, default = case.field.path, case.field.schema["default"]
    for base in texts(case):
        absent = client.heard(case.operation, changed(base, path, ...))
        assert client.heard(case.operation, changed(base, path, default)) == absent


@cases(lambda case: "default" in case.field.schema and case.field.name not in WITHOUT_EFFECT)
def test_another_value_means_something_else(client: Client, case: Case) -> None:
    """Otherwise the test above would say nothing."""
    path = case.field.path
    others = [value for value in _values(case.field) if value != case.field.schema["default"]]
    for base in texts(case):
        absent = client.heard(case.operation, changed(base, path, ...))
        if any(client.heard(case.operation, changed(base, path, v)) != absent for v in others):
            return
    raise AssertionError(f"none of {others} is heard")


def _values(field: Field) -> list[Any]:
    if "boolean" in field.types:
        return [True, False]
    if (choices := field.bound("enum")) is not None:
        return list(choices)
    if (least := field.bound("minimum")) is not None:
        return [least, field.bound("maximum")]
    return ["sine", "sine-2", "none"]
