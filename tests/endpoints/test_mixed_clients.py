"""A thousand requests over all protocols at once, many of which are broken off anywhere."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import random
import uuid
import wave
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from asr_client import AUDIO, configuration, frame
from flowing import eventually
from server_process import ServerProcess
from websockets.asyncio.client import connect
from wyoming.tts import SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeVoice
from wyoming_client import WyomingClient, port_of

pytestmark = pytest.mark.anyio

N_REQUESTS = 1000
AT_ONCE = 40
ABORTED_SHARE = 0.4
TEXT = "一二三四五六。七八九十一二三。"
VOICE = "sine"
MODELS = [
    {
        "name": "sine",
        "kind": "sine_model:SineModel",
        "workers": 2,
        "options": {"compute_delay_s": 0.001, "slots": 4},
    }
]
RECOGNIZER = {"kind": "word_recognizer:WordRecognizer"}
Script = list[str | bytes]
Visit = Callable[[ServerProcess, httpx.AsyncClient, random.Random], Awaitable[None]]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("mixed") / "log"
    with ServerProcess(
        log,
        models=json.dumps(MODELS),
        recognizer=json.dumps(RECOGNIZER),
        max_sessions="200",
        max_queued_segments="500",
        max_jobs_per_token="1000",
        wyoming="127.0.0.1:0",
    ) as process:
        yield process


# --- What is sent ------------------------------------------------------------------------------


def nls(name: str, namespace: str, task_id: str, payload: Any = None) -> str:
    header = {"namespace": namespace, "name": name, "task_id": task_id, "appkey": "test"}
    return json.dumps({"header": {**header, "message_id": uuid.uuid4().hex}, "payload": payload})


def flowing() -> Script:
    task = uuid.uuid4().hex
    says = [nls("RunSynthesis", "FlowingSpeechSynthesizer", task, {"text": one}) for one in TEXT]
    start = nls("StartSynthesis", "FlowingSpeechSynthesizer", task, {"voice": VOICE})
    return [start, *says, nls("StopSynthesis", "FlowingSpeechSynthesizer", task)]


def one_shot(namespace: str) -> Script:
    payload = {"voice": VOICE, "text": TEXT, "enable_subtitle": True, "format": "mp3"}
    return [nls("StartSynthesis", namespace, uuid.uuid4().hex, payload)]


def dashscope() -> Script:
    def message(action: str, payload: Any) -> str:
        header = {"action": action, "task_id": task, "streaming": "duplex"}
        return json.dumps({"header": header, "payload": payload})

    task = uuid.uuid4().hex
    run = {"model": "cosyvoice-v2", "input": {}, "parameters": {"voice": VOICE, "format": "opus"}}
    says = [message("continue-task", {"input": {"text": one}}) for one in (TEXT[:7], TEXT[7:])]
    return [message("run-task", run), *says, message("finish-task", {"input": {}})]


def qiniu(encoding: str) -> dict[str, Any]:
    return {"audio": {"voice_type": VOICE, "encoding": encoding}, "request": {"text": TEXT}}


def recording() -> bytes:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((8000 * np.sin(np.arange(8000) / 5)).astype("<i2").tobytes())
    return sound.getvalue()


# --- How it is visited -------------------------------------------------------------------------


async def talk(
    server: ServerProcess, path: str, script: Script, chance: random.Random, *, last: str | bytes
) -> None:
    """Send all, read until what ends it; or leave at any point, with or without a goodbye."""
    leaves_after = chance.randrange(len(script) + 6) if chance.random() < ABORTED_SHARE else None
    async with connect(f"ws://{server.address}{path}", ping_interval=None) as socket:
        for number, message in enumerate(script):
            if number == leaves_after:
                break
            await socket.send(message)
        else:
            if leaves_after is None:
                await _read_until(socket, last)
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01 * (leaves_after - len(script))):
                    await _read_until(socket, last)
        if chance.random() < 0.5:
            socket.transport.abort()


async def _read_until(socket: AsyncIterator[str | bytes], last: str | bytes) -> None:
    async for message in socket:
        if isinstance(message, type(last)) and last in message:  # type: ignore[operator]
            return
        failed = isinstance(message, str) and ("TaskFailed" in message or "task-failed" in message)
        assert not failed, message
    raise AssertionError(f"closed before {last!r}")


async def post(
    server: ServerProcess,
    client: httpx.AsyncClient,
    chance: random.Random,
    path: str,
    body: Any,
    **headers: str,
) -> None:
    url = f"http://{server.address}{path}"
    leaves = chance.random() < ABORTED_SHARE
    patience_s = chance.random() * 0.05 if leaves else 30.0
    try:
        async with (
            asyncio.timeout(patience_s),
            client.stream("POST", url, json=body, headers=headers) as answer,
        ):
            assert answer.status_code == 200, (path, await answer.aread())
            n_bytes = 0
            async for piece in answer.aiter_raw():
                n_bytes += len(piece)
            assert n_bytes > 50
    except TimeoutError:
        assert leaves, f"no end of {path}"


async def home_assistant(port: int, chance: random.Random) -> None:
    leaves = chance.random() < ABORTED_SHARE
    async with WyomingClient(port) as client:
        await client.send(SynthesizeStart(voice=SynthesizeVoice(name=VOICE)))
        for piece in (TEXT[:7], TEXT[7:]):
            await client.send(SynthesizeChunk(text=piece))
        if leaves:
            await asyncio.sleep(chance.random() * 0.05)
            return
        await client.send(SynthesizeStop())
        await client.until("synthesize-stopped")


async def long_text(server: ServerProcess, client: httpx.AsyncClient) -> None:
    url = f"http://{server.address}/rest/v1/tts/async"
    wanted = {"text": TEXT, "voice": VOICE, "format": "wav", "sample_rate": 16_000}
    body = {"payload": {"tts_request": wanted}, "header": {"appkey": "a"}}
    answer = await client.post(url, json=body)
    assert answer.status_code == 200, answer.text
    task = {"appkey": "a", "task_id": answer.json()["data"]["task_id"]}
    state = await client.get(url, params=task)
    assert state.json()["error_message"] in {"QUEUEING", "RUNNING", "SUCCESS"}
    assert (await client.delete(url, params=task)).status_code == 200


def visits(wyoming_port: int) -> dict[str, Visit]:
    async def wyoming(_: ServerProcess, __: httpx.AsyncClient, chance: random.Random) -> None:
        await home_assistant(wyoming_port, chance)

    async def job(server: ServerProcess, client: httpx.AsyncClient, _: random.Random) -> None:
        await long_text(server, client)

    async def asr_live(server: ServerProcess, _: httpx.AsyncClient, chance: random.Random) -> None:
        sound = bytes(3200)
        script: Script = [configuration(), *(frame(AUDIO, sound, n) for n in range(2, 5))]
        script.append(frame(AUDIO, b"", -5, last=True))
        # The last reply has the flag 2 beside the sequence's in its second byte.
        await talk(server, "/v1/voice/asr", script, chance, last=b"\x11\x93")

    def socket(path: str, script: Callable[[], Script], last: str) -> Visit:
        async def visit(server: ServerProcess, _: httpx.AsyncClient, chance: random.Random) -> None:
            await talk(server, path, script(), chance, last=last)

        return visit

    def http(path: str, body: Any, **headers: str) -> Visit:
        async def visit(
            server: ServerProcess, client: httpx.AsyncClient, chance: random.Random
        ) -> None:
            await post(server, client, chance, path, body, **headers)

        return visit

    openai = {"model": "tts-1", "voice": VOICE, "input": TEXT}
    heard = {"audio": {"format": "wav", "data": base64.b64encode(recording()).decode()}}
    cosyvoice = {
        "model": "cosyvoice-v2",
        "input": {"text": TEXT, "voice": VOICE, "format": "wav", "sample_rate": 16_000},
    }
    dashscope_path = "/api/v1/services/audio/tts/SpeechSynthesizer"
    return {
        "flowing": socket("/ws/v1/tts", flowing, "SynthesisCompleted"),
        "short": socket("/ws/v1", lambda: one_shot("SpeechSynthesizer"), "SynthesisCompleted"),
        "long": socket("/ws/v1", lambda: one_shot("SpeechLongSynthesizer"), "SynthesisCompleted"),
        "rest": http("/stream/v1/tts", {"appkey": "a", "text": TEXT, "voice": VOICE}),
        "dashscope": socket("/api-ws/v1/inference", dashscope, "task-finished"),
        "dashscope-http": http(dashscope_path, cosyvoice),
        "dashscope-sse": http(dashscope_path, cosyvoice, **{"X-DashScope-SSE": "enable"}),
        "openai": http("/v1/audio/speech", openai),
        "openai-sse": http("/v1/audio/speech", openai | {"stream_format": "sse"}),
        "qiniu": http("/v1/voice/tts", qiniu("mp3")),
        "qiniu-live": socket(
            "/voice/tts", lambda: [json.dumps(qiniu("wav")).encode()], '"sequence":-'
        ),
        "asr": http("/voice/asr", {"model": "asr", **heard}),
        "asr-live": asr_live,
        "wyoming": wyoming,
        "job": job,
    }


# --- The test ----------------------------------------------------------------------------------


async def visit_all(
    server: ServerProcess, kinds: dict[str, Visit], n_requests: int, seed: int
) -> Counter[str]:
    chance = random.Random(seed)
    waiting = iter([(name, chance.random()) for name in chance.choices([*kinds], k=n_requests)])
    done: Counter[str] = Counter()

    async def visitor(client: httpx.AsyncClient) -> None:
        for name, own_seed in waiting:
            await kinds[name](server, client, random.Random(own_seed))
            done[name] += 1

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(visitor(client))
    return done


async def test_a_thousand_requests_leave_nothing_behind(server: ServerProcess) -> None:
    front = psutil.Process(server.pid)
    kinds = visits(port_of(server))

    def settled() -> dict[str, float]:
        return {
            "sessions": server.get("/status").json()["sessions"],
            "active": server.metric("cosystream_active_sessions"),
            "connections": server.metric("cosystream_connections"),
            "queued": server.metric("cosystream_queued_segments"),
        }

    await visit_all(server, kinds, N_REQUESTS // 5, seed=1)  # caches fill, threads start
    await eventually(lambda: not any(settled().values()))
    files, threads, memory = front.num_fds(), front.num_threads(), front.memory_info().rss
    workers = {worker.pid for worker in front.children()}

    done = await visit_all(server, kinds, N_REQUESTS, seed=2)
    assert done.total() == N_REQUESTS
    assert set(done) == set(kinds)
    await eventually(lambda: not any(settled().values()))
    await eventually(lambda: front.num_fds() <= files + 5)
    assert front.num_threads() <= threads + 5
    assert front.memory_info().rss - memory < 32 << 20
    assert {worker.pid for worker in front.children()} == workers
    assert "Traceback" not in server.log.read_text()

    # Every slot still speaks: more whole requests at once than there are.
    async with httpx.AsyncClient(timeout=30) as client:
        body = {"model": "tts-1", "voice": VOICE, "input": TEXT, "response_format": "pcm"}
        url = f"http://{server.address}/v1/audio/speech"
        answers = await asyncio.gather(*(client.post(url, json=body) for _ in range(16)))
    assert {len(answer.content) for answer in answers} == {2 * 2400 * len(TEXT)}
