"""SQLite files in the data directory: shared by servers, readable by their owner only.

SQLite's write-ahead log lets readers go on while one writes. A file must not be moved or replaced
while somebody has it open.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


def connect(path: Path, busy_timeout_s: float, *, one_thread: bool = True) -> sqlite3.Connection:
    """Open a file that is there; each statement is a transaction, but for those in `writing`.

    Args:
        path: of the file.
        busy_timeout_s: how long another's write is waited for.
        one_thread: it is used by one thread only; else by one at a time.

    Raises:
        sqlite3.Error: there is none.
    """
    address = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(
        address,
        uri=True,
        isolation_level=None,
        timeout=busy_timeout_s,
        check_same_thread=one_thread,
    )


def make(path: Path, schema: str, version: int, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Make a file. It appears at once and whole, whoever else makes one meanwhile.

    Args:
        path: of the file; its folder is made, too.
        schema: statements.
        version: kept as `user_version`.
        fill: puts the first rows in.

    Raises:
        OSError: it cannot be made.
        sqlite3.Error: the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only its owner may read it; SQLite gives the files beside it the same rights.
    descriptor, draft = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    os.close(descriptor)
    try:
        with contextlib.closing(connect(Path(draft), 0)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(schema)
            fill(connection)
            connection.execute(f"PRAGMA user_version = {version}")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)  # noqa: PTH108 - as it was made


@contextlib.contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction of several statements, all or none of them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
