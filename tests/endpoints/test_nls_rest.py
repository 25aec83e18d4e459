"""`/stream/v1/tts` as Aliyun's samples and clients in the wild use it."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from flowing import eventually, samples_of
from server_process import ServerProcess
from starlette.requests import Request

from server import limits
from server.endpoints import nls_rest

pytestmark = pytest.mark.anyio

TEXT = "一二三四五六七八九十。"


@pytest.fixture
def url(sine_server: ServerProcess) -> str:
    return f"http://{sine_server.address}/stream/v1/tts"


REQUEST = {"appkey": "k", "voice": "sine", "text": TEXT, "format": "pcm", "sample_rate": 16000}


@pytest.mark.parametrize("how", ["get", "json", "form"])
async def test_every_way_to_ask(url: str, how: str) -> None:
    match how:
        case "get":
            answer = httpx.get(url, params={**REQUEST, "volume": "50", "speech_rate": "0"})
        case "json":
            answer = httpx.post(url, json=REQUEST)
        case _:
            answer = httpx.post(url, data=REQUEST)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/mpeg"
    assert len(answer.headers["x-nls-requestid"]) == 32
    assert len(samples_of(answer.content)) == pytest.approx(1.1 * 16000, abs=2)


async def test_defaults(url: str) -> None:
    answer = httpx.post(url, json={"voice": "sine", "text": TEXT})
    assert len(answer.content) == pytest.approx(2 * 1.1 * 16000, abs=4)


@pytest.mark.parametrize(
    ("change", "http", "status"),
    [
        ({"text": None}, 400, 40010003),
        ({"text": "  "}, 400, 40010003),
        ({"text": "。。。"}, 400, 40010003),
        ({"text": 5}, 400, 40010003),
        ({"voice": "nobody"}, 400, 40000003),
        ({"format": "ogg"}, 400, 40010003),
        ({"sample_rate": 1}, 400, 41010101),
        ({"volume": 101}, 400, 40000003),
        ({"text": "字" * 100_001}, 400, 40000003),
        ({"text": "<speak>a</b>"}, 400, 41020001),
        ({"text": "please raise"}, 500, 51020001),
    ],
)
async def test_errors_are_json_with_a_4xx(
    url: str, change: dict[str, Any], http: int, status: int
) -> None:
    answer = httpx.post(url, json={**REQUEST, **change})
    assert answer.status_code == http
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["status"], body["result"]) == (status, "")
    assert body["task_id"] == answer.headers["x-nls-requestid"]
    assert body["message"]


async def test_the_type_is_spelled_as_the_cpp_sample_looks_it_up(
    sine_server: ServerProcess,
) -> None:
    """Its map of headers knows `Content-Type` only; names are lower case elsewhere."""
    host, port = sine_server.address.split(":")
    with socket.create_connection((host, int(port))) as client, client.makefile("rb") as answer:
        request = f"GET /stream/v1/tts?{urlencode(REQUEST)} HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall(request.encode())
        head = b"".join(iter(answer.readline, b"\r\n"))
    assert b"\r\nContent-Type: audio/mpeg\r\n" in head
    assert head.lower().count(b"content-type") == 1
    assert b"\r\ntransfer-encoding: chunked\r\n" in head


@pytest.mark.parametrize("how", ["get", "form"])
async def test_an_empty_field_is_absent(url: str, how: str) -> None:
    """As an HTML form sends what nobody has filled in."""
    fields = {**REQUEST, "volume": "", "sample_rate": "", "enable_ssml": "", "format": ""}
    answer = httpx.get(url, params=fields) if how == "get" else httpx.post(url, data=fields)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("how", ["get", "form"])
@pytest.mark.parametrize("digits", ["9" * 19, "-" + "9" * 5000])
async def test_a_number_without_end_is_a_wrong_parameter(url: str, how: str, digits: str) -> None:
    fields = {**REQUEST, "volume": digits}
    answer = httpx.get(url, params=fields) if how == "get" else httpx.post(url, data=fields)
    assert (answer.status_code, answer.json()["status"]) == (400, 40000003)
    assert "volume" in answer.json()["message"]


@pytest.mark.parametrize(
    "media_type",
    ["Application/X-WWW-Form-URLEncoded", "application/x-www-form-urlencoded ; charset=utf-8"],
)
async def test_a_form_in_any_case(url: str, media_type: str) -> None:
    body = urlencode(REQUEST).encode()
    answer = httpx.post(url, content=body, headers={"Content-Type": media_type})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"5", b"[" * 100_000, b"\xff"])
async def test_a_body_that_is_no_json(url: str, body: bytes) -> None:
    answer = httpx.post(url, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (400, 40000000)


async def test_other_methods(url: str) -> None:
    assert httpx.delete(url).status_code == 405


async def test_head_speaks_nothing(sine_server: ServerProcess, url: str) -> None:
    before = sine_server.metric("cosystream_sessions_total")
    answer = httpx.head(url, params=REQUEST)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert sine_server.metric("cosystream_sessions_total") == before


class Silence:
    """A client that has sent its request's head, and after that what it is told."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = list(messages)
        self.waited_for = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        self.waited_for.set()
        return await asyncio.Future()


