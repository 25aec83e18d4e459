"""`cosystream doctor`: is this installation able to serve, and if not, what to do."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from server.commands.check import Check
from server.commands.checks import run_checks

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(*, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Check Python, libraries, models, encoders, settings, voices, port, GPU and limits.

    Args:
        json: Print JSON instead of lines.

    Returns:
        The exit code: 1 if a check fails.
    """
    checks = []
    console = Console(highlight=False, soft_wrap=True)
    for check in run_checks():
        checks.append(check)
        if not json:
            console.print(_line(check))
    failed = any(check.status == "fail" for check in checks)
    if json:
        report = msgspec.json.encode({"ok": not failed, "checks": checks})
        sys.stdout.write(msgspec.json.format(report, indent=2).decode() + "\n")
    return 1 if failed else 0


def _line(check: Check) -> Text:
    line = Text.assemble((f"{check.status:<5}", _STYLES[check.status]), f"{check.name}: ")
    line.append(check.detail)
    if check.advice:
        line.append(f"\n     -> {check.advice}", style=_STYLES[check.status])
    return line
