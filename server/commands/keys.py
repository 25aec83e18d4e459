"""`cosystream keys`: who may use this machine's servers, how much, and how much it was."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, TypeVar

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from server.commands.failure import CommandError, UsageError
from server.keys import FILE_NAME, DayUsage, Key, KeyStore, KeyStoreError
from server.settings import Settings, SettingsError

app = App(name="keys")

_Limit = Annotated[int | None, Parameter(validator=Number(gte=0, lt=2**53))]
Result = TypeVar("Result")
_Json = Annotated[bool, Parameter(negative=())]


@app.command
def add(name: str, *, sessions: _Limit = None, characters_per_day: _Limit = None) -> None:
    """Make a key and print it; it is shown this once. Running servers know it at once.

    Keys lie in the server's data directory: run this as the server's user, with its settings.

    Args:
        name: Of the program or person that it is for: letters, digits, '.', '_' and '-'.
        sessions: Tasks at once; 0, the default, is what the server allows any token.
        characters_per_day: Text of a day (UTC); 0, the default, is no limit.
    """
    with _store(create=True) as store:
        first = not store.keys()
        secret = _told(
            lambda: store.add(
                name, max_sessions=sessions or 0, characters_per_day=characters_per_day or 0
            )
        )
    sys.stdout.write(f"{secret}\n")
    sys.stdout.flush()
    note = "This is the only time that it is shown."
    if first:
        note += " From now on nobody is let in without a key or a token."
    sys.stderr.write(f"{note}\n")


@app.command
def limit(name: str, *, sessions: _Limit = None, characters_per_day: _Limit = None) -> None:
    """Change a key's limits, at once.

    Args:
        name: The key's.
        sessions: Tasks at once; 0 is what the server allows any token.
        characters_per_day: Text of a day (UTC); 0 is no limit.

    Raises:
        UsageError: nothing is to be changed.
    """
    if sessions is None and characters_per_day is None:
        raise UsageError("say what to change: --sessions, --characters-per-day")
    with _store() as store:
        _told(
            lambda: store.limit(name, max_sessions=sessions, characters_per_day=characters_per_day)
        )


@app.command
def revoke(name: str) -> None:
    """Let nobody in with this key any more. A task that runs gets no more text.

    Args:
        name: The key's.
    """
    with _store() as store:
        _told(lambda: store.revoke(name))


@app.command(name="list")
def show(*, json: _Json = False) -> None:
    """List all keys, without their secrets.

    Args:
        json: Print JSON.
    """
    with _store() as store:
        keys = _told(store.keys)
    if json:
        _print_json([_describe(key) for key in keys])
        return
    table = _table("name", "begins with", "made", "tasks at once", "characters a day", "revoked")
    for key in keys:
        table.add_row(
            key.name,
            key.hint,
            _day(key.created_s),
            str(key.max_sessions or ""),
            f"{key.characters_per_day:,}" if key.characters_per_day else "",
            _day(key.revoked_s) if key.revoked_s is not None else "",
        )
    Console().print(table)


@app.command
def usage(
    *, days: Annotated[int, Parameter(validator=Number(gte=1, lte=3660))] = 30, json: _Json = False
) -> None:
    """Show the characters that keys have used: today (UTC), and in the last days together.

    Args:
        days: How far to look back, today included.
        json: Print JSON, with every single day.
    """
    today = datetime.now(UTC).date()
    with _store() as store:
        keys = _told(store.keys)
        used = _told(lambda: store.usage(today - timedelta(days=days - 1)))
    if json:
        _print_json([_describe_usage(key, used) for key in keys])
        return
    table = _table("name", "today", "of", f"last {days} days", "last used")
    for key in keys:
        by_day = _by_day(key, used)
        table.add_row(
            key.name,
            f"{by_day[today]:,}",
            f"{key.characters_per_day:,}" if key.characters_per_day else "no limit",
            f"{by_day.total():,}",
            max(by_day).isoformat() if by_day else "",
        )
    Console().print(table)


def _store(*, create: bool = False) -> KeyStore:
    """The server's key store.

    Raises:
        CommandError: there is none, or it cannot be used.
    """
    try:
        path = Settings.load().data_path / FILE_NAME
    except SettingsError as error:
        raise CommandError(str(error)) from error
    if not create and not path.exists():
        raise CommandError(
            f"there are no keys in {path.parent}; make one: cosystream keys add NAME"
        )
    return _told(lambda: KeyStore(path, create=create))


def _told(ask: Callable[[], Result]) -> Result:
    try:
        return ask()
    except KeyStoreError as error:
        raise CommandError(str(error)) from error


def _describe(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "begins_with": key.hint,
        "created": key.created_s,
        "revoked": key.revoked_s,
        "max_sessions": key.max_sessions,
        "characters_per_day": key.characters_per_day,
    }


def _describe_usage(key: Key, used: list[DayUsage]) -> dict[str, Any]:
    days = {day.isoformat(): characters for day, characters in sorted(_by_day(key, used).items())}
    return {
        "name": key.name,
        "characters_per_day": key.characters_per_day,
        "characters": sum(days.values()),
        "days": days,
    }


def _by_day(key: Key, used: list[DayUsage]) -> Counter[date]:
    return Counter({row.day: row.characters for row in used if row.name == key.name})


def _day(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).date().isoformat()


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
