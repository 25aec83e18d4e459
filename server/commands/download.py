"""`cosystream download`: fetch an official checkpoint, and see that it is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from models.cosyvoice.checkpoint import Checkpoint, CheckpointError
from server.commands import hub_client
from server.commands.environment import check_room
from server.commands.failure import CommandError, UsageError
from server.cosyvoice_parts import find_interpreter, model_directory
from server.releases import RELEASES, TENSORRT_FILES, Hub, Release
from server.settings import Settings, SettingsError

_Switch = Annotated[bool, Parameter(negative=())]
_SPARE_BYTES = 500_000_000
ReleaseName = Literal[
    "cosyvoice2",
    "cosyvoice3",
    "cosyvoice-300m",
    "cosyvoice-300m-sft",
    "cosyvoice-300m-instruct",
]


def download(
    model: ReleaseName,
    *,
    hub: Hub = "modelscope",
    directory: Path | None = None,
    tensorrt: _Switch = False,
    jit: _Switch = False,
    again: _Switch = False,
) -> None:
    """Fetch an official checkpoint, some 2.6 to 5.8 GB. Can be interrupted and run again.

    Args:
        model: Which one.
        hub: Where from. MODELSCOPE_ENDPOINT and HF_ENDPOINT name mirrors.
        directory: Where to; else into the data directory.
        tensorrt: The file for the option tensorrt, too.
        jit: The files for the option jit, too.
        again: Ask the hub even if the checkpoint is complete, and take what has changed there.
    """
    release = RELEASES[model]
    if jit and not release.jit_files:
        raise UsageError(f"--jit: {release.title} has no such files")
    extra = (*(TENSORRT_FILES if tensorrt else ()), *(release.jit_files if jit else ()))
    try:
        settings = Settings.load()
        interpreter = find_interpreter(settings)
    except SettingsError as error:
        raise CommandError(str(error)) from None
    target = (directory or model_directory(settings, model)).expanduser().absolute()
    _check_target(target, release)
    if not again and _is_complete(target, extra):
        _say(f"{release.title} is complete already, in {target}")
        return
    missing_bytes = max(release.size_bytes - _size_bytes(target), 0)
    check_room(target, missing_bytes + _SPARE_BYTES, f"the rest of {release.title}")
    _say(f"fetching {release.repository(hub)} from {hub} into {target}")
    _fetch(interpreter, hub, release, target, (*release.files, *extra))
    _verify(target, release, hub)
    _say_what_is_next(release, target, settings)


def _check_target(target: Path, release: Release) -> None:
    """See that nothing else lies there: a checkpoint's version is told by the file that it has.

    Raises:
        CommandError: it is no directory, or another version's.
    """
    if target.exists() and not target.is_dir():
        raise CommandError(f"{target} is a file")
    own = release.files[0]
    for yaml in target.glob("cosyvoice*.yaml"):
        if yaml.name != own:
            raise CommandError(
                f"{target} holds another version ({yaml.name}); choose another --directory"
            )


def _is_complete(target: Path, extra: tuple[str, ...]) -> bool:
    try:
        Checkpoint.open(target)
    except CheckpointError:
        return False
    return all(any(target.glob(pattern)) for pattern in extra)


def _size_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _fetch(
    interpreter: Path, hub: Hub, release: Release, target: Path, patterns: tuple[str, ...]
) -> None:
    target.mkdir(parents=True, exist_ok=True)
    arguments = [hub, release.repository(hub), str(target), *patterns]
    result = subprocess.run(  # noqa: S603 - an interpreter that the operator chose
        [str(interpreter), "-sP", hub_client.__file__, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        reason = result.stdout.strip() or f"exit code {result.returncode}"
        other = "huggingface" if hub == "modelscope" else "modelscope"
        raise CommandError(
            f"{release.title} was not fetched from {hub}: {reason} "
            f"(the same command goes on from here; --hub {other} is the other one)"
        )


def _verify(target: Path, release: Release, hub: Hub) -> None:
    try:
        Checkpoint.open(target)
    except CheckpointError as error:
        raise CommandError(
            f"what {hub} has under {release.repository(hub)} is no whole checkpoint: {error}"
        ) from None


def _say_what_is_next(release: Release, target: Path, settings: Settings) -> None:
    known = target == model_directory(settings, release.name).absolute()
    what = release.name if known else f"{release.name}={target}"
    _say(f"{release.title} is complete")
    _say(f"next: cosystream serve --model {what}")
    if not release.speaks_at_once:
        _say("it has no voices of its own; then: cosystream voices add NAME AUDIO --text ...")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
