from __future__ import annotations

import importlib
import json
import socket
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Cosystream
from processes import ROOT

from server.commands import checks
from server.commands.check import Check
from server.commands.checks import LIBRARIES, run_checks


@pytest.fixture(autouse=True)
def free_port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    monkeypatch.setenv("COSYSTREAM_PORT", str(port))
    return port


def _found(name: str) -> Check:
    return next(check for check in run_checks() if check.name == name)


def test_a_good_installation_passes(cosystream: Cosystream) -> None:
    outcome = cosystream("doctor")
    lines = outcome.out.decode().splitlines()
    assert outcome.code == 0, lines
    assert [line for line in lines if line.startswith("fail")] == []
    assert any(line.startswith("ok   embedded model: espeak-ng spoke") for line in lines)
    assert any(line.startswith("ok   audio encoders: PyAV") for line in lines)


def test_json_has_the_same(cosystream: Cosystream) -> None:
    report = json.loads(cosystream("doctor", "--json").out)
    assert report["ok"] is True
    assert {check["name"] for check in report["checks"]} >= {
        *("python", "libraries", "embedded model", "audio encoders", "text normaliser"),
        *(
            "settings",
            "cloned voices",
            "port",
            "gpu",
            "memory",
            "open files",
            "player",
            "neural models",
        ),
    }


def test_every_dependency_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {line.split(">")[0].strip() for line in project["dependencies"]}
    assert names == set(LIBRARIES)


def test_wrong_settings_fail_with_advice(
    cosystream: Cosystream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSYSTREAM_MAX_SESSIONS", "many")
    outcome = cosystream("doctor")
    assert outcome.code == 1
    assert "fail settings: max_sessions" in outcome.out.decode()
    assert "-> correct it; see docs/operations.md" in outcome.out.decode()


def test_unknown_settings_warn_and_do_not_fail(
    cosystream: Cosystream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSYSTREAM_MAX_SESSION", "1")
    outcome = cosystream("doctor")
    assert outcome.code == 0
    assert "warn settings: environment variable COSYSTREAM_MAX_SESSION" in outcome.out.decode()


def test_the_clients_own_variables_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSYSTREAM_URL", "127.0.0.1:9")
    monkeypatch.setenv("COSYSTREAM_TOKEN", "secret")
    assert _found("settings").status == "ok"


def test_a_port_that_another_program_has(free_port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        check = _found("port")
    assert (check.status, check.advice) == ("fail", "choose another: serve --port N")


def test_a_port_where_a_cosystream_answers(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSYSTREAM_PORT", server_url.rpartition(":")[2])
    check = _found("port")
    assert check.status == "ok"
    assert check.detail.startswith("CosyStream ")


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def broken(name: str) -> object:
        if name == "soxr":
            raise ImportError("no soxr here")
        return real(name)

    monkeypatch.setattr(checks.importlib, "import_module", broken)
    check = _found("libraries")
    assert (check.status, check.detail) == ("fail", "soxr: no soxr here")
    assert check.advice


def test_whatever_a_broken_library_raises_is_a_failed_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import models.espeak

    def broken() -> None:
        raise OSError("libespeak-ng.so: cannot open shared object file")

    monkeypatch.setattr(models.espeak, "EspeakModel", broken)
    check = _found("embedded model")
    assert check.status == "fail"
    assert "cannot open shared object file" in check.detail


@pytest.mark.parametrize(
    ("script", "status", "detail"),
    [
        ("echo 'NVIDIA H100, 81559 MiB, 580.1'", "ok", "NVIDIA H100, 81559 MiB, 580.1"),
        ("echo 'driver mismatch'; exit 9", "warn", "driver mismatch"),
    ],
)
def test_a_gpu_is_asked_for_by_nvidia_smi(
    cosystream: Cosystream,
    install_player: Callable[[str, str], Path],
    script: str,
    status: str,
    detail: str,
) -> None:
    install_player("nvidia-smi", script)
    check = _found("gpu")
    assert (check.status, check.detail) == (status, detail)


def test_help_and_version_import_neither_av_nor_numpy() -> None:
    program = (
        "import sys; from server.cli import app; app(['--help'], result_action='return_value');"
        "print(sorted({'av', 'numpy', 'httpx', 'starlette', 'wetext'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [checks.sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_damaged_voices_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COSYSTREAM_DATA_DIRECTORY", str(tmp_path))
    found = _found("cloned voices")
    assert (found.status, found.detail) == ("ok", f"0 in {tmp_path / 'voices'}")
    (tmp_path / "voices" / "clone-0123456789ab").mkdir(parents=True)
    found = _found("cloned voices")
    assert (found.status, found.detail) == ("warn", "clone-0123456789ab: voice.json is missing")
    assert str(tmp_path) in found.advice
