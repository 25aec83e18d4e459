"""`cosystream serve`: what it prints, and what it says when it cannot start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from server_process import ROOT, ServerProcess


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("COSYSTREAM_")}
    return subprocess.run(
        [sys.executable, "-m", "server", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
    )


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("--port", port, cwd=tmp_path)
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"COSYSTREAM_LINGER_MS": "long"}, "linger_ms"),
        ({"COSYSTREAM_MODELS": '[{"name": "x", "kind": "x", "colour": 1}]'}, "colour"),
        ({"COSYSTREAM_VOICE_ALIASES": "/nowhere.toml"}, "nowhere.toml"),
    ],
)
def test_wrong_settings(tmp_path: Path, environment: dict[str, str], named: str) -> None:
    result = run("--port", "0", cwd=tmp_path, **environment)
    assert result.returncode == 1
    assert named in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_settings_are_warned_of(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", lingr_ms="5") as process:
        assert "linger_ms" in process.log.read_text()


def test_a_model_that_does_not_load_leaves_the_server_unready(tmp_path: Path) -> None:
    """It answers, says that it is starting, refuses tasks, and logs why."""
    with pytest.raises(AssertionError, match="did not become ready"):
        ServerProcess(tmp_path / "log", "--model", "x=no_such_module:Model", patience_s=2)
    assert "no_such_module" in (tmp_path / "log").read_text()
