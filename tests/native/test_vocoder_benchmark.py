"""The benchmark measures every size that it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from models.native.vocoder import benchmark


def test_a_row_for_every_size(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--rows", "1", "3", "--frames", "9", "25", "--repeat", "1"]
    monkeypatch.setattr(sys, "argv", ["benchmark", str(checkpoint), *sizes])
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("|")[1:3] for line in lines[4:]]
    assert [(int(jobs), int(frames)) for jobs, frames in rows] == [(1, 9), (3, 9), (1, 25), (3, 25)]
