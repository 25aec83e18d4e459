"""The document against the routes, the readers and the files that it names."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from described import BASE_URL, DOCUMENT, leaves, operations, resolved
from openapi_spec_validator import OpenAPIV31SpecValidator
from server_process import ServerProcess
from starlette.requests import Request
from starlette.routing import Mount, Route, WebSocketRoute

from server.app import build_app
from server.endpoints import api_document
from server.openapi.document import DOCS, build
from server.openapi.sections import SECTIONS, SOCKETS
from server.protocols import dashscope, nls_async, nls_rest, qiniu_asr
from server.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return list(build_app(Settings(data_directory=str(tmp_path_factory.mktemp("data")))).routes)


def plain(path: str) -> str:
    """A route's path as OpenAPI writes it: `{voice:path}` is `{voice}`."""
    return re.sub(r":\w+\}", "}", path)


# --- Routes ----------------------------------------------------------------------------------


def test_every_route_stands_in_it(routes: list[Any]) -> None:
    there = {
        (method, plain(route.path))
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {(one.method, one.path) for one in operations()}
    missing = [
        f'Operation(method="{method}", path="{path}", summary=..., replies=...)'
        for method, path in sorted(there - described)
    ]
    assert not missing, (
        "routes of server/app.py that /openapi.json does not have; add these to a SECTION of "
        f"server/openapi (server/openapi/sections.py lists them): {missing}"
    )
    assert not described - there, (
        "operations of server/openapi that are no route of server/app.py: take them out"
    )


def test_every_websocket_is_named(routes: list[Any]) -> None:
    there = {route.path for route in routes if isinstance(route, WebSocketRoute)}
    named = {path for socket in DOCUMENT["x-websockets"] for path in socket["paths"]}
    assert named == there, "SOCKETS of server/openapi/sections.py and the routes of server/app.py"
    assert all(f"`{path}`" in DOCUMENT["info"]["description"] for path in there)


def test_nothing_but_files_is_left_out(routes: list[Any]) -> None:
    others = [route for route in routes if not isinstance(route, Route | WebSocketRoute)]
    assert [(type(one), one.path) for one in others] == [(Mount, "/static")]


# --- The document ----------------------------------------------------------------------------


@pytest.mark.parametrize("token", [False, True])
def test_it_is_openapi(token: bool) -> None:
    document = build(SECTIONS, SOCKETS, base_url=BASE_URL, root_path="/speech", token=token)
    errors = list(OpenAPIV31SpecValidator(document).iter_errors())
    assert not errors
    assert document["servers"] == [{"url": "/speech"}]
    assert bool(document["security"]) is token


def test_names_are_unique() -> None:
    ids = [one.facts["operationId"] for one in operations()]
    assert len(set(ids)) == len(ids)
    # Two types of one name in a section would get the names of their modules.
    assert not [name for name in DOCUMENT["components"]["schemas"] if not name.isalnum()]


def test_the_guides_that_it_names_are_there() -> None:
    links = [tag["externalDocs"]["url"] for tag in DOCUMENT["tags"]]
    links += [socket["externalDocs"]["url"] for socket in DOCUMENT["x-websockets"]]
    missing = [link for link in links if not (ROOT / "docs" / link.removeprefix(DOCS)).is_file()]
    assert not missing


def test_path_parameters_are_described() -> None:
    for one in operations():
        named = {p["name"] for p in one.facts.get("parameters", []) if p["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", one.path)), str(one)


def test_every_operation_has_an_example() -> None:
    without = {str(one) for one in operations() if not one.samples}
    # Their addresses are handed out; tests of the replies that do so follow them.
    assert without == {
        "GET /api/v1/files/spoken/{name}",
        "GET /rest/v1/tts/async/files/{name}",
    }


def test_a_token_stands_where_one_is_needed() -> None:
    guarded = build(SECTIONS, SOCKETS, base_url=BASE_URL, root_path="", token=True)
    for path, methods in guarded["paths"].items():
        for facts in methods.values():
            for sample in facts.get("x-codeSamples", []):
                assert ("Bearer $TOKEN" in sample["source"]) is (facts.get("security") != []), path
    assert "$TOKEN" not in str(DOCUMENT)


def test_what_is_always_sent_is_required() -> None:
    """Generated clients make everything else optional."""
    schemas = DOCUMENT["components"]["schemas"]
    for name in ("OpenaiModel", "OpenaiModelList", "NlsAsyncTextProgress"):
        optional = schemas[name]["properties"].keys() - schemas[name]["required"]
        assert optional <= {"sentences"}, name
    sent = [
        content["schema"]
        for one in operations()
        for reply in one.facts["responses"].values()
        for content in reply.get("content", {}).values()
        if "schema" in content
    ]
    defaults = [
        field.name for schema in sent for field in leaves(schema) if "default" in field.schema
    ]
    assert not defaults, "a reply's field with a default is as good as one that must be given"


def test_a_recording_is_bytes_in_the_words_of_3_0_and_3_1() -> None:
    """Generated clients would send text otherwise."""
    audio = DOCUMENT["components"]["schemas"]["VoicesNewVoice"]["properties"]["audio"]
    assert (audio["format"], audio["contentMediaType"]) == ("binary", "application/octet-stream")


def test_it_is_served(sine_server: ServerProcess) -> None:
    answer = sine_server.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache"
    there = answer.json()
    assert there["paths"].keys() == DOCUMENT["paths"].keys()
    source = there["paths"]["/healthz"]["get"]["x-codeSamples"][0]["source"]
    assert source == f"curl --fail-with-body http://{sine_server.address}/healthz"


@pytest.mark.anyio
async def test_it_is_made_once_for_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask for it, and it takes as long as a frame of audio."""
    made: list[str] = []

    def count(*_tables: Any, base_url: str, **_facts: Any) -> dict[str, Any]:
        made.append(base_url)
        return {}

    authenticator = SimpleNamespace(required=False)
    state = SimpleNamespace(services=SimpleNamespace(authenticator=authenticator))
    monkeypatch.setattr(api_document, "build", count)
    for host in ("made-up-1", "made-up-1", "made-up-2", "made-up-1"):
        scope = {"type": "http", "scheme": "http", "path": "/openapi.json", "query_string": b""}
        headers = [(b"host", host.encode())]
        app = SimpleNamespace(state=state)
        await api_document.openapi(Request({**scope, "headers": headers, "app": app}))
    assert made == ["http://made-up-1", "http://made-up-2"]


def test_an_odd_host_stays_within_its_quotes(sine_server: ServerProcess) -> None:
    url = f"http://{sine_server.address}/openapi.json"
    answer = httpx.get(url, headers={"Host": "a';touch$IFS'b"})
    source = answer.json()["paths"]["/healthz"]["get"]["x-codeSamples"][0]["source"]
    assert "touch" not in re.sub(r"'(?:[^']|'\"'\"')*'", "", source)


# --- Readers ---------------------------------------------------------------------------------


class Watched(dict[str, Any]):
    """Notes what is looked for in it."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__(content)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)


def properties(name: str) -> set[str]:
    return set(DOCUMENT["components"]["schemas"][name]["properties"])


def test_what_nls_looks_for() -> None:
    given = Watched({"text": "one", "appkey": "any"})
    nls_rest.read_request(given, require_appkey=True)
    # The endpoint itself looks for the token.
    assert given.asked | {"token"} == properties("NlsHttpParameters")


def test_what_nls_looks_for_in_long_texts() -> None:
    spoken = Watched({"text": "one"})
    payload = Watched({"tts_request": spoken, "enable_notify": True, "notify_url": "http://a"})
    header = Watched({"appkey": "any", "token": "any"})
    message = Watched({"payload": payload, "header": header})
    nls_async.read_request(message, require_appkey=True)
    nls_async.offered_token(message)
    # The context is ignored, as the document says.
    assert message.asked | {"context"} == properties("NlsAsyncAsyncMessage")
    assert payload.asked == properties("NlsAsyncAsyncPayload")
    assert header.asked == properties("NlsAsyncAsyncHeader")
    assert spoken.asked == properties("NlsAsyncAsyncParameters")


def test_what_dashscope_looks_for() -> None:
    given = Watched({"voice": "one", "format": "opus"})
    dashscope.read_options(given, voice="")
    assert given.asked | {"text"} == properties("DashscopeSpeechInput")


def test_what_recognition_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = Watched({"format": "raw", "data": base64.b64encode(bytes(2)).decode()})
    fields = Watched({"audio": audio})
    monkeypatch.setattr(qiniu_asr, "_json_object", lambda _body: fields)
    qiniu_asr.read_request(b"")
    assert fields.asked == properties("QiniuAsrMessage")
    assert audio.asked == properties("QiniuRecordingPart")
    assert resolved({"$ref": "#/components/schemas/QiniuRecordingPart"})["required"] == ["format"]
