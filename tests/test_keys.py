"""The key store on disk, and keys as a running server sees them."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from server.accounts import Accounts
from server.auth import ANONYMOUS, Authenticator
from server.errors import ErrorCode, SpeechError
from server.keys import FILE_NAME, DayUsage, KeyStore, KeyStoreError, digest_of

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
TODAY = NOON.date()


class Observer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.charged: list[tuple[str, int]] = []
        self.over_quota: list[str] = []

    def key_charged(self, key: str, characters: int) -> None:
        self.charged.append((key, characters))

    def key_over_quota(self, key: str) -> None:
        self.over_quota.append(key)


class Clock:
    now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / FILE_NAME


@pytest.fixture
def store(path: Path) -> Iterator[KeyStore]:
    """The command line's side of it."""
    with KeyStore(path, create=True) as store:
        yield store


def server_on(path: Path, clock: Clock | None = None) -> Accounts:
    return Accounts(path, Observer(), now=clock or Clock())


def refusal_of(accounts: Accounts, tenant: str, characters: int = 0) -> ErrorCode | None:
    try:
        accounts.admit(tenant)
        accounts.charge(tenant, characters)
    except SpeechError as error:
        return error.code
    return None


# --- The file --------------------------------------------------------------------------------


def test_a_key_is_stored_as_its_hash_only(path: Path, store: KeyStore) -> None:
    secret = store.add("app")
    (key,) = store.keys()
    assert key.digest == digest_of(secret)
    assert secret.startswith(key.hint)
    assert len(secret) - len(key.hint) >= 32
    store.close()
    for file in path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_every_key_is_another(store: KeyStore) -> None:
    assert len({store.add(f"app-{i}") for i in range(20)}) == 20


def test_only_its_owner_may_read_the_file(path: Path, store: KeyStore) -> None:
    store.add("app")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert FILE_NAME in modes
    assert set(modes.values()) == {0o600}


def test_a_name_is_used_once(store: KeyStore) -> None:
    store.add("app")
    with pytest.raises(KeyStoreError, match="is or was a key of the name 'app'"):
        store.add("app")
    store.revoke("app")
    with pytest.raises(KeyStoreError, match="'app'"):
        store.add("app")


@pytest.mark.parametrize("name", ["", "a b", "-a", "名", "a" * 65, "a\n", 'a"b', "a/b"])
def test_what_is_no_name(store: KeyStore, name: str) -> None:
    with pytest.raises(KeyStoreError, match="no name"):
        store.add(name)


def test_what_is_not_there_cannot_be_changed(store: KeyStore) -> None:
    store.add("app")
    store.revoke("app")
    for name in ["app", "other"]:
        with pytest.raises(KeyStoreError, match="no key"):
            store.revoke(name)
        with pytest.raises(KeyStoreError, match="no key"):
            store.limit(name, max_sessions=1)


def test_limits_change_one_by_one(store: KeyStore) -> None:
    store.add("app", max_sessions=1, characters_per_day=2)
    store.limit("app", characters_per_day=0)
    (key,) = store.keys()
    assert (key.max_sessions, key.characters_per_day) == (1, 0)


def test_usage_is_added_up_by_day(store: KeyStore) -> None:
    store.add("app")
    yesterday = TODAY - timedelta(days=1)
    store.add_usage({("app", yesterday): 1, ("app", TODAY): 20})
    store.add_usage({("app", TODAY): 300})
    assert store.usage(yesterday) == [DayUsage("app", yesterday, 1), DayUsage("app", TODAY, 320)]
    assert store.usage(TODAY) == [DayUsage("app", TODAY, 320)]


def test_many_writers_lose_nothing(path: Path, store: KeyStore) -> None:
    store.add("app")

    def write(_: int) -> None:
        with KeyStore(path) as mine:
            mine.add_usage({("app", TODAY): 1})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(100)))
    assert store.usage(TODAY) == [DayUsage("app", TODAY, 100)]


