"""The official CosyVoice package: a git checkout at the commit that this server was tried with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from server.commands.failure import CommandError
from server.cosyvoice_parts import COMMIT, REPOSITORY, check_home
from server.settings import SettingsError


def clone(home: Path, say: Callable[[str], None]) -> None:
    """Fetch the official package and its submodule into `home`; nothing if it is there.

    Raises:
        CommandError: git is missing or fails, or `home` holds something else.
    """
    if home.is_dir() and any(home.iterdir()):
        verify(home, say)
        return
    if shutil.which("git") is None:
        raise CommandError("git is missing; install it, or bring a checkout and use --home")
    say(f"fetching {REPOSITORY} at {COMMIT[:7]} into {home}")
    home.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that a half of it is never taken for the whole.
    with tempfile.TemporaryDirectory(prefix=f"{home.name}-", dir=home.parent) as folder:
        fresh = Path(folder) / "checkout"
        _git("clone", "--no-checkout", REPOSITORY, str(fresh))
        _git("-C", str(fresh), "checkout", "--detach", COMMIT)
        _git("-C", str(fresh), "submodule", "update", "--init", "--recursive", "--depth=1")
        _check(fresh)
        if home.is_dir():
            home.rmdir()
        fresh.rename(home)


def verify(home: Path, say: Callable[[str], None]) -> None:
    """See that a checkout is whole; another commit than ours is only told of.

    Raises:
        CommandError: something is missing.
    """
    _check(home)
    commit = _commit(home)
    if commit == COMMIT:
        say(f"the official package is at {home}, commit {COMMIT[:7]}")
    else:
        known = f"commit {commit[:7]}" if commit else "of an unknown commit"
        say(f"the official package is at {home}, {known}; this server was tried with {COMMIT[:7]}")


def _check(home: Path) -> None:
    try:
        check_home(home)
    except SettingsError as error:
        raise CommandError(str(error).removeprefix("cosyvoice_home: ")) from None


def _commit(home: Path) -> str:
    """The commit of a checkout; empty if it is not known."""
    git = shutil.which("git")
    # A directory without .git of its own may lie inside another repository.
    if git is None or not (home / ".git").exists():
        return ""
    result = subprocess.run(  # noqa: S603 - a fixed command
        [git, "-C", str(home), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return result.stdout.strip() if result.returncode == 0 else ""


def _git(*arguments: str) -> None:
    result = subprocess.run(  # noqa: S603 - arguments are paths, URLs and commits
        ["git", *arguments],  # noqa: S607 - whichever git the operator has
        stdout=sys.stderr,
        # A host that wants a name and a password has not what we look for.
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        check=False,
    )
    if result.returncode != 0:
        raise CommandError(
            f"git {arguments[0] if arguments[0] != '-C' else arguments[2]} failed, see above; "
            f"with a network: git clone --recursive {REPOSITORY} && git checkout {COMMIT[:7]}, "
            "then --home"
        )
