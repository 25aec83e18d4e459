"""The whole server with the native engine: real workers, tiny checkpoints, many clients at once.

Weights are random, so what is heard says nothing; that it is heard, by whom and when is what
counts. No checkout of the official package is named.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from clone_model import recording
from cosyvoice_environment import Checkpoints
from flowing import FlowingSocket, eventually, samples_of, speak
from server_process import ServerProcess

pytestmark = pytest.mark.anyio

PATIENCE_S = 180.0
"""A worker imports torch, on few processors."""
VOICE = "中文女"
TEXT = "你好。"
LONG = "今天天气很好，我们一起去公园散步，看看花，看看树，再回家吃饭。"
RATE_HZ = 24000
N_CLIENTS = 32
MODEL_FAILED = 51020001


def _start(folder: Path, python: Path, model: dict[str, Any]) -> ServerProcess:
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    return ServerProcess(
        folder / "log",
        *("--engine", "native"),
        patience_s=PATIENCE_S,
        models=json.dumps([{"name": "native", "environment": environment, **model}]),
        cosyvoice_home="",
        cosyvoice_interpreter=str(python),
        data_directory=str(folder / "data"),
        worker_start_timeout_s=str(PATIENCE_S),
        send_timeout_s="120",
    )


@pytest.fixture(scope="module")
def native(
    tmp_path_factory: pytest.TempPathFactory, cosyvoice_python: Path, checkpoints: Checkpoints
) -> Iterator[ServerProcess]:
    """Version 2, with presets and clones."""
    directory = checkpoints.tiny(2, "native2", rate="2.5")
    model = {
        "kind": str(directory),
        "options": {"devices": ["cpu"], "slots": N_CLIENTS, "max_length": 1024},
        "voice_text_stream": {"英文女": "always"},
    }
    with _start(tmp_path_factory.mktemp("native-server"), cosyvoice_python, model) as process:
        yield process


def _workers(server: ServerProcess) -> list[dict[str, Any]]:
    return list(server.get("/status").json()["workers"])


def _is_idle(server: ServerProcess) -> bool:
    return not any(worker["running"] + worker["parked"] for worker in _workers(server))


def _length_s(client: FlowingSocket) -> float:
    samples = samples_of(client.audio)
    assert np.abs(samples).max() > 0
    return len(samples) / RATE_HZ


async def test_it_speaks(native: ServerProcess) -> None:
    client = await speak(native.flowing_url, LONG, voice=VOICE, format="pcm", sample_rate=RATE_HZ)
    assert _length_s(client) > 1
    said_s = native.metric("cosystream_model_audio_seconds_total", model="native")
    assert said_s >= _length_s(client) - 0.01
    # A CPU takes all, whether it computes them in time or not.
    assert N_CLIENTS in [worker["slots"] for worker in _workers(native)]
    assert native.metric("cosystream_worker_slots", model="native") == N_CLIENTS


async def test_a_text_is_heard_before_it_ends(native: ServerProcess) -> None:
    """The text is one sentence without an end, so only a model that takes it piece by piece can."""
    async with FlowingSocket(native.flowing_url) as client:
        await client.start(voice="英文女", format="pcm", sample_rate=RATE_HZ)
        for _ in range(6):
            await client.run("we walk on ")
        await client.until_audio()
        assert "SentenceEnd" not in client.names
        await client.run("and go home")
        await client.stop()
        await client.until("SynthesisCompleted")
    assert _length_s(client) > 0.5


# --- Many at once ------------------------------------------------------------------------------


async def _listens(url: str) -> FlowingSocket:
    async with FlowingSocket(url) as client:
        client.patience_s = PATIENCE_S
        await client.start(voice=VOICE, format="pcm", sample_rate=RATE_HZ)
        await client.run(LONG)
        await client.stop()
        await client.until("SynthesisCompleted")
        return client


async def _types(url: str) -> FlowingSocket:
    """Text comes character by character, as from a language model."""
    async with FlowingSocket(url) as client:
        await client.start(voice="英文女", format="pcm", sample_rate=RATE_HZ)
        for character in "we walk on and on, and then we go home again.":
            await client.run(character)
            await asyncio.sleep(0.005)
        await client.stop()
        client.patience_s = PATIENCE_S
        await client.until("SynthesisCompleted")
        return client


async def _reads_slowly(url: str) -> FlowingSocket:
    async with FlowingSocket(url, max_queue=1) as client:
        await client.start(voice=VOICE, format="pcm", sample_rate=RATE_HZ)
        await client.run(LONG)
        await client.stop()
        client.patience_s = PATIENCE_S
        while "SynthesisCompleted" not in client.names:
            await client.receive()
            await asyncio.sleep(0.02)
        return client


async def _leaves(url: str, when: float) -> None:
    """Says it, hears nothing or a little, and goes."""
    async with FlowingSocket(url) as client:
        client.patience_s = PATIENCE_S
        await client.start(voice=VOICE, format="pcm", sample_rate=RATE_HZ)
        await client.run(LONG)
        if when < 0.5:
            await asyncio.sleep(when)
        else:
            await client.until_audio()


async def test_many_clients_of_all_kinds(native: ServerProcess) -> None:
    """32 at once: listeners, typists, slow readers, and some who leave; then nothing is left."""
    dice = random.Random(7)
    starts = native.metric("cosystream_worker_starts_total", model="native")
    url = native.flowing_url
    kinds = ["listen", "type", "slow", "leave"] * (N_CLIENTS // 4)
    dice.shuffle(kinds)
    tasks: list[tuple[str, asyncio.Task[Any]]] = []
    async with asyncio.TaskGroup() as group:
        for kind in kinds:
            job: Any
            match kind:
                case "listen":
                    job = _listens(url)
                case "type":
                    job = _types(url)
                case "slow":
                    job = _reads_slowly(url)
                case _:
                    job = _leaves(url, dice.random())
            tasks.append((kind, group.create_task(job)))
    heard = [(kind, task.result()) for kind, task in tasks if kind != "leave"]
    for kind, client in heard:
        assert "SynthesisCompleted" in client.names, kind
        assert _length_s(client) > 0.5, kind
    await eventually(lambda: _is_idle(native))
    assert native.metric("cosystream_worker_starts_total", model="native") == starts
    assert native.metric("cosystream_cancelled_syntheses_total", model="native") > 0
    assert (await speak(url, TEXT, voice=VOICE, format="pcm")).audio


# --- Voices ------------------------------------------------------------------------------------


async def test_a_clone_is_made_and_speaks(native: ServerProcess) -> None:
    answer = await asyncio.to_thread(
        httpx.post,
        f"http://{native.address}/v1/voices",
        data={"name": "Ada", "text": "One two three four five six seven eight nine ten."},
        files={"audio": ("voice.wav", recording(220.0), "audio/wav")},
        timeout=PATIENCE_S,
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text
    client = await speak(
        native.flowing_url, "We walk on.", voice="Ada", format="pcm", sample_rate=RATE_HZ
    )
    assert _length_s(client) > 0.5


# --- A worker that dies ------------------------------------------------------------------------


@pytest.fixture
async def talking(native: ServerProcess) -> AsyncIterator[FlowingSocket]:
    """A client that hears something long."""
    async with FlowingSocket(native.flowing_url) as client:
        client.patience_s = PATIENCE_S
        await client.start(voice=VOICE, format="pcm", sample_rate=RATE_HZ)
        await client.run(LONG * 4)
        await client.until_audio()
        yield client


async def test_a_worker_that_is_killed_is_replaced(
    native: ServerProcess, talking: FlowingSocket
) -> None:
    starts = native.metric("cosystream_worker_starts_total", model="native")
    for worker in psutil.Process(native.pid).children():
        worker.send_signal(signal.SIGKILL)
    while "TaskFailed" not in talking.names:
        await talking.receive()
    assert talking.failure["status"] == MODEL_FAILED
    assert (await _listens(native.flowing_url)).audio
    assert native.metric("cosystream_worker_starts_total", model="native") == starts + 1


async def test_a_device_that_fails_ends_its_worker_and_nobody_notices(
    tmp_path: Path, cosyvoice_python: Path, checkpoints: Checkpoints
) -> None:
    """What has not been heard is said again by the worker that comes after."""
    breaks = tmp_path / "breaks"
    model = {
        "kind": "breaking_native:BreakingNative",
        "workers": 1,
        "interpreter": str(cosyvoice_python),
        "options": {
            "directory": str(checkpoints.tiny(3, "native3", rate="2.5")),
            "device": "cpu",
            "breaks": str(breaks),
        },
    }
    with _start(tmp_path, cosyvoice_python, model) as server:
        breaks.touch()
        clients = await asyncio.gather(*(_listens(server.flowing_url) for _ in range(3)))
        assert min(map(_length_s, clients)) > 0.5
        assert not breaks.exists()
        assert server.metric("cosystream_worker_starts_total", model="native") == 2
        assert "device-side assert" in server.log.read_text()
