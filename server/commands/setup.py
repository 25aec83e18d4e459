"""`cosystream setup`: make what neural models need beside this package."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from server.commands import checkout
from server.commands.environment import (
    EnvironmentPlan,
    Processor,
    choose_python,
    driver_processor,
)
from server.commands.environment_report import EnvironmentReportError, ask
from server.commands.failure import CommandError, UsageError
from server.cosyvoice_parts import default_home, environment_directory, find_home
from server.settings import Settings, SettingsError

app = App(name="setup")

_Switch = Annotated[bool, Parameter(negative=())]


@dataclass(frozen=True, slots=True)
class _OfficialPackage:
    """What was found of the official package."""

    home: Path | None
    """Its checkout; None if it is in the environment itself, or nowhere."""
    missing: bool = False


@app.command(name="cosyvoice")
def setup_cosyvoice(
    *,
    directory: Path | None = None,
    home: Path | None = None,
    clone: _Switch = False,
    cpu: _Switch = False,
    cuda: Literal["12", "13"] | None = None,
    python: str = "",
) -> None:
    """Make CosyVoice's Python environment, and see that the official package works in it.

    Can be interrupted and run again; does nothing where all is done. pip's own settings
    (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS ...) count.

    Args:
        directory: Where the environment goes; else into the data directory.
        home: A checkout of the official package, its submodule included; with --clone, where it
            shall be.
        clone: Fetch the official package with git.
        cpu: Compute on the CPU even if there is a GPU.
        cuda: The CUDA version to install for, 12 or 13; else the driver's, or the CPU without one.
        python: The Python to make the environment with, 3.11 to 3.13; else this program's.
    """
    if cpu and cuda:
        raise UsageError("--cpu and --cuda exclude each other")
    settings = _settings()
    plan = EnvironmentPlan(
        directory=(directory or environment_directory(settings)).expanduser().absolute(),
        python=choose_python(python),
        processor=_processor(cpu=cpu, cuda=cuda),
        say=_say,
    )
    # First what may be out of reach, then what takes long.
    home = _bring_checkout(settings, home, clone=clone)
    made = plan.make()
    if not made:
        _say(f"the environment in {plan.directory} is up to date")
    package = _OfficialPackage(home) if home else _find_package(settings, plan.interpreter)
    if made or home:
        _verify(plan, package)
        plan.finish()
    _tell_settings(settings, plan, package)


def _settings() -> Settings:
    try:
        return Settings.load()
    except SettingsError as error:
        raise CommandError(str(error)) from None


def _processor(*, cpu: bool, cuda: Literal["12", "13"] | None) -> Processor:
    if cpu:
        return "cpu"
    if cuda is not None:
        return "cuda12" if cuda == "12" else "cuda13"
    return driver_processor()


def _bring_checkout(settings: Settings, home: Path | None, *, clone: bool) -> Path | None:
    """The checkout that was asked for, whole; None if none was."""
    if home is not None:
        home = home.expanduser().absolute()
    if clone:
        named = Path(settings.cosyvoice_home).expanduser() if settings.cosyvoice_home else None
        home = (home or named or default_home(settings)).absolute()
        checkout.clone(home, _say)
    elif home is not None:
        checkout.verify(home, _say)
    return home


def _find_package(settings: Settings, interpreter: Path) -> _OfficialPackage:
    try:
        return _OfficialPackage(find_home(settings, interpreter))
    except SettingsError as error:
        _say(str(error))
        return _OfficialPackage(None, missing=True)


def _verify(plan: EnvironmentPlan, package: _OfficialPackage) -> None:
    """Import everything once.

    Raises:
        CommandError: something does not import, or torch was built for another processor.
    """
    _say("importing all of it once ...")
    try:
        report = ask(plan.interpreter, package.home, official=not package.missing)
    except EnvironmentReportError as error:
        raise CommandError(f"{plan.interpreter} does not work: {error}") from None
    if report.problem:
        raise CommandError(f"{plan.directory} is not usable: {report.problem}")
    if plan.processor != "cpu" and not report.cuda_build:
        raise CommandError(
            f"pip found torch {report.versions['torch']}, a build without CUDA; "
            "look at its settings (pip config list), or use --cpu"
        )
    _say(report.summary)
    if plan.processor != "cpu":
        seen = ", ".join(report.gpus) or "none (no driver here, or one that is too old)"
        _say(f"built for CUDA {report.cuda_build}; GPUs: {seen}")


def _tell_settings(settings: Settings, plan: EnvironmentPlan, package: _OfficialPackage) -> None:
    """Name the settings that lead the server to what lies elsewhere than expected."""
    variables = {}
    if plan.directory != environment_directory(settings).absolute():
        variables["COSYSTREAM_COSYVOICE_INTERPRETER"] = str(plan.interpreter)
    if package.home and package.home != default_home(settings).absolute():
        variables["COSYSTREAM_COSYVOICE_HOME"] = str(package.home)
    for name, value in variables.items():
        _say(f"set {name}={shlex.quote(value)}")
    if not package.missing:
        _say("next: cosystream download cosyvoice2")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
