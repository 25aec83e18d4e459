"""The page's modules that need no browser, tested by Node's own runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from chromium import in_ci

UNIT_TESTS = sorted((Path(__file__).parent / "unit").glob("*.test.mjs"))
LIMIT_S = 120


def test_modules_without_a_browser() -> None:
    node = shutil.which("node")
    if node is None:
        missing = pytest.fail if in_ci() else pytest.skip
        missing("node is not installed (on Debian: apt-get install nodejs)")
    assert UNIT_TESTS
    done = subprocess.run(
        [node, "--test", *map(str, UNIT_TESTS)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
