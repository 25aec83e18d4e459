"""The Python that runs CosyVoice in tests, and checkpoints with random weights that it made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_MAKE_TIMEOUT_S = 120


def interpreter() -> Path:
    """The environment's Python; without one the test is skipped, except in CI."""
    named = os.environ.get("COSYSTREAM_COSYVOICE_VENV", ".venv-cosyvoice")
    python = ROOT / named / "bin" / "python"
    if not python.exists():
        reason = f"there is no {python}: scripts/setup-cosyvoice makes it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return python


class Checkpoints:
    """Makes tiny checkpoints, each once.

    Args:
        python: the environment's.
        folder: where they go.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._folder = folder

    def tiny(self, version: int, name: str = "", **options: str) -> Path:
        """A tiny checkpoint of a version.

        Args:
            version: 1, 2 or 3.
            name: of its directory; version 1's variant is told by it.
            options: of `scripts/make_checkpoint`, such as `rate="4"`.
        """
        directory = self._folder / (name or f"tiny{version}")
        if not directory.exists():
            arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
            variant = f"cosyvoice{version}-tiny"
            subprocess.run(
                [self._python, "-m", "models.random_checkpoint", variant, directory, *arguments],
                cwd=ROOT,
                check=True,
                capture_output=True,
                timeout=_MAKE_TIMEOUT_S,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        return directory
