"""Servers that many tests share: one on the embedded model, one on the sine model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import ServerProcess


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
