"""The Wyoming port as such: who may come, misuse, slow and leaving clients, limits, the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from flowing import eventually
from server_process import ROOT, ServerProcess
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.info import Describe
from wyoming.ping import Ping
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop
from wyoming_client import WyomingClient, port_of, wait_closed_quietly

from server import keys
from server.app import build_app
from server.endpoints.wyoming_listener import WyomingListener
from server.keys import KeyStore
from server.settings import Settings

pytestmark = pytest.mark.anyio
SINE = ("--model", "sine=sine_model:SineModel")
ANY_PORT = ("--wyoming", "127.0.0.1:0")


@contextlib.contextmanager
def serving(folder: Path, *arguments: str, **settings: str) -> Iterator[tuple[ServerProcess, int]]:
    with ServerProcess(folder / "log", *SINE, *(arguments or ANY_PORT), **settings) as process:
        yield process, port_of(process)
    assert '"level": "error"' not in process.log.read_text()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, int]]:
    with serving(tmp_path_factory.mktemp("wyoming-port")) as process:
        yield process


def outcomes(process: ServerProcess, outcome: str) -> float:
    return process.metric("cosystream_sessions_total", protocol="wyoming", outcome=outcome)


def connections(process: ServerProcess) -> float:
    return process.metric("cosystream_connections")


# --- Misuse ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "JSON"),
        (b"\x16\x03\x01\x02\x00\n", "JSON"),
        (b'{"type": "synthesize", "data_length": 2000000000}\n', "larger"),
        (b'{"type": "audio-chunk", "payload_length": 2000000000}\n', "larger"),
        (b"x" * (2 << 20), "larger"),
    ],
)
async def test_garbage_is_told_and_ends_it(
    shared: tuple[ServerProcess, int], sent: bytes, said: str
) -> None:
    async with WyomingClient(shared[1]) as client:
        with contextlib.suppress(ConnectionError):
            await client.send_raw(sent)
        # A client that goes on writing may be reset before it has read why.
        await wait_closed_quietly(client)
    for event in client.received:
        assert said in Error.from_event(event).text
    assert client.received or len(sent) > 65_536


async def test_a_line_without_an_end_takes_no_memory(shared: tuple[ServerProcess, int]) -> None:
    process, port = shared
    memory = psutil.Process(process.pid)
    before_bytes = memory.memory_info().rss

    async def pour() -> None:
        async with WyomingClient(port) as client:
            with contextlib.suppress(ConnectionError):
                for _ in range(256):
                    await client.send_raw(b"x" * 65_536)
            await wait_closed_quietly(client)

    await asyncio.gather(*(pour() for _ in range(8)))
    await eventually(lambda: connections(process) == 0)
    assert memory.memory_info().rss - before_bytes < 48 << 20


async def test_garbage_within_a_task_frees_its_place(shared: tuple[ServerProcess, int]) -> None:
    process, port = shared
    failed = outcomes(process, "message_invalid")
    async with WyomingClient(port) as client:
        await client.send(SynthesizeStart(), SynthesizeChunk("please hang"))
        await eventually(lambda: process.metric("cosystream_active_sessions") == 1)
        await client.send_raw(b"garbage\n")
        await client.until("error")
        await client.until("synthesize-stopped")
        await client.until_closed()
    assert outcomes(process, "message_invalid") == failed + 1


# --- Time ------------------------------------------------------------------------------------


async def test_silence_is_short(tmp_path: Path) -> None:
    slow = '[{"name": "sine", "kind": "sine_model:SineModel", "options": {"compute_delay_s": 0.1}}]'
    hasty = {"idle_timeout_s": "0.2", "text_timeout_s": "0.3"}
    with ServerProcess(tmp_path / "log", *ANY_PORT, models=slow, **hasty) as process:
        port = port_of(process)
        async with WyomingClient(port) as client:
            await client.until_closed()
            assert client.types == []
        async with WyomingClient(port) as client:
            # While it is being spoken to, nothing is expected of a client.
            await client.send(SynthesizeStart(), SynthesizeChunk("One sentence. "))
            error = Error.from_event(await client.until("error"))
            assert (error.code, len(client.audio) > 48_000) == ("idle_timeout", True)
            await client.until("synthesize-stopped")
            await client.until_closed()
        await eventually(lambda: connections(process) == 0)


async def test_a_client_that_does_not_read_is_dropped(tmp_path: Path) -> None:
    with serving(tmp_path, send_timeout_s="0.2") as (process, port):
        async with WyomingClient(port) as client:
            assert client._client._writer is not None
            client._client._writer.transport.pause_reading()
            await client.send(*(Synthesize("x" * 2000) for _ in range(3)))
            await eventually(lambda: outcomes(process, "client_too_slow") == 1)
            await eventually(lambda: connections(process) == 0)


# --- How many --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, int]]:
    """A server for few."""
    folder = tmp_path_factory.mktemp("wyoming-small")
    with serving(folder, max_connections="3", max_sessions="1") as process:
        yield process


async def test_connections_beyond_the_limit_are_told(small: tuple[ServerProcess, int]) -> None:
    process, port = small
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            client = await stack.enter_async_context(WyomingClient(port))
            await client.send(Ping())
            await client.until("pong")
        for _ in range(50):
            async with WyomingClient(port) as refused:
                await refused.until_closed()
                (event,) = refused.received
                assert Error.from_event(event).code == "capacity_exceeded"
    await eventually(lambda: connections(process) == 0)
    async with WyomingClient(port) as client:
        await client.send(Describe())
        await client.until("info")
    assert process.log.read_text().count("too many connections") == 1


async def test_tasks_beyond_the_limit_are_told(small: tuple[ServerProcess, int]) -> None:
    async with WyomingClient(small[1]) as one, WyomingClient(small[1]) as other:
        await one.send(SynthesizeStart(), SynthesizeChunk("One. "))
        await one.until("audio-chunk")
        await other.send(Synthesize("Two."))
        assert Error.from_event(await other.until("error")).code == "capacity_exceeded"
        await one.send(SynthesizeStop())
        await one.until("synthesize-stopped")
        await other.send(Synthesize("Two."))
        await other.until("audio-chunk")


async def test_a_flood_of_connections_leaves_nothing(shared: tuple[ServerProcess, int]) -> None:
    process, port = shared
    await eventually(lambda: connections(process) == 0)
    before = psutil.Process(process.pid).num_fds()

    async def rush(number: int) -> None:
        async with WyomingClient(port) as client:
            # Some say nothing, some leave before the audio, some within it.
            if number % 3:
                await client.send(SynthesizeStart(), SynthesizeChunk("Hello. "))
            if number % 3 == 2:
                await client.until("audio-chunk")

    await asyncio.gather(*(rush(number) for number in range(200)))
    await eventually(lambda: connections(process) == 0)
    await eventually(lambda: process.metric("cosystream_active_sessions") == 0)
    await eventually(lambda: psutil.Process(process.pid).num_fds() <= before + 2)


async def test_clients_that_leave_before_the_transcript_leave_nothing(tmp_path: Path) -> None:
    options = {"sample_rate_hz": 16_000, "gate": str(tmp_path / "gate"), "slots": 4}
    recognizer = {"kind": "word_recognizer:WordRecognizer", "options": options}
    with serving(tmp_path, recognizer=json.dumps(recognizer)) as (process, port):
        before = psutil.Process(process.pid).num_fds()
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                client = await stack.enter_async_context(WyomingClient(port))
                audio = AudioChunk(16_000, 2, 1, b"\0\0" * 1600)
                await client.send(AudioStart(16_000, 2, 1), audio, AudioStop(), Ping())
                await client.until("pong")
            # The end of the audio may still be on its way to whoever waits for the transcript.
            await asyncio.sleep(0.1)
        await eventually(lambda: process.metric("cosystream_active_sessions") == 0)
        await eventually(lambda: connections(process) == 0)
        await eventually(lambda: psutil.Process(process.pid).num_fds() <= before + 2)


# --- Who may come ----------------------------------------------------------------------------


def test_where_a_key_is_needed_the_address_must_be_written_out(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "server", "serve", "--port", "0", "--token", "x", "--wyoming"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "COSYSTREAM_DATA_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "--wyoming HOST:PORT" in result.stderr
    assert len(result.stderr.splitlines()) == 1


async def test_who_writes_the_address_out_lets_everybody_in(tmp_path: Path) -> None:
    with serving(tmp_path, tokens="secret") as (_, port):
        async with WyomingClient(port) as client:
            await client.send(Synthesize("Hello."))
            await client.until("audio-chunk")


async def test_the_first_key_closes_an_open_port(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with serving(tmp_path, "--wyoming", ":0", data_directory=str(data)) as (_, port):
        async with WyomingClient(port) as client:
            await client.send(Synthesize("Hello."))
            await client.until("audio-stop")
            with contextlib.closing(KeyStore(data / keys.FILE_NAME, create=True)) as store:
                store.add("somebody")
            await client.send(Synthesize("Hello."))
            assert Error.from_event(await client.until("error")).code == "token_invalid"
            await client.until_closed()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = subprocess.run(
            [sys.executable, "-m", "server", "serve", "--port", "0", "--wyoming", address],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "COSYSTREAM_DATA_DIRECTORY": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert "(another server? choose one with --wyoming HOST:PORT)" in result.stderr


# --- The end ---------------------------------------------------------------------------------


async def test_a_drain_waits_for_tasks_and_not_for_others(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, port):
        async with WyomingClient(port) as idle, WyomingClient(port) as busy:
            await busy.send(SynthesizeStart(), SynthesizeChunk("One sentence. "))
            await busy.until("audio-chunk")
            process.terminate()
            await idle.until_closed()
            async with WyomingClient(port) as late:
                await late.until_closed()
                assert Error.from_event(late.received[0]).code == "shutting_down"
            await busy.send(SynthesizeChunk("And another."), SynthesizeStop())
            await busy.until("synthesize-stopped")
            await busy.until_closed()
            assert len(busy.audio) > 48_000 * 2.3
        assert await asyncio.to_thread(process.wait) == 0


@pytest.mark.parametrize("signals", [1, 2])
async def test_what_does_not_end_is_told(tmp_path: Path, signals: int) -> None:
    with serving(tmp_path, drain_timeout_s="0.3" if signals == 1 else "30") as (process, port):
        async with WyomingClient(port) as client:
            await client.send(SynthesizeStart(), SynthesizeChunk("One sentence. "))
            await client.until("audio-chunk")
            process.terminate()
            if signals == 2:
                await eventually(lambda: process.get("/readyz").status_code == 503)
                process.terminate()
            assert Error.from_event(await client.until("error")).code == "shutting_down"
            await client.until("synthesize-stopped")
            await client.until_closed()
        assert await asyncio.to_thread(process.wait) == 0


async def test_who_does_not_end_by_itself_is_dropped(tmp_path: Path) -> None:
    services = build_app(Settings(data_directory=str(tmp_path))).state.services
    with socket.create_server(("127.0.0.1", 0)) as sock:
        listener = WyomingListener(sock, services, named=True)
        await listener.open()
        async with WyomingClient(sock.getsockname()[1]) as client:
            await client.send(Ping())
            await client.until("pong")
            assert len(services.conversations) == 1
            await listener.close(0.01)
            assert not services.conversations
            await wait_closed_quietly(client)
    services.speech.close()
