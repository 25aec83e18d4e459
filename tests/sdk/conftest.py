"""A server process of its own for the twins and for the real packages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from processes import running_server


@pytest.fixture(scope="session")
def server_address() -> Iterator[str]:
    """`host:port` of a server that lets everybody in."""
    with running_server() as (address, _):
        yield address


@pytest.fixture(scope="session")
def guarded_address() -> Iterator[str]:
    """`host:port` of a server that knows one token (`APPTOKEN`, the seed's name for it)."""
    with running_server(APPTOKEN="the-right-token") as (address, _):
        yield address
