"""The command line in the test's own process, in an empty directory without players."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Cosystream, Outcome

from server.cli import main


@pytest.fixture
def cosystream(
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Cosystream:
    for name in ("COSYSTREAM_URL", "COSYSTREAM_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    if "COSYSTREAM_DATA_DIRECTORY" not in os.environ:
        # The developer's own keys and voices are not the tests' business.
        monkeypatch.setenv("COSYSTREAM_DATA_DIRECTORY", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        code = end.value.code
        return Outcome(code if isinstance(code, int) else 0, out, err.decode())

    return run


@pytest.fixture
def install_player(tmp_path: Path) -> Callable[[str, str], Path]:
    """Puts a shell script on the PATH under a player's name; what it hears goes to `heard`."""

    def install(name: str, script: str = '/bin/cat > "$HOME_OF_TEST/heard"') -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        home = f'HOME_OF_TEST="{tmp_path}"\necho "$@" > "$HOME_OF_TEST/arguments"\n'
        path.write_text(f"#!/bin/sh\n{home}{script}\n")
        path.chmod(0o755)
        return tmp_path / "heard"

    return install