async def answer_to(receive: Any, services: Any, **scope: Any) -> tuple[Any, dict[str, Any]]:
    app = SimpleNamespace(state=SimpleNamespace(services=services))
    request = Request(
        {
            "type": "http",
            "method": "POST",
            "path": "/stream/v1/tts",
            "query_string": b"",
            "headers": [],
            "app": app,
            **scope,
        },
        receive,
    )
    answer = await nls_rest.synthesize(request)
    return answer, json.loads(answer.body)


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_TIMEOUT_S", 0.01)
    client = Silence({"type": "http.request", "body": b"{", "more_body": True})
    answer, body = await answer_to(client.receive, SimpleNamespace())
    assert client.waited_for.is_set()
    assert (answer.status_code, body["status"]) == (408, 40000004)
    assert answer.headers["connection"] == "close"


async def test_a_defect_is_told_in_the_same_form() -> None:
    services = SimpleNamespace(authenticator=None)
    answer, body = await answer_to(Silence().receive, services, method="GET")
    assert (answer.status_code, body["status"]) == (500, 50000000)
    assert body["task_id"] == answer.headers["x-nls-requestid"]


async def test_a_client_that_goes_away_stops_the_model(
    sine_server: ServerProcess, url: str
) -> None:
    text = TEXT * 500
    async with (
        httpx.AsyncClient() as client,
        client.stream("POST", url, json={**REQUEST, "text": text}) as answer,
    ):
        async for _ in answer.aiter_raw():
            break
        assert sine_server.metric("cosystream_active_sessions") == 1
    await eventually(lambda: sine_server.metric("cosystream_active_sessions") == 0)
    assert "ASGI" not in sine_server.log.read_text()


async def test_a_client_that_leaves_before_the_first_byte_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path / "log", "--model", "sine=sine_model:SineModel") as process:
        url = f"http://{process.address}/stream/v1/tts"
        async with httpx.AsyncClient() as client:
            asking = asyncio.create_task(
                client.post(url, json={**REQUEST, "text": "please hang"}, timeout=None)
            )
            await eventually(lambda: process.metric("cosystream_active_sessions") == 1)
            asking.cancel()
            await asyncio.wait({asking})
        await eventually(lambda: process.metric("cosystream_active_sessions") == 0)
        assert process.metric("cosystream_sessions_total", outcome="cancelled") == 1
        assert "Traceback" not in process.log.read_text()


async def test_a_failure_in_mid_body_cuts_it(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", "--model", "sine=sine_model:SineModel") as process:
        url = f"http://{process.address}/stream/v1/tts"
        text = "please raise-after:2"
        request = {**REQUEST, "text": text, "enable_text_normalization": False}
        with (
            httpx.stream("POST", url, json=request) as answer,
            pytest.raises(httpx.RemoteProtocolError, match="incomplete"),
        ):
            for _ in answer.iter_raw():
                pass
        assert answer.status_code == 200
        assert "ASGI" not in process.log.read_text()


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    with ServerProcess(
        tmp_path / "log", "--model", "sine=sine_model:SineModel", send_timeout_s="0.2"
    ) as process:
        host, port = process.address.split(":")
        body = json.dumps({**REQUEST, "text": TEXT * 1000, "sample_rate": 48000}).encode()
        head = f"POST /stream/v1/tts HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((host, int(port)))
            client.sendall(head.encode() + body)
            too_slow = {"outcome": "client_too_slow"}
            await eventually(lambda: process.metric("cosystream_sessions_total", **too_slow) == 1)
            # The server gives the connection up, too: the client's next word is answered by RST.
            await eventually(lambda: is_reset(client))
        assert "ASGI" not in process.log.read_text()


def is_reset(client: socket.socket) -> bool:
    try:
        client.send(b"x")
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


async def test_tokens(tmp_path: Any) -> None:
    with ServerProcess(
        tmp_path / "log", "--model", "sine=sine_model:SineModel", tokens="right-token"
    ) as process:
        url = f"http://{process.address}/stream/v1/tts"
        assert httpx.post(url, json={**REQUEST, "token": "right-token"}).status_code == 200
        assert httpx.get(url, params={**REQUEST, "token": "right-token"}).status_code == 200
        headers = {"X-NLS-Token": "right-token"}
        assert httpx.post(url, json=REQUEST, headers=headers).status_code == 200
        stale = {"X-NLS-Token": "stale"}
        query = {**REQUEST, "token": "stale"}
        assert httpx.get(url, params={**REQUEST, "token": "right-token"}, headers=stale).is_success
        body = {**REQUEST, "token": "right-token"}
        assert httpx.post(url, params=query, json=body, headers=stale).is_success
        for wrong in [{}, {"token": "wrong-token"}]:
            answer = httpx.post(url, json={**REQUEST, **wrong})
            assert (answer.status_code, answer.json()["status"]) == (403, 40000001)
