"""DashScope's speech over HTTP, on the sine model."""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from flowing import eventually
from server_process import ServerProcess
from sine_model import computed_chunks, sine_samples

from server.endpoints.dashscope_http import begin_file
from server.speech.spoken_files import SpokenFile, SpokenFiles

pytestmark = pytest.mark.anyio

PATH = "/api/v1/services/audio/tts/SpeechSynthesizer"
TEXT = "一二三四五六七八九十。"
PCM_BYTES = 2 * sine_samples(len(TEXT)).size
SSE = {"X-DashScope-SSE": "enable"}


def asked(**given: Any) -> dict[str, Any]:
    given = {"text": TEXT, "voice": "sine", "format": "pcm", "sample_rate": 24_000, **given}
    return {"model": "cosyvoice-v3-flash", "input": given}


def post(server: ServerProcess, body: Any, **options: Any) -> httpx.Response:
    return httpx.post(f"http://{server.address}{PATH}", json=body, timeout=30, **options)


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line for line in response.text.splitlines() if line.startswith("data:")]
    return [json.loads(line.removeprefix("data:")) for line in lines]


def test_whole(sine_server: ServerProcess) -> None:
    response = post(sine_server, asked())
    assert response.status_code == 200
    answer = response.json()
    assert answer["request_id"]
    assert answer["usage"] == {"characters": 21}
    assert answer["output"]["finish_reason"] == "stop"
    audio = answer["output"]["audio"]
    assert audio["data"] == ""
    assert audio["expires_at"] > 1_700_000_000
    file = httpx.get(audio["url"])
    assert (file.headers["content-type"], len(file.content)) == ("audio/pcm", PCM_BYTES)
    assert httpx.get(audio["url"].replace(audio["id"], "0" * 32)).status_code == 404


def test_events(sine_server: ServerProcess) -> None:
    response = post(sine_server, asked(word_timestamp_enabled=True), headers=SSE)
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, last = events_of(response)
    outputs = [event["output"] for event in events]
    kinds = [output["type"] for output in outputs]
    assert (kinds[0], set(kinds[1:-1]), kinds[-1]) == (
        "sentence-begin", {"sentence-synthesis"}, "sentence-end"
    )  # fmt: skip
    pieces = [base64.b64decode(one["audio"]["data"]) for one in outputs[1:-1]]
    assert all(pieces)
    assert sum(map(len, pieces)) == PCM_BYTES
    words = outputs[-1]["sentence"]["words"]
    assert (words[0]["text"], words[1]["begin_time"]) == ("一", 100)
    assert "type" not in last["output"]
    assert httpx.get(last["output"]["audio"]["url"]).content == b"".join(pieces)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "not a JSON object"),
        ({}, "'model'"),
        ({"model": "m"}, "'input'"),
        ({"model": "m", "input": []}, "not a JSON object"),
        (asked(voice=None), "Request voice is invalid!"),
        (asked(voice="nobody"), "[tts:]Engine return error code: 418"),
        (asked(text=None), "ensure input text is valid"),
        (asked(text="……"), "ensure input text is valid"),
        (asked(text=5), "Invalid text"),
        (asked(text="字" * 10_001), "20000 characters"),
        (asked(format="ogg"), "Invalid format"),
        (asked(rate=9), "Invalid rate"),
    ],
)
@pytest.mark.parametrize("headers", [{}, SSE])
def test_misuse(
    sine_server: ServerProcess, body: Any, message: str, headers: dict[str, str]
) -> None:
    response = post(sine_server, body, headers=headers)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer.keys() == {"code", "message", "request_id"}
    assert answer["code"] == "InvalidParameter"
    assert message in answer["message"]


def test_no_json(sine_server: ServerProcess) -> None:
    response = httpx.post(f"http://{sine_server.address}{PATH}", content=b"[" * 100_000)
    assert response.status_code == 400


def test_a_failure_in_the_middle_is_an_event(sine_server: ServerProcess) -> None:
    response = post(sine_server, asked(text=TEXT + "please raise-after:1 and so on."), headers=SSE)
    assert response.status_code == 200
    assert "event:error\n:HTTP_STATUS/500\n" in response.text
    assert events_of(response)[-1]["code"] == "InternalError"


def test_a_failure_of_the_whole_is_an_error(sine_server: ServerProcess) -> None:
    response = post(sine_server, asked(text="please raise-after:3 and so on"))
    assert (response.status_code, response.json()["code"]) == (500, "InternalError")


@pytest.mark.parametrize("headers", [{}, SSE])
async def test_a_client_that_leaves_stops_the_model(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    counter = tmp_path / "chunks"
    model = {
        "name": "sine",
        "kind": "sine_model:SineModel",
        "options": {"counter_path": str(counter), "compute_delay_s": 0.01},
    }
    with ServerProcess(tmp_path / "log", models=json.dumps([model])) as server:
        url = f"http://{server.address}{PATH}"
        async with httpx.AsyncClient() as client:
            body = asked(text=TEXT * 500)
            if headers:
                async with client.stream("POST", url, json=body, headers=headers) as response:
                    assert await anext(response.aiter_bytes())
            else:
                with pytest.raises(httpx.ReadTimeout):
                    await client.post(url, json=body, timeout=0.5)
        await eventually(lambda: server.metric("cosystream_active_sessions") == 0)
        assert 0 < computed_chunks(counter) < 500 * 11
        spoken = tmp_path / "data" / "spoken"
        await eventually(lambda: list(spoken.iterdir()) == [])


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", "--model", "sine=sine_model:SineModel") as server:
        _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1 << 19, most))
        told = post(server, asked(text=TEXT * 20), headers=SSE)
        assert told.status_code == 200
        assert "event:error\n:HTTP_STATUS/500\n" in told.text
        assert "cannot be stored" in events_of(told)[-1]["message"]
        response = post(server, asked(text=TEXT * 20))
        assert (response.status_code, response.json()["code"]) == (500, "InternalError")
        spoken = tmp_path / "data" / "spoken"
        assert list(spoken.iterdir()) == []
        assert post(server, asked()).status_code == 200
        assert server.metric("cosystream_active_sessions") == 0


async def test_a_file_that_nobody_waits_for_goes_again(tmp_path: Path) -> None:
    begun, gate, made = threading.Event(), threading.Event(), threading.Event()

    class SlowFiles(SpokenFiles):
        def create(self, extension: str) -> SpokenFile:
            begun.set()
            gate.wait(30)
            file = super().create(extension)
            made.set()
            return file

    making = asyncio.create_task(begin_file(SlowFiles(tmp_path / "spoken"), "pcm"))
    await asyncio.to_thread(begun.wait)
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    assert making.cancelled()
    gate.set()
    await asyncio.to_thread(made.wait)
    await eventually(lambda: list((tmp_path / "spoken").iterdir()) == [])


def test_a_key_is_needed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", tokens="the-right-key") as server:
        response = post(server, asked(voice="zh-female"))
        assert (response.status_code, response.json()["code"]) == (401, "InvalidApiKey")
        right = {"Authorization": "Bearer the-right-key"}
        answer = post(server, asked(voice="zh-female", format="wav"), headers=right).json()
        # Its name is the key.
        assert httpx.get(answer["output"]["audio"]["url"]).content.startswith(b"RIFF")
