"""The servers that the twins and the real packages talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from server_process import ServerProcess
from tokens import RIGHT_TOKEN


@pytest.fixture(scope="session")
def guarded_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a server that knows one token."""
    log = tmp_path_factory.mktemp("guarded-server") / "log"
    with ServerProcess(log, tokens=RIGHT_TOKEN) as process:
        yield process.address
