"""Keys that let clients in: named, hashed at rest, with limits and usage, in one SQLite file.

Of a key only its SHA-256 is stored. A slow password hash protects secrets that people choose and
others may guess; a key here is 256 random bits, which nobody guesses, and a slow hash would be work
that any stranger could make the server do.

The file is shared by servers and by `cosystream keys`, at the same time: SQLite's write-ahead log
lets readers go on while one writes, and usage is only ever added to. For the same reason the file
must not be moved or replaced while somebody has it open. A revoked key keeps its row,
so that its usage stays readable and its name means one key for ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

from server import sqlite_file

FILE_NAME = "keys.sqlite3"
"""In `Settings.data_path`."""
KEY_PREFIX = "sk-"
_KEY_BYTES = 32
_HINT_CHARACTERS = 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE key (
    name TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    revoked_s INTEGER,
    max_sessions INTEGER NOT NULL,
    characters_per_day INTEGER NOT NULL
);
CREATE TABLE usage (
    name TEXT NOT NULL REFERENCES key (name),
    day TEXT NOT NULL,
    characters INTEGER NOT NULL,
    PRIMARY KEY (name, day)
);
CREATE TABLE secret (value BLOB NOT NULL);
"""


class KeyStoreError(ValueError):
    """The store cannot be used, or not for this; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it is stored, without the secret."""

    name: str
    digest: bytes
    """SHA-256 of the secret."""
    hint: str
    """The secret's first characters, to tell which one was found somewhere."""
    created_s: int
    """Unix time."""
    revoked_s: int | None
    """Unix time, None while the key is good."""
    max_sessions: int
    """Tasks at once, 0 for what the server allows any token."""
    characters_per_day: int
    """Text of a day (UTC), 0 for no limit."""


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What a key was used for in a day (UTC)."""

    name: str
    day: date
    characters: int


def digest_of(secret: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class KeyStore:
    """One connection to the file; for one thread.

    Args:
        path: of the file.
        create: make file and folder if there is none.
        busy_timeout_s: how long another's write is waited for.

    Raises:
        KeyStoreError: the file cannot be opened, or is none of ours.
    """

    def __init__(self, path: Path, *, create: bool = False, busy_timeout_s: float = 5.0) -> None:
        self._path = path
        with self._explained():
            if create and not path.exists():
                sqlite_file.make(path, _SCHEMA, _SCHEMA_VERSION, _add_secret)
            self._connection = sqlite_file.connect(path, busy_timeout_s)
        try:
            with self._explained():
                version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version != _SCHEMA_VERSION:
                raise KeyStoreError(f"{path} is no key store that this program can read")
        except BaseException:
            self._connection.close()
            raise

    # --- Keys --------------------------------------------------------------------------------

    def add(self, name: str, *, max_sessions: int = 0, characters_per_day: int = 0) -> str:
        """Make a key; the secret is returned here and never again.

        Raises:
            KeyStoreError: the name is taken, also by a revoked key, or is no name.
        """
        if not _NAME.fullmatch(name):
            raise KeyStoreError(
                f"{name!r} is no name for a key: 1 to 64 letters, digits, '.', '_' and '-'"
            )
        secret = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        row = (
            name,
            digest_of(secret),
            secret[:_HINT_CHARACTERS],
            int(time.time()),
            max_sessions,
            characters_per_day,
        )
        with self._explained():
            try:
                self._connection.execute("INSERT INTO key VALUES (?, ?, ?, ?, NULL, ?, ?)", row)
            except sqlite3.IntegrityError:
                raise KeyStoreError(
                    f"there is or was a key of the name {name!r}, choose another"
                ) from None
        return secret

    def revoke(self, name: str) -> None:
        """Let nobody in with this key any more.

        Raises:
            KeyStoreError: there is no such key, or it was revoked before.
        """
        self._update(name, "revoked_s = ?", int(time.time()))

    def limit(
        self, name: str, *, max_sessions: int | None = None, characters_per_day: int | None = None
    ) -> None:
        """Change a key's limits; None leaves one as it is.

        Raises:
            KeyStoreError: there is no such key, or it was revoked.
        """
        self._update(
            name,
            "max_sessions = coalesce(?, max_sessions), "
            "characters_per_day = coalesce(?, characters_per_day)",
            max_sessions,
            characters_per_day,
        )

    def _update(self, name: str, change: str, *values: int | None) -> None:
        with self._explained():
            statement = f"UPDATE key SET {change} WHERE name = ? AND revoked_s IS NULL"  # noqa: S608 - `change` is our own text
            changed = self._connection.execute(statement, (*values, name)).rowcount
        if not changed:
            raise KeyStoreError(f"there is no key {name!r} that is not revoked")

    def keys(self) -> list[Key]:
        """All keys, the revoked ones too, oldest first."""
        columns = "name, digest, hint, created_s, revoked_s, max_sessions, characters_per_day"
        with self._explained():
            rows = self._connection.execute(f"SELECT {columns} FROM key ORDER BY rowid")  # noqa: S608 - our own text
            return [Key(**dict(zip(columns.split(", "), row, strict=True))) for row in rows]

    # --- Usage -------------------------------------------------------------------------------

    def add_usage(self, characters: Mapping[tuple[str, date], int]) -> None:
        """Add characters to what keys have used in days."""
        rows = [(name, day.isoformat(), count) for (name, day), count in characters.items()]
        with self._explained(), sqlite_file.writing(self._connection):
            self._connection.executemany(
                "INSERT INTO usage VALUES (?, ?, ?) ON CONFLICT (name, day) "
                "DO UPDATE SET characters = characters + excluded.characters",
                rows,
            )

    def usage(self, since: date) -> list[DayUsage]:
        """What was used from this day on, by name and day."""
        with self._explained():
            rows = self._connection.execute(
                "SELECT name, day, characters FROM usage WHERE day >= ? ORDER BY name, day",
                (since.isoformat(),),
            )
            return [DayUsage(name, date.fromisoformat(day), count) for name, day, count in rows]

    # --- The file ----------------------------------------------------------------------------

    def change_counter(self) -> int:
        """A number that changes when another connection has written; cheap enough to ask often."""
        with self._explained():
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def secret(self) -> bytes:
        """Random bytes that all servers with this file share."""
        with self._explained():
            value: bytes = self._connection.execute("SELECT value FROM secret").fetchone()[0]
            return value

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise KeyStoreError(f"{self._path} cannot be used: {reason}") from None


def _add_secret(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO secret VALUES (?)", (secrets.token_bytes(_KEY_BYTES),))
