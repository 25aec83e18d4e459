"""The whole server with the official models: real workers under CosyVoice's own Python.

Weights are random, so what is heard says nothing; that it is heard, when, how long and from which
model is what counts. Versions 1 and 2 run with the tests' own copy of the official package;
with COSYSTREAM_COSYVOICE_HOME naming a checkout, all three do.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from clone_model import recording
from cosyvoice_environment import Checkpoints
from flowing import FlowingSocket, eventually, samples_of, speak
from server_process import ServerProcess

pytestmark = pytest.mark.anyio

HOME = os.environ.get("COSYSTREAM_COSYVOICE_HOME", "")
VERSIONS = (1, 2, 3) if HOME else (1, 2)
RATES_HZ = {1: 22050, 2: 24000, 3: 24000}
FAULTY_VOICE = "日语男"
MODEL_FAILED = 51020001
PATIENCE_S = 180.0
"""Workers import torch and transformers, several at once on few processors."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
TEXT = "你好，很高兴认识你。今天天气很好。"
LONG = "今天天气很好，我们一起去公园散步，看看花，看看树，再回家吃饭。" * 4


def _start(folder: Path, python: Path, models: list[dict[str, Any]]) -> ServerProcess:
    return ServerProcess(
        folder / "log",
        patience_s=PATIENCE_S,
        models=json.dumps(models),
        cosyvoice_home=HOME,
        cosyvoice_interpreter=str(python),
        data_directory=str(folder / "data"),
        worker_start_timeout_s=str(PATIENCE_S),
    )


def _model(name: str, directory: Path, **settings: Any) -> dict[str, Any]:
    return {"name": name, "kind": str(directory), "environment": ONE_THREAD, **settings}


@pytest.fixture(scope="module")
def hosted(
    tmp_path_factory: pytest.TempPathFactory, cosyvoice_python: Path, checkpoints: Checkpoints
) -> Iterator[ServerProcess]:
    """All versions, one more that breaks, and the embedded model, in one server."""
    streamed = {"英文女": "always"}
    models = [
        _model("v1", checkpoints.tiny(1, "CosyVoice-300M-SFT"), options={"devices": ["cpu"]}),
        _model("v2", checkpoints.tiny(2, rate="4"), voice_text_stream=streamed),
        *([_model("v3", checkpoints.tiny(3), voice_text_stream=streamed)] if HOME else []),
        {
            "name": "faulty",
            "kind": "faulty_cosyvoice:FaultyCosyVoice",
            "workers": 1,
            "interpreter": str(cosyvoice_python),
            "environment": {**ONE_THREAD, "PYTHONPATH": str(Path(__file__).parent.parent)},
            "options": {
                "directory": str(checkpoints.tiny(2, rate="4")),
                "home": HOME,
                "faulty_voice": FAULTY_VOICE,
            },
        },
        {"name": "espeak", "kind": "espeak", "workers": 1},
    ]
    folder = tmp_path_factory.mktemp("cosyvoice-server")
    with _start(folder, cosyvoice_python, models) as process:
        yield process


def _length_s(client: FlowingSocket, rate_hz: int) -> float:
    samples = samples_of(client.audio)
    assert np.abs(samples).max() > 0
    return len(samples) / rate_hz


def _said_s(server: ServerProcess) -> dict[str, float]:
    models = ("v1", "v2", "v3", "faulty", "espeak")
    name = "cosystream_model_audio_seconds_total"
    return {model: server.metric(name, model=model) for model in models}


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version_is_hosted_and_a_voice_leads_to_its_model(
    hosted: ServerProcess, version: int
) -> None:
    before = _said_s(hosted)
    options = {"voice": f"v{version}/中文女", "format": "pcm", "sample_rate": RATES_HZ[version]}
    client = await speak(hosted.flowing_url, TEXT, **options)
    after = _said_s(hosted)
    spoken_by = [model for model in after if after[model] > before[model]]
    assert spoken_by == [f"v{version}"]
    assert client.names.count("SentenceEnd") == 2
    said_s = after[f"v{version}"] - before[f"v{version}"]
    assert _length_s(client, RATES_HZ[version]) == pytest.approx(said_s, abs=0.01)


@pytest.mark.parametrize("version", VERSIONS)
async def test_audio_comes_in_chunks_while_the_rest_is_computed(
    hosted: ServerProcess, version: int
) -> None:
    async with FlowingSocket(hosted.flowing_url) as client:
        await client.start(voice=f"v{version}/中文女", format="pcm", sample_rate=24000)
        await client.run(LONG[:24])
        await client.stop()
        await client.until_audio()
        assert hosted.metric("cosystream_workers", model=f"v{version}", state="ready") == 1
        computed_s = hosted.metric("cosystream_synthesis_seconds_total", model=f"v{version}")
        await client.until("SynthesisCompleted")
    after_s = hosted.metric("cosystream_synthesis_seconds_total", model=f"v{version}")
    assert after_s > computed_s


