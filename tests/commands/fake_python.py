"""A Python that installs nothing: it writes down what it is asked to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REPORT = {
    "python": "3.12.1",
    "broken": {},
    "versions": {"torch": "2.13.0+cpu", "transformers": "4.52.4"},
    "cuda_build": "",
    "gpus": [],
}

_SCRIPT = """#!/bin/sh
home="{home}"
case "$*" in
  -c*) /bin/cat "$home/version"; exit ;;
  *environment_probe*)
    echo "probe ${{*#*environment_probe.py}}" >> "$home/orders"
    /bin/cat "$home/report"; exit ;;
esac
echo "$*" >> "$home/orders"
case "$*" in
  "-m venv "*)
    for directory; do :; done
    /bin/mkdir -p "$directory/bin" "$directory/lib/python3.12/site-packages"
    /bin/cp "$0" "$directory/bin/python" ;;
esac
if [ -e "$home/breaks" ]; then
  case "$*" in *"$(/bin/cat "$home/breaks")"*) exit 3 ;; esac
fi
"""


class FakePython:
    """Lies in a folder; an environment that it makes has a copy of itself as its Python."""

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir()
        self.program = home / "python"
        self.program.write_text(_SCRIPT.format(home=home))
        self.program.chmod(0o755)
        self.set_version(3, 12)
        self.report()

    def set_version(self, major: int, minor: int) -> None:
        (self._home / "version").write_text(f"{major} {minor}\n")

    def report(self, **changes: Any) -> None:
        """What an environment's Python says of its libraries."""
        (self._home / "report").write_text(json.dumps({**REPORT, **changes}))

    def break_at(self, words: str) -> None:
        """Fail when asked to do something with these words; never if empty."""
        if words:
            (self._home / "breaks").write_text(words)
        else:
            (self._home / "breaks").unlink()

    def orders(self) -> list[str]:
        """What it was asked to do since the last time."""
        path = self._home / "orders"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines
