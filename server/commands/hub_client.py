"""Runs under CosyVoice's Python, which has the hubs' own clients: fetches files of a repository.

    python -P hub_client.py HUB REPOSITORY DIRECTORY PATTERN...

The clients resume and show progress on standard error. modelscope's compares checksums, Hugging
Face's does not, so that is done here. Exit code 0 if all is there; else 1, and standard output says
why in one line.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from pathlib import Path

_REASON_LENGTH = 500


class ChecksumError(Exception):
    """A file's content is not what the hub says that it is."""


def fetch(hub: str, repository: str, directory: str, patterns: list[str]) -> None:
    """Fetch what matches; raises whatever the hub's client raises."""
    if hub == "modelscope":
        client = importlib.import_module("modelscope")
        client.snapshot_download(repository, local_dir=directory, allow_patterns=patterns)
    else:
        client = importlib.import_module("huggingface_hub")
        client.snapshot_download(repository, local_dir=directory, allow_patterns=patterns)
        _compare_checksums(repository, Path(directory))


def _compare_checksums(repository: str, directory: Path) -> None:
    """Compare large files with what Hugging Face knows of them; a wrong one is removed.

    Raises:
        ChecksumError: one differs.
    """
    api = importlib.import_module("huggingface_hub").HfApi()
    for entry in api.model_info(repository, revision="main", files_metadata=True).siblings:
        path = directory / entry.rfilename
        if entry.lfs is None or not path.is_file():
            continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == entry.lfs.sha256:
                continue
        path.unlink()
        raise ChecksumError(f"{entry.rfilename} came with another content than the hub says")


def main() -> int:
    """Fetch, and say why not."""
    hub, repository, directory, *patterns = sys.argv[1:]
    # The clients print on standard output as well, which is for the answer alone.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        fetch(hub, repository, directory, patterns)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the clients raise what their libraries raise
        reason = " ".join(str(error).split())
        answer.write(f"{type(error).__name__}: {reason[:_REASON_LENGTH]}")
        answer.flush()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
