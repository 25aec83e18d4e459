"""The parts that a neural model needs beside this package, and where they lie.

    <data>/environments/cosyvoice   a Python of its own, made by `cosystream setup cosyvoice`
    <data>/cosyvoice                the official package, a checkout at a pinned commit
    <data>/models/NAME              checkpoints, fetched by `cosystream download NAME`

Each can lie elsewhere, by a setting. What is missing is a `SettingsError` that says how to get it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from server.settings import Settings, SettingsError

REPOSITORY = "https://github.com/FunAudioLLM/CosyVoice.git"
COMMIT = "ace7c47f41bbd303aa6bf1ea80e6f9fbd595cd40"
"""The commit of the official package that this server was tried with."""

_PACKAGE_FILE = Path("cosyvoice/cli/model.py")
_SUBMODULE_FILE = Path("third_party/Matcha-TTS/matcha/models/components/flow_matching.py")


def environment_directory(settings: Settings) -> Path:
    """Where `cosystream setup cosyvoice` makes the environment."""
    return settings.data_path / "environments" / "cosyvoice"


def default_home(settings: Settings) -> Path:
    """Where `cosystream setup cosyvoice --clone` puts the official package."""
    return settings.data_path / "cosyvoice"


def model_directory(settings: Settings, name: str) -> Path:
    """Where `cosystream download NAME` puts a checkpoint."""
    return settings.data_path / "models" / name


def find_interpreter(settings: Settings, named: str = "") -> Path:
    """The Python that runs CosyVoice.

    Args:
        settings: the server's.
        named: a model's own choice, which goes first.

    Raises:
        SettingsError: there is none.
    """
    wanted = named or settings.cosyvoice_interpreter
    if not wanted:
        python = environment_directory(settings) / "bin" / "python"
        if not _is_program(python):
            raise SettingsError(
                f"CosyVoice's environment is missing: there is no {python} "
                "(make it: cosystream setup cosyvoice)"
            )
        return python
    found = shutil.which(Path(wanted).expanduser())
    if found is None:
        field = "interpreter" if named else "cosyvoice_interpreter"
        raise SettingsError(f"{field}: {wanted} is no program that can be run")
    # Not resolved: a virtual environment's Python is a link, and knows itself by its own name.
    return Path(found).absolute()


def find_home(settings: Settings, interpreter: Path, named: str = "") -> Path | None:
    """The checkout of the official package; None where the environment has the package itself.

    A setting goes before `<data>/cosyvoice`, which goes before an installed package.

    Raises:
        SettingsError: it is nowhere, or incomplete.
    """
    wanted = named or settings.cosyvoice_home
    if wanted:
        home = Path(wanted).expanduser().absolute()
        check_home(home)
        return home
    home = default_home(settings)
    if home.exists():
        check_home(home)
        return home
    if _site_packages(interpreter) and not _has_package(interpreter):
        raise SettingsError(
            f"the official CosyVoice package is missing: there is no {home} "
            "(get it: cosystream setup cosyvoice --clone, or set cosyvoice_home to a checkout)"
        )
    return None


def check_home(home: Path) -> None:
    """Look whether a directory is a whole checkout of the official package.

    Raises:
        SettingsError: it is not; says what is missing.
    """
    if not (home / _PACKAGE_FILE).is_file():
        raise SettingsError(
            f"cosyvoice_home: {home} is no checkout of the official CosyVoice package: "
            f"it has no {_PACKAGE_FILE} (git clone --recursive {REPOSITORY})"
        )
    if not (home / _SUBMODULE_FILE).is_file():
        raise SettingsError(
            f"cosyvoice_home: {home} lacks its submodule third_party/Matcha-TTS "
            f"(git -C {home} submodule update --init)"
        )


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _site_packages(interpreter: Path) -> list[Path]:
    """The package directories of a virtual environment; empty for a Python laid out otherwise."""
    return sorted(interpreter.parent.parent.glob("lib/python3*/site-packages"))


def _has_package(interpreter: Path) -> bool:
    return any((folder / _PACKAGE_FILE).is_file() for folder in _site_packages(interpreter))
