"""CosyVoice's own Python, under which a bench makes checkpoints and measures runtimes."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.commands.environment_report import EnvironmentReport, EnvironmentReportError, ask
from server.commands.failure import CommandError
from server.cosyvoice_parts import find_home, find_interpreter
from server.pool.process import PackageView
from server.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True)
class NeuralPython:
    """The interpreter, and what it has."""

    interpreter: Path
    report: EnvironmentReport

    @classmethod
    def find(cls) -> NeuralPython:
        """As `serve` finds it; takes some ten seconds, because it is asked what it has.

        Raises:
            CommandError: there is none, or it lacks what the native engine needs.
        """
        try:
            interpreter = find_interpreter(Settings.load())
            report = ask(interpreter, official=False)
        except SettingsError as error:
            raise CommandError(str(error)) from None
        except EnvironmentReportError as error:
            raise CommandError(
                f"{interpreter} does not run: {error} (cosystream setup cosyvoice)"
            ) from None
        if report.native_problem:
            raise CommandError(
                f"{interpreter}: {report.native_problem} (cosystream setup cosyvoice)"
            )
        return cls(interpreter, report)

    @property
    def has_gpu(self) -> bool:
        """Torch sees one."""
        return bool(self.report.gpus)

    def official_home(self) -> Path | None:
        """The official package's checkout; None where the environment has the package itself.

        Raises:
            CommandError: it is nowhere.
        """
        try:
            return find_home(Settings.load(), self.interpreter)
        except SettingsError as error:
            raise CommandError(str(error)) from None

    def run(self, module: str, arguments: Sequence[str]) -> str:
        """Run a module of ours, and wait for it; what it says on stderr is seen at once.

        Args:
            module: to be run as `python -m`.
            arguments: for it.

        Returns:
            What it wrote on stdout.

        Raises:
            CommandError: it failed.
        """
        with contextlib.closing(PackageView()) as view:
            done = subprocess.run(  # noqa: S603 - an interpreter that the operator chose
                [str(self.interpreter), "-sP", "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(view.path)},
                check=False,
            )
        if done.returncode:
            raise CommandError(f"{module} failed, with status {done.returncode}")
        return done.stdout.decode("utf-8", "replace")
