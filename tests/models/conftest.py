"""The embedded model, once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.espeak import EspeakModel


@pytest.fixture(scope="session")
def espeak() -> Iterator[EspeakModel]:
    model = EspeakModel()
    yield model
    model.close()
