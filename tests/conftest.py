"""Servers that many tests share: one on the embedded model, one on the sine model."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import cosyvoice_environment
import pytest
from cosyvoice_environment import Checkpoints
from server_process import ServerProcess

# They need torch, and run under another Python: scripts/test-cosyvoice.
collect_ignore = [] if importlib.util.find_spec("torch") else ["cosyvoice", "native"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server on the embedded model, with default settings."""
    with ServerProcess(tmp_path_factory.mktemp("server") / "log") as process:
        yield process


@pytest.fixture(scope="session")
def server_url(server: ServerProcess) -> str:
    """Its host and port."""
    return server.address


@pytest.fixture(scope="session")
def sine_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose speech is a sine, 0.1 s per character at 24 kHz."""
    folder: Path = tmp_path_factory.mktemp("sine-server")
    with ServerProcess(folder / "log", "--model", "sine=sine_model:SineModel") as process:
        yield process


@pytest.fixture(scope="session")
def cosyvoice_python() -> Path:
    """The Python of the environment that scripts/setup-cosyvoice makes; skipped without one."""
    return cosyvoice_environment.interpreter()


@pytest.fixture(scope="session")
def checkpoints(cosyvoice_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Tiny checkpoints, made when they are asked for."""
    return Checkpoints(cosyvoice_python, tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def clone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose first model clones voices, in two workers; the other one is the embedded."""
    models = [
        {"name": "clone", "kind": "clone_model:CloneModel", "workers": 2},
        {"name": "espeak", "workers": 1},
    ]
    log = tmp_path_factory.mktemp("clone-server") / "log"
    with ServerProcess(log, models=json.dumps(models)) as process:
        yield process
