"""`cosystream serve`: what it prints, and what it says when it cannot start."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from server_process import ROOT, ServerProcess
from structlog.testing import capture_logs

from server.commands import serve
from server.settings import Settings


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
        ({"COSYSTREAM_TLS_CERTIFICATE": "/nowhere.pem"}, "tls_certificate: /nowhere.pem"),
        ({"COSYSTREAM_TLS_KEY": "/nowhere.pem"}, "tls_key needs tls_certificate"),
        (
            {"COSYSTREAM_TLS_CERTIFICATE": __file__, "COSYSTREAM_TLS_KEY": "/nowhere.pem"},
            "tls_key: /nowhere.pem",
        ),
        ({"COSYSTREAM_TLS_CERTIFICATE": __file__}, "no PEM certificate"),
        ({"COSYSTREAM_ROOT_PATH": "https://host/speech"}, "root_path"),
    ],
)
def test_wrong_settings(tmp_path: Path, environment: dict[str, str], named: str) -> None:
    result = run("--port", "0", cwd=tmp_path, **environment)
    assert result.returncode == 1
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_unknown_settings_are_warned_of(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", lingr_ms="5") as process:
        assert "linger_ms" in process.log.read_text()


def test_the_banner_has_root_path_once(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        serve._announce(Settings(root_path="speech/"), sock, guarded=False)
        address = f"//127.0.0.1:{sock.getsockname()[1]}"
    printed = capsys.readouterr().out
    assert f"http:{address}/speech/\n" in printed
    assert f"ws:{address}/speech/ws/v1/tts\n" in printed


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        ("127.0.0.1", False),
        ("127.0.0.2", False),
        ("::1", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.1", True),
        ("fe80::1%eth0", True),
    ],
)
def test_an_open_server_says_so(address: str, warned: bool) -> None:
    class Listening:
        def getsockname(self) -> tuple[str, int]:
            return (address, 8000)

    with capture_logs() as logs:
        serve._warn_if_open(Listening())  # type: ignore[arg-type]  # what it needs of a socket
    assert [line["log_level"] for line in logs] == (["warning"] if warned else [])


def test_a_guarded_server_tells_that_a_token_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        serve._announce(Settings(), sock, guarded=True)
    assert "--token" in capsys.readouterr().out


def test_a_key_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "keys.sqlite3").write_bytes(b"not a database, and no header of one " * 20)
    result = run("--port", "0", cwd=tmp_path, COSYSTREAM_DATA_DIRECTORY=str(tmp_path))
    assert result.returncode == 1
    assert "keys.sqlite3" in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_a_secret_that_is_no_setting_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "cosystream_lingr_ms").write_text("5")
    with ServerProcess(tmp_path / "log", secrets_dir=str(tmp_path)) as process:
        assert "linger_ms" in process.log.read_text()


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_a_server_needs_no_standard_output(tmp_path: Path, redirection: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path / "log"
    process = subprocess.Popen(
        f'exec "{sys.executable}" -m server serve --port {port} {redirection} 2>"{log}"',
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        until_it_answers(process, f"http://127.0.0.1:{port}/healthz")
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert "Traceback" not in log.read_text()


def until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    while process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            assert httpx.get(url).status_code == 200
            return
        time.sleep(0.02)
    raise AssertionError(f"it ended with {process.returncode}")


def test_a_model_that_does_not_load_leaves_the_server_unready(tmp_path: Path) -> None:
    """It answers, says that it is starting, refuses tasks, and logs why."""
    with pytest.raises(AssertionError, match="did not become ready"):
        ServerProcess(tmp_path / "log", "--model", "x=no_such_module:Model", patience_s=2)
    assert "no_such_module" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("cosyvoice2", "get it: cosystream download cosyvoice2"),
        ("mine=./weights", "weights: is no directory"),
        ("parrot", "'parrot' is no model"),
        ("a b=espeak", "models.0.name"),
    ],
)
def test_a_model_that_cannot_be_hosted_is_one_line_at_once(
    tmp_path: Path, model: str, reason: str
) -> None:
    result = run(
        *("--port", "0", "--model", model), cwd=tmp_path, COSYSTREAM_DATA_DIRECTORY=str(tmp_path)
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("espeak", "espeak"),
        ("sine_model:SineModel", "sinemodel"),
        ("/weights/CosyVoice2-0.5B/", "cosyvoice2-0.5b"),
        ("second=/weights/a=b", "second"),
    ],
)
def test_a_model_has_the_name_that_it_is_given_or_its_own(model: str, name: str) -> None:
    assert serve._models([model]) == [{"name": name, "kind": model.removeprefix("second=")}]
