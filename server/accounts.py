"""Keys as a running server sees them: who they are, what they may, and what they have used.

The store is looked at whenever a key is asked about, which costs some microseconds while nobody has
written to it; so a key that is added or revoked elsewhere counts at once. Usage is counted in
memory and written down every second: several servers may share a store, and a quota is exact within
one of them and that second late between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Protocol

import structlog

from server.errors import ErrorCode, SpeechError
from server.keys import Key, KeyStore, KeyStoreError

_TENANT_PREFIX = "key-"
_WRITE_INTERVAL_S = 1.0
_BUSY_TIMEOUT_S = 0.1
"""In the event loop; readers of a write-ahead log wait for nobody in the usual case."""
_log = structlog.get_logger(__name__)


class AccountObserver(Protocol):
    """What is reported of keys."""

    def key_charged(self, key: str, characters: int) -> None:
        """A key's text was taken."""

    def key_over_quota(self, key: str) -> None:
        """A key asked for more than is left of its quota."""


def _now() -> datetime:
    return datetime.now(UTC)


class Accounts:
    """All keys of one store.

    Args:
        path: of the store, which need not exist yet. Once it has held a key, a key is needed, even
            when all are revoked.
        observer: told of usage.
        now: the time, in UTC.

    Raises:
        KeyStoreError: the store is there and cannot be read.
    """

    def __init__(
        self, path: Path, observer: AccountObserver, *, now: Callable[[], datetime] = _now
    ) -> None:
        self._path = path
        self._observer = observer
        self._now = now
        self._store: KeyStore | None = None
        self._change_counter = -1
        self._day = date.min
        self._keys: dict[str, Key] = {}
        self._names: dict[bytes, str] = {}
        self._written: Counter[str] = Counter()
        """Characters of `_day`, by all servers, as far as they have written them."""
        self._unwritten: Counter[tuple[str, date]] = Counter()
        self._writing: Counter[tuple[str, date]] = Counter()
        self._broken = False
        self._secret = b""
        self._read()

    # --- Who ---------------------------------------------------------------------------------

    @property
    def required(self) -> bool:
        """A key is needed."""
        self._refresh()
        return bool(self._keys)

    @property
    def secret(self) -> bytes:
        """Random bytes that all servers with this store share; none without a store."""
        return self._secret

    def find(self, digest: bytes) -> str | None:
        """The tenant whose key has this digest, None if there is no such key or it is revoked."""
        self._refresh()
        # A digest tells nobody who measures this look-up how near a guess was.
        name = self._names.get(digest)
        if name is None or self._keys[name].revoked_s is not None:
            return None
        return _TENANT_PREFIX + name

    # --- How much ----------------------------------------------------------------------------

    def admit(self, tenant: str) -> int:
        """Whether a tenant may begin a task, and how many at once; 0 leaves that to the server.

        Raises:
            SpeechError: QUOTA_EXCEEDED; or TOKEN_INVALID, the key was revoked since it was shown.
        """
        key = self._key(tenant)
        if key is None:
            return 0
        if 0 < key.characters_per_day <= self._used(key.name):
            raise self._over_quota(key)
        return key.max_sessions

    def max_sessions(self, tenant: str) -> int:
        """How many tasks a tenant may have at once; 0 leaves that to the server.

        Raises:
            SpeechError: TOKEN_INVALID, the key was revoked since it was shown.
        """
        key = self._key(tenant)
        return 0 if key is None else key.max_sessions

    def charge(self, tenant: str, characters: int) -> None:
        """Take text to the tenant's account.

        Raises:
            SpeechError: QUOTA_EXCEEDED, nothing is charged then; or TOKEN_INVALID, as in `admit`.
        """
        key = self._key(tenant)
        if key is None:
            return
        if 0 < key.characters_per_day < self._used(key.name) + characters:
            raise self._over_quota(key)
        self._unwritten[key.name, self._day] += characters
        self._observer.key_charged(key.name, characters)

    def _key(self, tenant: str) -> Key | None:
        """The tenant's key, None if it did not come with one."""
        if not tenant.startswith(_TENANT_PREFIX):
            return None
        self._refresh()
        key = self._keys.get(tenant.removeprefix(_TENANT_PREFIX))
        if key is None or key.revoked_s is not None:
            raise SpeechError(ErrorCode.TOKEN_INVALID, "The key has been revoked!")
        return key

    def _used(self, name: str) -> int:
        mine = (name, self._day)
        return self._written[name] + self._writing[mine] + self._unwritten[mine]

    def _over_quota(self, key: Key) -> SpeechError:
        self._observer.key_over_quota(key.name)
        now = self._now()
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
        return SpeechError(
            ErrorCode.QUOTA_EXCEEDED,
            f"This key has used {self._used(key.name)} of its {key.characters_per_day} characters "
            "of today (UTC), and this text is more than what is left!",
            retry_after_s=(midnight - now).total_seconds(),
        )

    # --- Reading the store -------------------------------------------------------------------

    def _refresh(self) -> None:
        """Read the store if it has changed. While it cannot be read, what is known stays."""
        if self._writing:
            # What is being written would be counted twice.
            return
        try:
            self._read()
        except KeyStoreError as error:
            if not self._broken:
                _log.error("key store cannot be read, known keys stay", reason=str(error))
            self._broken = True
        else:
            self._broken = False

    def _read(self) -> None:
        if self._store is None:
            if not self._exists():
                return
            self._store = KeyStore(self._path, busy_timeout_s=_BUSY_TIMEOUT_S)
        today = self._now().date()
        change_counter = self._store.change_counter()
        if change_counter != self._change_counter or today != self._day:
            self._load(self._store, today)
            self._change_counter = change_counter

    def _exists(self) -> bool:
        """A store that cannot be looked at is no missing one: that would let everybody in."""
        try:
            os.stat(self._path)  # noqa: PTH116 - a third of the time of Path.stat, per request
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise KeyStoreError(f"{self._path} cannot be used: {error.strerror}") from None
        return True

    def _load(self, store: KeyStore, today: date) -> None:
        keys = store.keys()
        usage = store.usage(today)
        self._secret = store.secret()
        self._keys = {key.name: key for key in keys}
        self._names = {key.digest: key.name for key in keys}
        self._written = Counter({row.name: row.characters for row in usage if row.day == today})
        self._day = today

    # --- Writing usage -----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Write usage down while inside, and what is left at the end."""
        stop = asyncio.Event()
        books = asyncio.create_task(self._keep_books(stop))
        try:
            yield
        finally:
            stop.set()
            await books
            await self.write()
            if self._store is not None:
                self._store.close()

    async def _keep_books(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WRITE_INTERVAL_S):
                    await stop.wait()
            await self.write()

    async def write(self) -> None:
        """Write down what was used since the last time; what cannot be written is kept."""
        if self._writing or not self._unwritten:
            return
        self._writing, self._unwritten = self._unwritten, Counter()
        try:
            await asyncio.to_thread(self._write, dict(self._writing))
        except KeyStoreError as error:
            self._unwritten.update(self._writing)
            _log.error("usage of keys cannot be written, trying again", reason=str(error))
        finally:
            self._writing = Counter()

    def _write(self, characters: dict[tuple[str, date], int]) -> None:
        with KeyStore(self._path) as store:
            store.add_usage(characters)
