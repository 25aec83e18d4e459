"""CosyVoice's own Python: a virtual environment with the versions that were tried together.

It is made in steps, each of which may be repeated: an interrupted installation goes on where it
was. A file inside tells our environments from anything else, and a finished one from a begun one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from server.commands.failure import CommandError

Processor: TypeAlias = Literal["cpu", "cuda12", "cuda13"]

TORCH: dict[Processor, str] = {
    "cpu": "torch==2.13.0",
    # The last one whose ordinary build is for CUDA 12.
    "cuda12": "torch==2.10.0",
    "cuda13": "torch==2.13.0",
}
REQUIREMENTS = Path(__file__).parents[2] / "models" / "cosyvoice" / "requirements.txt"
WITHOUT_DEPENDENCIES = ("torchaudio==2.11.0", "openai-whisper==20250625")
"""torchaudio would bring another torch, whisper 1 GB of triton; neither is used."""
PYTHONS = ((3, 11), (3, 13))
"""First and last minor version that all of them are built for."""
NEEDED_BYTES: dict[Processor, int] = {
    "cpu": 4_000_000_000,
    "cuda12": 12_000_000_000,
    "cuda13": 12_000_000_000,
}
"""Free space at the start, for what is installed and for pip's own copies meanwhile."""

_MARKER = "cosystream.json"
_QUERY_TIMEOUT_S = 20


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in an environment of ours."""

    made_for: Literal["cosyvoice"] = "cosyvoice"
    fingerprint: str
    finished: bool
    stands: bool = True
    """The bare environment is whole, with its pip."""


@dataclass(frozen=True, slots=True)
class EnvironmentPlan:
    """What environment to make.

    Args:
        directory: where; it may hold an earlier environment of ours.
        python: the program to make it with.
        processor: chooses the build of torch.
        say: takes lines for people.
    """

    directory: Path
    python: Path
    processor: Processor
    say: Callable[[str], None]

    @property
    def interpreter(self) -> Path:
        """The environment's Python."""
        return self.directory / "bin" / "python"

    def make(self) -> bool:
        """Make it, or bring it up to date; False if there was nothing to do.

        It counts as unfinished until the caller has tried it and calls `finish`.

        Raises:
            CommandError: the directory is somebody else's, there is no room, or a step failed.
        """
        marker = self._marker()
        wanted = self._fingerprint()
        works = marker is not None and marker.stands and version_of(self.interpreter) is not None
        if marker == Marker(fingerprint=wanted, finished=True) and works:
            return False
        self._check_room()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._mark(Marker(fingerprint=wanted, finished=False, stands=works))
        if not works:
            self.say(f"[1/4] Python environment in {self.directory}")
            self._clear()
            self._run([str(self.python), "-m", "venv", str(self.directory)], "venv")
            self._mark(Marker(fingerprint=wanted, finished=False))
        self.say(f"[2/4] {TORCH[self.processor]}")
        self._pip(TORCH[self.processor])
        self.say("[3/4] the libraries that CosyVoice stands on")
        self._pip("-r", str(REQUIREMENTS))
        self.say(f"[4/4] {', '.join(WITHOUT_DEPENDENCIES)}")
        self._pip("--no-deps", *WITHOUT_DEPENDENCIES)
        return True

    def finish(self) -> None:
        """Note that it works, so that the next `make` has nothing to do."""
        self._mark(Marker(fingerprint=self._fingerprint(), finished=True))

    def _marker(self) -> Marker | None:
        """What an earlier run left.

        Raises:
            CommandError: the directory is not ours.
        """
        path = self.directory / _MARKER
        try:
            return msgspec.json.decode(path.read_bytes(), type=Marker)
        except FileNotFoundError:
            if self.directory.is_dir() and not any(self.directory.iterdir()):
                return None
            if not self.directory.exists():
                return None
        except (OSError, msgspec.MsgspecError):
            pass
        raise CommandError(
            f"{self.directory} holds something that this command did not make; "
            "choose another place with --directory"
        )

    def _mark(self, marker: Marker) -> None:
        (self.directory / _MARKER).write_bytes(msgspec.json.encode(marker))

    def _clear(self) -> None:
        # venv's own --clear takes the marker too, and who interrupts it then has a directory that
        # is nobody's.
        for path in self.directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _MARKER:
                path.unlink()

    def _fingerprint(self) -> str:
        parts = [TORCH[self.processor], REQUIREMENTS.read_text("utf-8"), *WITHOUT_DEPENDENCIES]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _check_room(self) -> None:
        check_room(self.directory, NEEDED_BYTES[self.processor], "the environment")

    def _pip(self, *what: str) -> None:
        # On a terminal pip shows its progress; in a log its errors are enough.
        verbosity = [] if sys.stderr.isatty() else ["--quiet"]
        options = ["--disable-pip-version-check", "--no-input", *verbosity]
        self._run([str(self.interpreter), "-m", "pip", "install", *options, *what], "pip")

    def _run(self, command: list[str], what: str) -> None:
        # Its output goes where our lines for people go; our standard output stays our own.
        result = subprocess.run(command, stdout=sys.stderr, check=False)  # noqa: S603 - see callers
        if result.returncode != 0:
            raise CommandError(
                f"{what} failed with exit code {result.returncode}, see above; "
                "the same command goes on from here"
            )


def check_room(directory: Path, needed_bytes: int, what: str) -> None:
    """See that there is so much free space where `directory` is, or will be.

    Raises:
        CommandError: there is less.
    """
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise CommandError(
            f"{what} needs {needed_bytes / 1e9:.1f} GB, but {existing} has "
            f"{free_bytes / 1e9:.1f} GB free; make room or choose another place with --directory"
        )


def version_of(python: Path) -> tuple[int, int] | None:
    """A Python's minor version; None if it does not run."""
    program = "import sys; print(*sys.version_info[:2])"
    try:
        result = subprocess.run(  # noqa: S603 - an interpreter that the operator chose
            [python, "-c", program],
            capture_output=True,
            text=True,
            timeout=_QUERY_TIMEOUT_S,
            check=True,
        )
        major, minor = result.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def choose_python(named: str) -> Path:
    """The Python to make an environment with: the named one, our own, or another on the PATH.

    Raises:
        CommandError: none is of a version that all libraries are built for.
    """
    first, last = PYTHONS
    candidates = [named] if named else [sys.executable, "python3.13", "python3.12", "python3.11"]
    for candidate in candidates:
        found = shutil.which(Path(candidate).expanduser())
        version = version_of(Path(found)) if found else None
        if found and version and first <= version <= last:
            return Path(found).absolute()
    wanted = f"Python {first[0]}.{first[1]} to {last[0]}.{last[1]}"
    which = named or "on the PATH"
    raise CommandError(f"CosyVoice needs {wanted}, there is none {which}; see --python")


def driver_processor() -> Processor:
    """What the NVIDIA driver of this machine can run; `cpu` where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "cpu"
    try:
        output = subprocess.run(  # noqa: S603 - a fixed command
            [program], capture_output=True, text=True, timeout=_QUERY_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "cpu"
    found = re.search(r"CUDA Version: (\d+)\.", output)
    if found is None:
        return "cpu"
    return "cuda13" if int(found.group(1)) >= 13 else "cuda12"  # noqa: PLR2004 - CUDA 13
