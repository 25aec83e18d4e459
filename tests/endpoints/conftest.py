"""Servers that tests of endpoints share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slow_sine import SlowSine


@pytest.fixture(scope="session")
def slow_sine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlowSine]:
    """A server that can be interrupted while it speaks."""
    with SlowSine(tmp_path_factory.mktemp("slow-sine")) as slow:
        yield slow
