"""What CosyVoice's environment has, asked of its own Python."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from server.commands import environment_probe
from server.pool.process import PackageView

_TIMEOUT_S = 180


class EnvironmentReport(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `environment_probe`."""

    python: str
    broken: dict[str, str]
    """Modules that do not import, and why."""
    versions: dict[str, str]
    cuda_build: str = ""
    """The CUDA version that torch was built for; empty for a build without."""
    gpus: list[str] = []
    """Names of the GPUs that torch sees."""
    official: str | None = None
    """Why the official package does not import; empty if it does, None if it was not tried."""

    @property
    def problem(self) -> str:
        """What is wrong with it, in one line; empty if nothing."""
        return _told(self.broken) or self.official or ""

    @property
    def native_problem(self) -> str:
        """The same, for the native engine, which needs less of it."""
        needed = environment_probe.NATIVE_MODULES
        return _told({name: self.broken[name] for name in needed if name in self.broken})

    @property
    def summary(self) -> str:
        """Versions, in one line."""
        libraries = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"Python {self.python}, {libraries}"


def _told(broken: Mapping[str, str]) -> str:
    return "; ".join(f"{module}: {reason}" for module, reason in broken.items())


class EnvironmentReportError(Exception):
    """A Python could not be asked; the message says why."""


def ask(interpreter: Path, home: Path | None = None, *, official: bool) -> EnvironmentReport:
    """Have a Python look at what it has; takes some ten seconds.

    Args:
        interpreter: the Python to ask.
        home: the checkout of the official package, None for an installed one.
        official: whether to import the official package.

    Raises:
        EnvironmentReportError: it does not run, or does not answer.
    """
    arguments = [str(home or "")] if official else []
    view = PackageView()
    with contextlib.closing(view):
        try:
            result = subprocess.run(  # noqa: S603 - an interpreter that the operator chose
                [str(interpreter), "-sP", environment_probe.__file__, *arguments],
                capture_output=True,
                env={**os.environ, "PYTHONPATH": str(view.path)},
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EnvironmentReportError(f"no answer within {_TIMEOUT_S} s") from None
        except OSError as error:
            raise EnvironmentReportError(str(error)) from None
    try:
        return msgspec.json.decode(result.stdout, type=EnvironmentReport)
    except msgspec.MsgspecError:
        last_line = result.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        reason = last_line or f"exit code {result.returncode}"
        raise EnvironmentReportError(reason) from None
