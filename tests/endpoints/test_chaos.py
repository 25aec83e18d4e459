"""What clients and workers do to a server, and that it loses nothing by it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Iterator

import httpx
import psutil
import pytest
from flowing import FlowingSocket, eventually, samples_of, speak
from server_process import ServerProcess

pytestmark = pytest.mark.anyio

LONG = "一二三四五六七八九十" * 20 + "。"
"""20 s of sine."""


@pytest.fixture
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two workers that compute ten times faster than real time, with two slots each."""
    folder = tmp_path_factory.mktemp("busy")
    models = [
        {
            "name": "sine",
            "kind": "sine_model:SineModel",
            "workers": 2,
            "options": {"compute_delay_s": 0.01, "slots": 2},
        }
    ]
    with ServerProcess(folder / "log", models=json.dumps(models)) as process:
        yield process


def workers_of(server: ServerProcess) -> list[psutil.Process]:
    return psutil.Process(server.pid).children()


async def test_a_worker_killed_before_any_audio_is_not_noticed(busy: ServerProcess) -> None:
    """Both workers are stopped, so that the sentence has been given to one and not begun."""
    workers = workers_of(busy)
    for worker in workers:
        worker.suspend()
    async with FlowingSocket(busy.flowing_url) as client:
        await client.start(voice="sine", sample_rate=24000)
        await client.run("一二三四五六七八九十。")
        await client.stop()
        await client.until("SentenceBegin")
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
        await client.until("SynthesisCompleted")
    assert len(samples_of(client.audio)) == round(24000 * 1.1)
    assert busy.metric("cosystream_segment_retries_total") >= 1
    await eventually(lambda: len(workers_of(busy)) == 2)


async def test_a_worker_killed_mid_sentence_fails_the_task_and_is_replaced(
    busy: ServerProcess,
) -> None:
    async with FlowingSocket(busy.flowing_url) as client:
        await client.start(voice="sine")
        await client.run(LONG)
        await client.until_audio()
        for worker in workers_of(busy):
            worker.send_signal(signal.SIGKILL)
        assert await client.until_closed() == 1000
    assert client.failure["status"] == 51020001
    again = await speak(busy.flowing_url, "一二三。", voice="sine")
    assert again.audio
    await eventually(lambda: busy.metric("cosystream_workers", state="ready") == 2)


async def test_a_client_that_reads_nothing_stalls_no_one(busy: ServerProcess) -> None:
    """More silent clients than the pool has slots, each with minutes of audio to come."""
    text = LONG * 12
    deaf = [FlowingSocket(busy.flowing_url, max_queue=1) for _ in range(6)]
    async with asyncio.TaskGroup() as group:
        for one in deaf:
            group.create_task(one.__aenter__())
    for one in deaf:
        await one.start(voice="sine", sample_rate=48000, format="wav")
        await one.run(text)
    for _ in range(3):
        client = await speak(busy.flowing_url, "一二三四五六七八九十。", voice="sine")
        assert client.audio
    assert busy.metric("cosystream_active_sessions") == 6
    for one in deaf:
        one.socket.transport.abort()
    await eventually(lambda: busy.metric("cosystream_active_sessions") == 0)
    for one in deaf:
        await one.__aexit__(None, None, None)


