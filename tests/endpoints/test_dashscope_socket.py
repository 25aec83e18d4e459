"""DashScope's WebSocket over real sockets, on the sine model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from pathlib import Path
from typing import Any, Self

import pytest
from flowing import PATIENCE_S, eventually
from server_process import ServerProcess
from sine_model import computed_chunks, sine_samples
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = pytest.mark.anyio

TEXT = "一二三四五六七八九十。"
PCM_BYTES = 2 * sine_samples(len(TEXT)).size
PARAMETERS = {"voice": "sine", "format": "pcm", "sample_rate": 24_000}
KEY = "the-right-key"
NOBODY = json.dumps(
    {
        "header": {"action": "run-task", "task_id": "1"},
        "payload": {"model": "m", "parameters": {"voice": "nobody"}},
    }
)


class InferenceSocket:
    """One connection; `received` holds all messages and frames in order."""

    def __init__(self, address: str, path: str = "/api-ws/v1/inference", **options: Any) -> None:
        self._connecting = connect(f"ws://{address}{path}", ping_interval=None, **options)
        self.received: list[dict[str, Any] | bytes] = []
        self.task_id = ""
        self.socket: ClientConnection

    async def __aenter__(self) -> Self:
        self.socket = await self._connecting.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._connecting.__aexit__(*details)  # type: ignore[arg-type]

    async def send(self, action: str, payload: Any, **header: Any) -> None:
        header = {"action": action, "task_id": self.task_id, "streaming": "duplex", **header}
        await self.socket.send(json.dumps({"header": header, "payload": payload}))

    async def start(self, model: str = "cosyvoice-v2", **parameters: Any) -> None:
        self.task_id = uuid.uuid4().hex
        parameters = {**PARAMETERS, **parameters}
        await self.send("run-task", {"model": model, "input": {}, "parameters": parameters})

    async def text(self, text: str) -> None:
        await self.send("continue-task", {"input": {"text": text}})

    async def finish(self, **given: Any) -> None:
        await self.send("finish-task", {"input": given})

    async def receive(self) -> dict[str, Any] | bytes:
        async with asyncio.timeout(PATIENCE_S):
            frame = await self.socket.recv()
        message = frame if isinstance(frame, bytes) else json.loads(frame)
        self.received.append(message)
        return message

    async def until(self, event: str) -> dict[str, Any]:
        while True:
            message = await self.receive()
            if isinstance(message, dict) and message["header"]["event"] == event:
                return message

    async def until_audio(self) -> None:
        while not isinstance(await self.receive(), bytes):
            pass

    async def until_closed(self) -> int:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.receive()
        assert self.socket.close_code is not None
        return self.socket.close_code

    @property
    def audio(self) -> bytes:
        return b"".join(message for message in self.received if isinstance(message, bytes))


async def test_speech_comes_before_the_last_piece_of_text(sine_server: ServerProcess) -> None:
    async with InferenceSocket(sine_server.address) as client:
        await client.start()
        await client.until("task-started")
        await client.text(TEXT)
        await client.until_audio()
        await client.text(TEXT)
        await client.finish()
        await client.until("task-finished")
    assert len(client.audio) == 2 * PCM_BYTES


async def test_each_piece_of_audio_is_announced(sine_server: ServerProcess) -> None:
    async with InferenceSocket(sine_server.address, "/api-ws/v1/inference/") as client:
        await client.start()
        await client.text(TEXT)
        await client.finish()
        await client.until("task-finished")
    before: Any = None
    for message in client.received:
        announced = isinstance(before, dict) and (
            before["payload"].get("output", {}).get("type") == "sentence-synthesis"
        )
        assert isinstance(message, bytes) == announced
        assert message
        before = message


async def test_a_connection_is_used_for_one_task_after_another(sine_server: ServerProcess) -> None:
    async with InferenceSocket(sine_server.address) as client:
        for tasks in (1, 2, 3):
            await client.start()
            await client.text(TEXT)
            await client.finish()
            end = await client.until("task-finished")
            assert end["header"]["task_id"] == client.task_id
            assert len(client.audio) == tasks * PCM_BYTES


async def test_a_new_task_ends_the_one_that_runs(sine_server: ServerProcess) -> None:
    async with InferenceSocket(sine_server.address) as client:
        await client.start()
        first = client.task_id
        await client.text(TEXT * 100)
        await client.until_audio()
        await client.start()
        assert (await client.until("task-finished"))["header"]["task_id"] == first
        heard = len(client.audio)
        assert heard < 100 * PCM_BYTES
        await client.until("task-started")
        await client.text(TEXT)
        await client.finish()
        assert (await client.until("task-finished"))["header"]["task_id"] == client.task_id
        assert len(client.audio) == heard + PCM_BYTES


async def test_after_cancel_the_connection_goes_on(sine_server: ServerProcess) -> None:
    async with InferenceSocket(sine_server.address) as client:
        await client.start()
        await client.text(TEXT * 100)
        await client.until_audio()
        await client.finish(directive="cancel")
        await client.until("task-finished")
        heard = len(client.audio)
        assert heard < 100 * PCM_BYTES
        await client.start()
        await client.text(TEXT)
        await client.finish()
        await client.until("task-finished")
        assert len(client.audio) == heard + PCM_BYTES


async def test_a_client_that_leaves_stops_the_model(tmp_path: Path) -> None:
    counter = tmp_path / "chunks"
    model = {
        "name": "sine",
        "kind": "sine_model:SineModel",
        "options": {"counter_path": str(counter), "compute_delay_s": 0.01},
    }
    with ServerProcess(tmp_path / "log", models=json.dumps([model])) as server:
        async with InferenceSocket(server.address) as client:
            await client.start()
            await client.text(TEXT * 500)
            await client.until_audio()
            client.socket.transport.abort()
        await eventually(lambda: server.metric("cosystream_active_sessions") == 0)
        await eventually(lambda: server.metric("cosystream_connections") == 0)
        assert computed_chunks(counter) < 500 * 11


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"\x00", "Binary messages"),
        ("not json", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"payload":{}}', "'header'"),
        ('{"header":{"action":"continue-task","task_id":"1"},"payload":{"input":{"text":"a"}}}',
         "task can not be null"),
        ('{"header":{"action":"run-task","task_id":"1"},"payload":{}}', "payload.model"),
        ('{"header":{"action":"run-task","task_id":"1"},"payload":{"model":"m"}}',
         "Request voice is invalid!"),
        (NOBODY, "[tts:]Engine return error code: 418"),
    ],
)  # fmt: skip
async def test_misuse_is_told_before_the_end(
    sine_server: ServerProcess, frame: str | bytes, message: str
) -> None:
    async with InferenceSocket(sine_server.address) as client:
        await client.socket.send(frame)
        assert await client.until_closed() == 1000
    (told,) = client.received
    assert isinstance(told, dict)
    header = told["header"]
    assert (header["event"], header["error_code"]) == ("task-failed", "InvalidParameter")
    assert message in header["error_message"]
    assert header["task_id"] == ("1" if "task_id" in str(frame) else "")


@pytest.mark.parametrize(
    ("parameters", "texts", "message"),
    [
        ({}, [], "[tts:]Please ensure input text is valid."),
        ({}, ["……"], "[tts:]Please ensure input text is valid."),
        ({"enable_ssml": True}, ["一。", "二。"], "one continue-task"),
        ({"format": "ogg"}, [], "Invalid format"),
        ({"sample_rate": 1}, [], "Invalid sample_rate"),
        ({"volume": 101}, [], "Invalid volume"),
        ({"rate": 2.1}, [], "Invalid rate"),
        ({"pitch": 0.4}, [], "Invalid pitch"),
        ({}, ["字" * 10_001], "20000 characters of one message"),
    ],
)
async def test_a_task_that_fails_says_why_before_the_end(
    sine_server: ServerProcess, parameters: dict[str, Any], texts: list[str], message: str
) -> None:
    async with InferenceSocket(sine_server.address) as client:
        await client.start(**parameters)
        with contextlib.suppress(ConnectionClosed):
            for text in texts:
                await client.text(text)
            await client.finish()
        assert await client.until_closed() == 1000
    told = client.received[-1]
    assert isinstance(told, dict)
    assert (told["header"]["event"], told["header"]["task_id"]) == ("task-failed", client.task_id)
    assert told["header"]["error_code"] == "InvalidParameter"
    assert message in told["header"]["error_message"]


@pytest.mark.parametrize(
    ("action", "payload", "header", "message"),
    [
        ("continue-task", {"input": {"text": "一"}}, {"task_id": "other"}, "task can not be null"),
        ("finish-task", {"input": {}}, {"task_id": "other"}, "task can not be null"),
        ("continue-task", {}, {}, "'payload.input'"),
        ("finish-task", {}, {}, "'payload.input'"),
        ("dance-task", {}, {}, "Unknown action"),
    ],
)
async def test_misuse_within_a_task_ends_it(
    sine_server: ServerProcess, action: str, payload: Any, header: dict[str, Any], message: str
) -> None:
    async with InferenceSocket(sine_server.address) as client:
        await client.start()
        await client.until("task-started")
        await client.send(action, payload, **header)
        assert await client.until_closed() == 1000
    told = client.received[-1]
    assert isinstance(told, dict)
    assert told["header"]["event"] == "task-failed"
    assert message in told["header"]["error_message"]


async def test_a_task_without_text_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with ServerProcess(
        tmp_path / "log",
        "--model",
        "sine=sine_model:SineModel",
        text_timeout_s="0.2",
        idle_timeout_s="0.1",
    ) as server:
        async with InferenceSocket(server.address) as idle, InferenceSocket(server.address) as busy:
            await busy.start()
            assert await busy.until_closed() == 1000
            assert isinstance(busy.received[-1], dict)
            header = busy.received[-1]["header"]
            assert header["error_message"] == "request timeout after 0.2 seconds."
            # The package opens connections in advance: a minute is theirs.
            await idle.start()
            await idle.text(TEXT)
            await idle.finish()
            await idle.until("task-finished")


async def test_a_model_of_ours_is_taken_at_its_word(sine_server: ServerProcess) -> None:
    async with InferenceSocket(sine_server.address) as client:
        await client.start(model="sine")
        await client.until("task-started")


async def test_a_key_is_needed_at_the_handshake(tmp_path: Path) -> None:
    model = ("--model", "sine=sine_model:SineModel")
    with ServerProcess(tmp_path / "log", *model, tokens=KEY) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with InferenceSocket(server.address):
                pass
        assert refused.value.response.status_code == 401
        body = json.loads(refused.value.response.body or b"")
        assert (body["code"], body["message"]) == (
            "InvalidApiKey", "Missing authorization header!"
        )  # fmt: skip
        assert body["request_id"]
        lower_case = {"additional_headers": {"Authorization": f"bearer {KEY}"}}
        for path, options in ((f"?api_key={KEY}", {}), ("", lower_case)):
            async with InferenceSocket(
                server.address, f"/api-ws/v1/inference{path}", **options
            ) as client:
                await client.start()
                await client.until("task-started")