async def test_all_models_speak_at_once(hosted: ServerProcess) -> None:
    before = _said_s(hosted)
    models = [*(f"v{version}" for version in VERSIONS), "espeak"]
    clients = await asyncio.gather(
        *(
            speak(
                hosted.flowing_url, TEXT, voice=f"{model}/中文女", format="pcm", sample_rate=16000
            )
            for model in models * 2
        )
    )
    after = _said_s(hosted)
    for index, model in enumerate(models):
        lengths = [_length_s(clients[n], 16000) for n in (index, index + len(models))]
        assert sum(lengths) == pytest.approx(after[model] - before[model], abs=0.05), model


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_that_leaves_frees_the_model(hosted: ServerProcess, version: int) -> None:
    model = f"v{version}"
    name = "cosystream_cancelled_syntheses_total"
    before = hosted.metric(name, model=model)
    async with FlowingSocket(hosted.flowing_url) as client:
        await client.start(voice=f"{model}/中文女", format="pcm", sample_rate=24000)
        await client.run(LONG)
        await client.until_audio()
    await eventually(lambda: hosted.metric(name, model=model) > before)
    await eventually(lambda: _running(hosted, model) == 0)
    await speak(hosted.flowing_url, "再见。", voice=f"{model}/中文女", format="pcm")


def _running(server: ServerProcess, model: str) -> int:
    workers = server.get("/status").json()["workers"]
    return sum(one["running"] + one["parked"] for one in workers if one["model"] == model)


async def test_a_language_model_that_breaks_fails_its_task_and_no_other(
    hosted: ServerProcess,
) -> None:
    starts = hosted.metric("cosystream_worker_starts_total", model="faulty")
    beside = asyncio.create_task(
        speak(hosted.flowing_url, TEXT, voice="faulty/中文女", format="pcm")
    )
    async with FlowingSocket(hosted.flowing_url) as client:
        await client.start(voice=f"faulty/{FAULTY_VOICE}", format="pcm")
        await client.run(LONG[:24])
        await client.stop()
        while "TaskFailed" not in client.names:
            await client.receive()
    assert client.failure["status"] == MODEL_FAILED
    assert "CUDA" not in client.failure["status_text"]
    assert (await beside).audio
    assert (await speak(hosted.flowing_url, TEXT, voice="faulty/中文女", format="pcm")).audio
    assert hosted.metric("cosystream_worker_starts_total", model="faulty") == starts
    assert "device-side assert" in hosted.log.read_text()


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != 1])
async def test_a_text_is_heard_before_it_ends(hosted: ServerProcess, version: int) -> None:
    """The text is one sentence without an end, so only a model that takes it piece by piece can."""
    async with FlowingSocket(hosted.flowing_url) as client:
        await client.start(voice=f"v{version}/英文女", format="pcm", sample_rate=24000)
        for _ in range(6):
            await client.run("we walk on ")
        await client.until_audio()
        assert "SentenceEnd" not in client.names
        await client.run("and go home")
        await client.stop()
        await client.until("SynthesisCompleted")
    assert _length_s(client, 24000) > 0.5


# --- Loaded when needed, cloned voices ---------------------------------------------------------


def _rows(server: ServerProcess, model: str) -> float:
    return server.metric("cosystream_workers", model=model, state="ready")


async def test_a_clone_outlives_the_server_and_its_model_is_loaded_for_it(
    tmp_path: Path, cosyvoice_python: Path, checkpoints: Checkpoints
) -> None:
    """Enrolled by HTTP with a model that is loaded for that, unloaded when idle; then a restart."""
    directory = checkpoints.tiny(2, "voiceless", spk2info="none", rate="4")
    lazy = [
        _model("base", directory, load="lazy", idle_unload_s=1),
        {"name": "espeak", "kind": "espeak", "workers": 1},
    ]
    with _start(tmp_path, cosyvoice_python, lazy) as first:
        assert first.metric("cosystream_worker_starts_total", model="base") == 0
        answer = await asyncio.to_thread(_enroll, first, "Ada")
        assert answer.status_code == 201, answer.text
        voice_id = answer.json()["id"]
        assert first.metric("cosystream_worker_starts_total", model="base") == 1
        await eventually(lambda: _rows(first, "base") == 0)
    with _start(tmp_path, cosyvoice_python, lazy) as second:
        assert second.metric("cosystream_worker_starts_total", model="base") == 0
        for name in ("Ada", voice_id):
            client = await _speak_patiently(second.flowing_url, TEXT, voice=name, format="pcm")
            assert len(client.audio) > 24000
        assert second.metric("cosystream_model_audio_seconds_total", model="base") > 0
        await eventually(lambda: _rows(second, "base") == 0)


async def _speak_patiently(url: str, text: str, **options: Any) -> FlowingSocket:
    """A model may be loaded meanwhile, which takes longer than tests wait for a message."""
    async with FlowingSocket(url) as client:
        client.patience_s = PATIENCE_S
        await client.start(**options)
        await client.run(text)
        await client.stop()
        await client.until("SynthesisCompleted")
        return client


def _enroll(server: ServerProcess, name: str) -> httpx.Response:
    return httpx.post(
        f"http://{server.address}/v1/voices",
        data={"name": name, "text": "One two three four five six seven eight nine ten."},
        files={"audio": ("voice.wav", recording(220.0), "audio/wav")},
        timeout=PATIENCE_S,
        trust_env=False,
    )
