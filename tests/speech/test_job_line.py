"""Whose turn it is, and when there is room."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from server.pool.admission import Admission
from server.pool.snapshot import WorkerSnapshot
from server.speech.jobs.line import Room, in_turn
from server.speech.jobs.types import JobInLine


def line(*jobs: str) -> list[JobInLine]:
    """`a1@5`: job a1 of tenant a, which had its last turn at 5."""
    parts = [job.partition("@") for job in jobs]
    return [
        JobInLine(id=name, tenant=name[0], model="m", turn_s=float(at or 0))
        for name, _, at in parts
    ]


@pytest.mark.parametrize(
    ("jobs", "served_s", "expected"),
    [
        ([], {}, []),
        (["a1", "a2", "a3"], {}, ["a1", "a2"]),
        (["a1@5", "a2", "b1"], {}, ["b1", "a2", "a1"]),
        (["a1@5", "b1@9", "c1@7"], {}, ["a1", "c1", "b1"]),
        # Of many small ones, the last has just been finished.
        (["a1", "b1@5"], {"a": 9.0}, ["b1", "a1"]),
        (["a1@3", "a2@2", "b1@4"], {}, ["a2", "a1", "b1"]),
    ],
)
def test_turns(jobs: list[str], served_s: dict[str, float], expected: list[str]) -> None:
    assert in_turn(line(*jobs), models={"m"}, served_s=served_s, at_once=2) == expected


def test_a_model_that_is_not_here_is_left_to_others() -> None:
    assert in_turn(line("a1"), models={"other"}, served_s={}, at_once=2) == []


class Pool:
    """Workers by (state, running, parked)."""

    def __init__(self, *workers: tuple[str, int, int], slots: int = 1, queued: int = 0) -> None:
        self.queued = queued
        self._workers = tuple(
            WorkerSnapshot(
                model="m", pid=1, state=state, slots=slots, running=running, parked=parked,
                restarts=0, rss_bytes=0,
            )
            for state, running, parked in workers
        )  # fmt: skip

    def snapshot(self) -> Any:
        return SimpleNamespace(workers=self._workers)

    def waiting(self, model: str) -> int:
        return self.queued


def admission(max_sessions: int = 10) -> Admission:
    return Admission(
        max_sessions=max_sessions,
        max_sessions_per_tenant=max_sessions,
        max_queued=100,
        queued=lambda: 0,
    )


IDLE = ("ready", 0, 0)


@pytest.mark.parametrize(
    ("pool", "room"),
    [
        (Pool(IDLE), True),
        (Pool(("ready", 1, 0)), False),
        (Pool(("ready", 0, 1)), False),
        (Pool(IDLE, IDLE), True),
        (Pool(IDLE, ("ready", 1, 0)), False),
        (Pool(IDLE, IDLE, ("ready", 1, 0)), True),
        (Pool(IDLE, slots=4), True),
        (Pool(("ready", 2, 0), slots=4), True),
        (Pool(("ready", 2, 1), slots=4), False),
        (Pool(IDLE, queued=1), False),
        (Pool(("starting", 0, 0)), False),
        (Pool(("dead", 0, 0)), False),
        (Pool(("unloaded", 0, 0), ("unloaded", 0, 0)), True),
        (Pool(("unloaded", 0, 0), queued=1), False),
    ],
)
def test_a_slot_is_left_for_listeners(pool: Pool, room: bool) -> None:
    assert Room(pool, admission()).take("m", "t", 0) is room  # type: ignore[arg-type]


def test_a_tenant_has_no_more_places_for_it_than_for_tasks() -> None:
    tasks = admission()
    room = Room(Pool(IDLE, slots=9), tasks)  # type: ignore[arg-type]
    assert [room.take("m", "t", 2) for _ in range(3)] == [True, True, False]
    assert room.take("m", "u", 2)
    room.leave("t")
    with tasks.admit("t", 2):
        assert not room.take("m", "t", 2)
    assert room.take("m", "t", 2)


def test_nothing_begins_while_the_server_drains() -> None:
    tasks = admission()
    room = Room(Pool(IDLE), tasks)  # type: ignore[arg-type]
    assert not room.is_wanted("m")
    tasks.draining = True
    assert not room.take("m", "t", 0)
    assert room.is_wanted("m")


@pytest.mark.parametrize(
    ("pool", "wanted"),
    [
        (Pool(("ready", 1, 3)), False),
        (Pool(("ready", 1, 0), queued=1), True),
        (Pool(("ready", 1, 0), ("ready", 2, 0)), True),
    ],
)
def test_a_listener_that_waits_is_seen(pool: Pool, wanted: bool) -> None:
    assert Room(pool, admission()).is_wanted("m") is wanted  # type: ignore[arg-type]