def test_many_may_make_the_file_at_once(path: Path) -> None:
    def make(number: int) -> None:
        with KeyStore(path, create=True) as mine:
            mine.add(f"app-{number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(make, range(16)))
    with KeyStore(path) as store:
        assert len(store.keys()) == 16


@pytest.mark.parametrize("content", [b"", b"not a database, and no header of one " * 20])
def test_another_file_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(KeyStoreError, match=str(path)):
        KeyStore(path)
    with pytest.raises(KeyStoreError, match=str(path)):
        server_on(path)


def test_a_file_of_another_version_is_refused(path: Path, store: KeyStore) -> None:
    store.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(KeyStoreError, match="no key store that this program can read"):
        KeyStore(path)


def test_reading_makes_no_file(path: Path) -> None:
    with pytest.raises(KeyStoreError):
        KeyStore(path)
    assert not server_on(path).required
    assert not path.exists()


def test_a_store_behind_a_closed_door_lets_nobody_in(tmp_path: Path) -> None:
    """`ENAMETOOLONG` for what root cannot be refused: only a store that is not there is none."""
    with pytest.raises(KeyStoreError, match="cannot be used"):
        server_on(tmp_path / ("x" * 300))


# --- Who -------------------------------------------------------------------------------------


def test_the_first_key_closes_a_running_server(path: Path) -> None:
    guard = Authenticator([], server_on(path))
    assert guard.identify({}, {}) == ANONYMOUS
    with KeyStore(path, create=True) as store:
        secret = store.add("app")
        assert guard.identify({"authorization": f"Bearer {secret}"}, {}) == "key-app"
        for headers in [{}, {"authorization": "Bearer sk-wrong"}]:
            with pytest.raises(SpeechError) as caught:
                guard.identify(headers, {})
            assert caught.value.code is ErrorCode.TOKEN_INVALID
        store.revoke("app")
        # Not open again: who takes back a leaked key means to keep people out.
        assert guard.required
        with pytest.raises(SpeechError):
            guard.identify({"authorization": f"Bearer {secret}"}, {})


@pytest.mark.parametrize("where", ["x-nls-token", "authorization", "query", "body"])
def test_a_key_opens_every_door(path: Path, store: KeyStore, where: str) -> None:
    secret = store.add("app")
    guard = Authenticator(["a-token"], server_on(path))
    headers = {"x-nls-token": secret} if where == "x-nls-token" else {}
    headers |= {"authorization": f"bearer {secret}"} if where == "authorization" else {}
    query = {"token": secret} if where == "query" else {}
    others = [secret] if where == "body" else []
    assert guard.identify(headers, query, *others) == "key-app"
    assert guard.identify({"x-nls-token": "a-token"}, {}).startswith("token-")


def test_a_task_of_a_revoked_key_gets_no_more_text(path: Path, store: KeyStore) -> None:
    secret = store.add("app")
    accounts = server_on(path)
    tenant = accounts.find(digest_of(secret))
    assert tenant is not None
    accounts.charge(tenant, 1)
    store.revoke("app")
    assert accounts.find(digest_of(secret)) is None
    for ask in (lambda: accounts.charge(tenant, 1), lambda: accounts.admit(tenant)):
        with pytest.raises(SpeechError, match="revoked") as caught:
            ask()
        assert caught.value.code is ErrorCode.TOKEN_INVALID


def test_known_keys_outlive_trouble_with_their_store(
    path: Path, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = store.add("app")
    accounts = server_on(path)
    store.revoke("app")

    def fail(_: KeyStore) -> int:
        raise KeyStoreError("the disk is on fire")

    with monkeypatch.context() as trouble:
        trouble.setattr(KeyStore, "change_counter", fail)
        assert accounts.find(digest_of(secret)) == "key-app"
    assert accounts.find(digest_of(secret)) is None


# --- How much --------------------------------------------------------------------------------


def test_others_than_keys_are_free(path: Path, store: KeyStore) -> None:
    store.add("app", max_sessions=1, characters_per_day=1)
    accounts = server_on(path)
    assert accounts.admit("token-12345678") == 0
    accounts.charge("token-12345678", 10**9)


def test_limits_are_the_keys_own_and_change_at_once(path: Path, store: KeyStore) -> None:
    store.add("one", max_sessions=3)
    store.add("two")
    accounts = server_on(path)
    assert (accounts.admit("key-one"), accounts.admit("key-two")) == (3, 0)
    store.limit("one", max_sessions=7)
    assert accounts.admit("key-one") == 7


def test_the_quota_is_taken_to_the_last_character(path: Path, store: KeyStore) -> None:
    store.add("app", characters_per_day=100)
    observer = Observer()
    accounts = Accounts(path, observer, now=Clock())
    accounts.charge("key-app", 60)
    with pytest.raises(SpeechError, match="60 of its 100") as caught:
        accounts.charge("key-app", 41)
    assert caught.value.code is ErrorCode.QUOTA_EXCEEDED
    assert caught.value.retry_after_s == 12 * 3600
    accounts.charge("key-app", 40)
    assert refusal_of(accounts, "key-app") is ErrorCode.QUOTA_EXCEEDED
    assert observer.charged == [("app", 60), ("app", 40)]
    assert observer.over_quota == ["app", "app"]


def test_a_new_day_is_a_new_quota(path: Path, store: KeyStore) -> None:
    store.add("app", characters_per_day=10)
    clock = Clock()
    accounts = server_on(path, clock)
    accounts.charge("key-app", 10)
    clock.now = NOON + timedelta(hours=11, minutes=59)
    assert refusal_of(accounts, "key-app") is ErrorCode.QUOTA_EXCEEDED
    clock.now = NOON + timedelta(hours=12)
    assert refusal_of(accounts, "key-app", 10) is None


@pytest.mark.anyio
async def test_usage_survives_the_server(path: Path, store: KeyStore) -> None:
    store.add("app", characters_per_day=10)
    accounts = server_on(path)
    async with accounts.open():
        accounts.charge("key-app", 4)
        accounts.charge("key-app", 5)
    assert store.usage(TODAY) == [DayUsage("app", TODAY, 9)]
    assert refusal_of(server_on(path), "key-app", 2) is ErrorCode.QUOTA_EXCEEDED
    assert refusal_of(server_on(path), "key-app", 1) is None


@pytest.mark.anyio
async def test_servers_share_a_quota(path: Path, store: KeyStore) -> None:
    store.add("app", characters_per_day=10)
    one, two = server_on(path), server_on(path)
    one.charge("key-app", 6)
    await one.write()
    assert refusal_of(two, "key-app", 5) is ErrorCode.QUOTA_EXCEEDED
    two.charge("key-app", 4)
    await two.write()
    assert refusal_of(one, "key-app") is ErrorCode.QUOTA_EXCEEDED
    assert store.usage(TODAY) == [DayUsage("app", TODAY, 10)]


@pytest.mark.anyio
async def test_nothing_counts_twice_while_it_is_written(
    path: Path, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch stands in the store already, and the server still waits for the thread."""
    store.add("app", characters_per_day=10)
    accounts = server_on(path)
    seen: list[ErrorCode | None] = []
    write = accounts._write

    def write_and_look(characters: dict[tuple[str, date], int]) -> None:
        write(characters)
        seen.append(asyncio.run_coroutine_threadsafe(charge_the_rest(), loop).result())

    async def charge_the_rest() -> ErrorCode | None:
        return refusal_of(accounts, "key-app", 4)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(accounts, "_write", write_and_look)
    accounts.charge("key-app", 6)
    await accounts.write()
    assert seen == [None]
    assert refusal_of(accounts, "key-app", 1) is ErrorCode.QUOTA_EXCEEDED


@pytest.mark.anyio
async def test_what_could_not_be_written_is_kept(
    path: Path, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add("app", characters_per_day=10)
    accounts = server_on(path)
    accounts.charge("key-app", 6)

    def fail(_: object) -> None:
        raise KeyStoreError("the disk is full")

    with monkeypatch.context() as trouble:
        trouble.setattr(accounts, "_write", fail)
        await accounts.write()
    assert refusal_of(accounts, "key-app", 5) is ErrorCode.QUOTA_EXCEEDED
    await accounts.write()
    assert store.usage(TODAY) == [DayUsage("app", TODAY, 6)]


# --- Signatures ------------------------------------------------------------------------------


def test_a_signature_stands_for_one_subject_on_all_servers(path: Path, store: KeyStore) -> None:
    store.add("app")
    one, two = (Authenticator(["token"], server_on(path)) for _ in range(2))
    signature = one.sign("a")
    assert two.signed("a", signature)
    store.add("another")
    assert one.signed("a", signature)
    for subject, wrong in [("b", signature), ("a", ""), ("a", "名"), ("a", signature[:-1])]:
        assert not one.signed(subject, wrong)
    assert not Authenticator(["other token"], server_on(path)).signed("a", signature)
