"""Files that only the server's user may read, and that are there after a power cut.

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_PATIENCE_S = 5.0
_POLL_S = 0.02


def write(path: Path, data: bytes) -> None:
    """Make a file, which lasts once its directory was synchronised.

    Raises:
        OSError: it is there already, or cannot be written.
    """
    with open(path, "xb", opener=_owner_only) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Make the entries of a directory last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, which is made if need be, against all other processes.

    Raises:
        TimeoutError: somebody else has it.
    """
    with open(path, "ab", opener=_owner_only) as lock:
        _acquire(lock.fileno())
        yield


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _acquire(descriptor: int) -> None:
    """Lock a file, which closing it unlocks."""
    limit_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit_s:
                raise TimeoutError("another process writes to the store of voices") from None
            time.sleep(_POLL_S)
        else:
            return
