"""`cosystream keys` on a data directory of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from command_line import Cosystream

from server.keys import FILE_NAME, KeyStore, digest_of


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("COSYSTREAM_DATA_DIRECTORY", str(folder))
    return folder


def test_a_new_key_is_the_only_output(cosystream: Cosystream, data: Path) -> None:
    added = cosystream("keys", "add", "app", "--sessions", 2, "--characters-per-day", 1000)
    assert added.code == 0
    secret = added.out.decode().strip()
    assert "without a key" in added.err
    with KeyStore(data / FILE_NAME) as store:
        (key,) = store.keys()
    assert (key.digest, key.max_sessions, key.characters_per_day) == (digest_of(secret), 2, 1000)
    assert "without a key" not in cosystream("keys", "add", "another").err


def test_listing_changing_and_revoking(cosystream: Cosystream) -> None:
    secret = cosystream("keys", "add", "app").out.decode().strip()
    cosystream("keys", "limit", "app", "--characters-per-day", 12345)
    shown = cosystream("keys", "list").out.decode()
    assert secret not in shown
    assert shown.splitlines()[1].split()[:2] == ["app", secret[:8]]
    assert "12,345" in shown
    (key,) = json.loads(cosystream("keys", "list", "--json").out)
    assert (key["name"], key["characters_per_day"], key["revoked"]) == ("app", 12345, None)
    assert cosystream("keys", "revoke", "app").code == 0
    (key,) = json.loads(cosystream("keys", "list", "--json").out)
    assert key["revoked"] >= key["created"]


def test_usage(cosystream: Cosystream, data: Path) -> None:
    cosystream("keys", "add", "app", "--characters-per-day", 5000)
    cosystream("keys", "add", "idle")
    today = datetime.now(UTC).date()
    with KeyStore(data / FILE_NAME) as store:
        store.add_usage({("app", today): 1234, ("app", today - timedelta(days=2)): 1000})
        store.add_usage({("app", today - timedelta(days=40)): 7})
    _, app, idle = cosystream("keys", "usage").out.decode().splitlines()
    assert app.split() == ["app", "1,234", "5,000", "2,234", today.isoformat()]
    assert idle.split() == ["idle", "0", "no", "limit", "0"]
    first, _ = json.loads(cosystream("keys", "usage", "--days", 41, "--json").out)
    assert first["characters"] == 2241
    assert first["days"][today.isoformat()] == 1234


@pytest.mark.parametrize("command", [["list"], ["usage"], ["revoke", "app"]])
def test_without_any_keys(cosystream: Cosystream, data: Path, command: list[str]) -> None:
    outcome = cosystream("keys", *command)
    assert (outcome.code, "cosystream keys add NAME" in outcome.err) == (1, True)
    assert not data.exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["add", "app"], "choose another"),
        (["add", "a b"], "no name for a key"),
        (["revoke", "other"], "no key 'other'"),
        (["limit", "other", "--sessions", "1"], "no key 'other'"),
    ],
)
def test_mistakes_take_one_line(cosystream: Cosystream, command: list[str], said: str) -> None:
    cosystream("keys", "add", "app")
    outcome = cosystream("keys", *command)
    assert outcome.code == 1
    assert outcome.out == b""
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_store_that_is_none(cosystream: Cosystream, data: Path) -> None:
    data.mkdir()
    (data / FILE_NAME).write_bytes(b"not a database, and no header of one " * 20)
    outcome = cosystream("keys", "list")
    assert outcome.code == 1
    assert FILE_NAME in outcome.err


def test_help_and_nothing_to_change(cosystream: Cosystream) -> None:
    shown = cosystream("keys", "--help").out.decode()
    assert all(f" {command} " in shown for command in ["add", "limit", "list", "revoke", "usage"])
    outcome = cosystream("keys", "limit", "app")
    assert (outcome.code, "--characters-per-day" in outcome.err) == (2, True)


@pytest.mark.parametrize("limit", ["-1", "many", str(2**63)])
def test_limits_are_counts(cosystream: Cosystream, data: Path, limit: str) -> None:
    assert cosystream("keys", "add", "app", "--characters-per-day", limit).code != 0
    assert not data.exists()
