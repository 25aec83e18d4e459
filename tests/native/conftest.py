"""Tiny checkpoints, and the official package where it is to be had.

With COSYSTREAM_COSYVOICE_HOME it is that checkout, with versions 2 and 3; without, the copy of
mid-2025 from the package index, if it is installed here, with version 2.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.engine_options import EngineOptions
from models.cosyvoice.runtime import Official, load_official
from models.random_checkpoint.maker import make

HOME = os.environ.get("COSYSTREAM_COSYVOICE_HOME", "")


@pytest.fixture(scope="session", params=[2, 3], ids=lambda version: f"v{version}")
def version(request: pytest.FixtureRequest) -> int:
    """Versions that the native engine computes."""
    return request.param


@pytest.fixture(scope="session")
def checkpoint(version: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The maker's tiny checkpoint: not to be written to."""
    return make(f"cosyvoice{version}-tiny", tmp_path_factory.mktemp(f"v{version}"))


@pytest.fixture(scope="session")
def load_reference(version: int) -> Callable[[Path], Official]:
    """Loads a checkpoint of this version with the official package."""
    if not HOME and importlib.util.find_spec("cosyvoice") is None:
        pytest.skip("COSYSTREAM_COSYVOICE_HOME is not set, and no `cosyvoice` is installed")
    if not HOME and version == 3:
        pytest.skip("the installed copy of the official package knows versions 1 and 2 only")
    options = EngineOptions(home=Path(HOME) if HOME else None, device="cpu")
    return lambda directory: load_official(Checkpoint.open(directory), options)


@pytest.fixture(scope="session")
def official(load_reference: Callable[[Path], Official], checkpoint: Path) -> Official:
    """The official model of `checkpoint`."""
    return load_reference(checkpoint)
