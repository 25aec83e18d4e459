"""Container files that cannot be built here: what they name is there, and hadolint agrees."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from server.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent.parent
DOCKERFILES = ["Dockerfile", "Dockerfile.gpu"]
SCRIPTS = "/usr/local/lib/cosystream"
"""Where images have scripts/container."""


def _instructions(name: str) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def _sent(path: str) -> bool:
    """Whether .dockerignore lets a path through: all is left out but what it names."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    return any(path == rule[1:] or path.startswith(f"{rule[1:]}/") for rule in rules)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_is_there_and_sent(name: str) -> None:
    sources = [
        source
        for instruction, rest in _instructions(name)
        if instruction == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source == "." or _sent(source), source


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_step_is_a_script_that_is_there(name: str) -> None:
    """So that each can be run without Docker, too."""
    for instruction, rest in _instructions(name):
        if instruction in {"RUN", "HEALTHCHECK"}:
            commands = re.findall(rf"{SCRIPTS}/([\w-]+)", rest)
            steps = rest.count("&&") + 1
            assert len(commands) == steps, rest
            for command in commands:
                assert os.access(ROOT / "scripts" / "container" / command, os.X_OK), command


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_last_stage_runs_as_nobody_in_particular(name: str) -> None:
    instructions = _instructions(name)
    last = max(index for index, (one, _) in enumerate(instructions) if one == "FROM")
    stage = dict(instructions[last:])
    assert stage["USER"] == "10001:10001"
    assert stage["VOLUME"] == "/data"
    assert "is-ready" in stage["HEALTHCHECK"]
    assert "serve" in stage["CMD"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_variables_are_settings(name: str) -> None:
    for instruction, rest in _instructions(name):
        if instruction == "ENV":
            names = [word.partition("=")[0] for word in shlex.split(rest)]
            ours = [variable for variable in names if variable.startswith(PREFIX)]
            assert ours
            assert {variable[len(PREFIX) :].lower() for variable in ours} <= set(
                Settings.model_fields
            )


def test_the_package_can_be_built_from_what_is_sent() -> None:
    needed = ["pyproject.toml", "README.md", "LICENSE", "server", "models", "static"]
    assert all(_sent(path) for path in needed)
    assert not any(_sent(path) for path in [".git", "tests", ".venv", "docs"])


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint(name: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run(
        [hadolint, "--no-color", ROOT / name], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_compose_builds_each_profile_from_its_file() -> None:
    services = re.split(r"^  (\w+):\n", (ROOT / "compose.yaml").read_text(), flags=re.MULTILINE)
    found = dict(zip(services[1::2], services[2::2], strict=True))
    for profile, dockerfile in {"cpu": "Dockerfile", "gpu": "Dockerfile.gpu"}.items():
        assert f"profiles: [{profile}]" in found[profile]
        assert f"dockerfile: {dockerfile}\n" in found[profile]


class _Readiness(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert self.path == "/readyz"
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check(status: int, code: int) -> None:
    with HTTPServer(("127.0.0.1", 0), _Readiness) as server:
        server.status = status  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert _is_ready(server.server_port) == code
        thread.join()
    assert _is_ready(server.server_port) == 1


def _is_ready(port: int) -> int:
    return subprocess.run(
        [ROOT / "scripts" / "container" / "is-ready"],
        capture_output=True,
        check=False,
        env={**os.environ, "COSYSTREAM_PORT": str(port)},
    ).returncode