async def test_a_client_that_never_reads_is_dropped(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("impatient")
    with ServerProcess(
        folder / "log", "--model", "sine=sine_model:SineModel", send_timeout_s="0.5"
    ) as process:
        async with FlowingSocket(process.flowing_url, max_queue=1) as client:
            await client.start(voice="sine", sample_rate=48000, format="wav")
            await client.run(LONG * 30)
            await eventually(
                lambda: process.metric("cosystream_sessions_total", outcome="client_too_slow") == 1
            )
            client.socket.transport.abort()


async def test_connections_opened_and_dropped_at_random(busy: ServerProcess) -> None:
    """200 clients, each of which leaves somewhere between the handshake and the end."""
    chance = random.Random(7)
    front = psutil.Process(busy.pid)
    files_before = front.num_fds()

    async def visit() -> None:
        async with FlowingSocket(busy.flowing_url) as client:
            for step in chance.choices(["start", "run", "hear", "stop", "leave", "reset"], k=5):
                match step:
                    case "start":
                        await client.start(voice="sine")
                    case "run":
                        await client.run("一二三四五六。")
                    case "hear":
                        await asyncio.sleep(chance.random() * 0.05)
                    case "stop":
                        await client.stop()
                    case "reset":
                        client.socket.transport.abort()
                        return
                    case _:
                        return

    for _ in range(10):
        await asyncio.gather(*(visit() for _ in range(20)), return_exceptions=True)
    await eventually(lambda: busy.metric("cosystream_active_sessions") == 0)
    await eventually(lambda: busy.metric("cosystream_connections") == 0)
    await eventually(lambda: front.num_fds() <= files_before + 2)
    assert len(workers_of(busy)) == 2
    assert (await speak(busy.flowing_url, "一二三。", voice="sine")).audio


async def test_the_front_answers_while_all_workers_are_busy(busy: ServerProcess) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(speak(busy.flowing_url, LONG[:40], voice="sine"))
        async with httpx.AsyncClient() as http:
            for _ in range(20):
                answer = await http.get(f"http://{busy.address}/healthz")
                assert answer.status_code == 200


async def test_a_full_queue_refuses_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One worker that never begins: segments wait, and the next task hears of it at Start."""
    folder = tmp_path_factory.mktemp("full")
    models = [{"name": "sine", "kind": "sine_model:SineModel", "workers": 1}]
    with ServerProcess(
        folder / "log", models=json.dumps(models), max_queued_segments="2"
    ) as process:
        (worker,) = workers_of(process)
        worker.suspend()
        waiting = [FlowingSocket(process.flowing_url) for _ in range(8)]
        statuses = []
        for client in waiting:
            await client.__aenter__()
            await client.start(voice="sine")
            message = await client.receive()
            statuses.append(message["header"]["status"])
            if statuses[-1] != 20000000:
                break
            await client.run("一二三四五六。")
            await asyncio.sleep(0.05)
        assert statuses[-1] == 40000005
        worker.resume()
        for client in waiting[: len(statuses) - 1]:
            await client.until("SentenceEnd")
        for client in waiting[: len(statuses)]:
            await client.__aexit__(None, None, None)


# --- Shutdown --------------------------------------------------------------------------------


async def test_sigterm_lets_running_tasks_finish(busy: ServerProcess) -> None:
    idle = FlowingSocket(busy.flowing_url)
    async with FlowingSocket(busy.flowing_url) as client, idle:
        await client.start(voice="sine", sample_rate=24000)
        await client.run("一二三四五六七八九十" * 5 + "。")
        await client.until_audio()
        busy.terminate()
        assert await idle.until_closed() == 1001
        async with asyncio.timeout(10):
            while httpx.get(f"http://{busy.address}/readyz").status_code != 503:
                await asyncio.sleep(0.02)
        async with FlowingSocket(busy.flowing_url) as late:
            await late.start(voice="sine")
            await late.until_closed()
        assert late.failure["status"] == 50000000
        await client.stop()
        await client.until("SynthesisCompleted")
        assert len(samples_of(client.audio)) == round(24000 * 5.1)
        assert await client.until_closed() == 1001
    assert await asyncio.to_thread(busy.wait) == 0


async def test_sigterm_fails_what_takes_too_long(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("drain")
    with ServerProcess(
        folder / "log", "--model", "sine=sine_model:SineModel", drain_timeout_s="0.3"
    ) as process:
        async with FlowingSocket(process.flowing_url) as client:
            await client.start(voice="sine")
            await client.until("SynthesisStarted")
            process.terminate()
            assert await client.until_closed() == 1000
        assert client.failure["status"] == 50000000
        assert await asyncio.to_thread(process.wait) == 0


async def test_workers_do_not_outlive_a_killed_front(busy: ServerProcess) -> None:
    workers = workers_of(busy)
    os.kill(busy.pid, signal.SIGKILL)
    await asyncio.to_thread(busy.wait)
    await eventually(lambda: not any(worker.is_running() for worker in workers))
