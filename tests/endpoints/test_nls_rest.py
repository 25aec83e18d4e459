"""`/stream/v1/tts` as Aliyun's samples and clients in the wild use it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from flowing import eventually, samples_of
from server_process import ServerProcess

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


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"5", b"[" * 100_000, b"\xff"])
async def test_a_body_that_is_no_json(url: str, body: bytes) -> None:
    answer = httpx.post(url, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (400, 40000000)


async def test_other_methods(url: str) -> None:
    assert httpx.delete(url).status_code == 405


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


async def test_tokens(tmp_path: Any) -> None:
    with ServerProcess(
        tmp_path / "log", "--model", "sine=sine_model:SineModel", tokens="right-token"
    ) as process:
        url = f"http://{process.address}/stream/v1/tts"
        assert httpx.post(url, json={**REQUEST, "token": "right-token"}).status_code == 200
        assert httpx.get(url, params={**REQUEST, "token": "right-token"}).status_code == 200
        headers = {"X-NLS-Token": "right-token"}
        assert httpx.post(url, json=REQUEST, headers=headers).status_code == 200
        for wrong in [{}, {"token": "wrong-token"}]:
            answer = httpx.post(url, json={**REQUEST, **wrong})
            assert (answer.status_code, answer.json()["status"]) == (403, 40000001)
