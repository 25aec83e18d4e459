"""A server as a process: how it stops, and what it takes of the machine."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from flowing import FlowingSocket, eventually
from server_process import ROOT, ServerProcess

SINE = ("--model", "sine=sine_model:SineModel")


def draining(process: ServerProcess) -> bool:
    return process.get("/readyz").status_code == 503


# --- Stop ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_second_signal_fails_what_runs(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", *SINE) as process:
        async with FlowingSocket(process.flowing_url) as client:
            await client.start(voice="sine")
            await client.until("SynthesisStarted")
            process.terminate()
            await eventually(lambda: draining(process))
            process.terminate()
            assert await client.until_closed() in {1000, 1001}
        assert client.failure["status"] == 50000000
        assert await asyncio.to_thread(process.wait) == 0
    assert '"level": "error"' not in process.log.read_text()


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["please hang", "x" * 2000])
async def test_a_second_signal_waits_for_no_http_client(tmp_path: Path, text: str) -> None:
    with (
        ServerProcess(tmp_path / "log", *SINE) as process,
        socket.create_connection(process.address.split(":")) as client,
    ):
        path = f"/stream/v1/tts?appkey=x&voice=sine&text={quote(text)}"
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await eventually(lambda: process.metric("cosystream_active_sessions") == 1)
        process.terminate()
        await eventually(lambda: draining(process))
        process.terminate()
        assert await asyncio.to_thread(process.wait) == 0
    assert '"level": "error"' not in process.log.read_text()


@pytest.mark.parametrize("body", [b"", b"{"])
def test_an_upload_that_never_ends_is_dropped_quietly(tmp_path: Path, body: bytes) -> None:
    with (
        ServerProcess(tmp_path / "log", *SINE) as process,
        socket.create_connection(process.address.split(":")) as client,
    ):
        head = b"POST /stream/v1/tts HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        client.sendall(head + b"Content-Length: 100\r\n\r\n" + body)
        assert b"100 Continue" in client.recv(1000)
        process.terminate()
        assert process.wait() == 0
    assert '"level": "error"' not in process.log.read_text()


SIGNAL_WHILE_IT_STARTS = """
import os, signal, sys
from server import app, cli

def build_and_be_told_to_stop(settings, build=app.build_app):
    os.kill(os.getpid(), signal.SIGTERM)
    return build(settings)

async def start_and_be_told_to_stop(self, start=app.WorkerPool.start):
    os.kill(os.getpid(), signal.SIGTERM)
    await start(self)

if sys.argv[1] == "build":
    app.build_app = build_and_be_told_to_stop
else:
    app.WorkerPool.start = start_and_be_told_to_stop
cli.main(["serve", "--port", "0"])
"""


@pytest.mark.parametrize("moment", ["build", "start"])
def test_a_signal_before_the_start_is_complete(tmp_path: Path, moment: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SIGNAL_WHILE_IT_STARTS, moment],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert '"level": "error"' not in result.stderr


# --- Connections and files -------------------------------------------------------------------


def test_connections_beyond_the_limit_are_closed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", *SINE, max_connections="1") as process:
        host, port = process.address.split(":")
        clients = [socket.create_connection((host, port), timeout=20) for _ in range(130)]
        try:
            assert clients[-1].recv(1) == b""
        finally:
            for client in clients:
                client.close()
    assert "too many connections" in process.log.read_text()


def test_the_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with ServerProcess(tmp_path / "log", *SINE, max_connections="100") as process:
            raised, _ = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 100 < raised > 256


def test_a_limit_that_cannot_be_raised_is_warned_of(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", *SINE, max_connections="2000000000") as process:
        pass
    assert "too few open files" in process.log.read_text()
