"""Who is served first, by tables, properties and a small simulation."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.pool.scheduler import Scheduler, roomiest


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def order(scheduler, model="m"):
    taken = []
    while (item := scheduler.take(model)) is not None:
        taken.append(item)
    return taken


@pytest.mark.parametrize(
    ("offered", "served"),
    [
        ([], []),
        ([("a", 3.0), ("b", 1.0), ("c", 2.0)], ["b", "c", "a"]),
        ([("first", 1.0), ("second", 1.0), ("third", 1.0)], ["first", "second", "third"]),
        ([("late", 5.0), ("already missed", -5.0)], ["already missed", "late"]),
    ],
)
def test_the_earliest_deadline_goes_first_and_equal_ones_by_arrival(offered, served):
    scheduler = Scheduler(Clock())
    for item, deadline_s in offered:
        scheduler.offer(item, "m", deadline_s)
    assert order(scheduler) == served


def test_models_have_queues_of_their_own():
    scheduler = Scheduler(Clock())
    scheduler.offer("a", "one", 1.0)
    scheduler.offer("b", "other", 0.0)
    assert (len(scheduler), scheduler.waiting("one"), scheduler.waiting("third")) == (2, 1, 0)
    assert scheduler.take("one") == "a"
    assert scheduler.take("one") is None
    assert scheduler.take("third") is None


def test_a_deadline_can_change_and_a_segment_leave():
    scheduler = Scheduler(Clock())
    for item, deadline_s in [("a", 1.0), ("b", 2.0), ("c", 3.0)]:
        scheduler.offer(item, "m", deadline_s)
    assert scheduler.update("c", "m", 0.5)
    assert scheduler.remove("a", "m")
    assert not scheduler.remove("a", "m")
    assert not scheduler.update("a", "m", 0.0)
    assert order(scheduler) == ["c", "b"]


def test_what_cannot_be_ordered_is_refused():
    scheduler = Scheduler(Clock())
    for deadline_s in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="finite"):
            scheduler.offer("a", "m", deadline_s)
    scheduler.offer("a", "m", 1.0)
    with pytest.raises(ValueError, match="finite"):
        scheduler.update("a", "m", math.nan)
    with pytest.raises(ValueError, match="already"):
        scheduler.offer("a", "m", 2.0)


def test_overdue_counts_from_the_offer_or_from_the_outage_whichever_is_later():
    clock = Clock()
    scheduler = Scheduler(clock)
    scheduler.offer("old", "m", 1000.0)
    clock.now_s += 6
    scheduler.offer("young", "m", 1000.0)
    clock.now_s += 4
    assert scheduler.overdue("m", 10.0, since_s=101.0) == []
    assert scheduler.overdue("m", 10.0) == ["old"]
    assert scheduler.clear() == ["young"]
    assert len(scheduler) == 0


operations = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.floats(-10, 10)),
        st.tuples(st.just("update"), st.floats(-10, 10)),
        st.tuples(st.just("remove"), st.none()),
        st.tuples(st.just("take"), st.none()),
    )
)


@given(operations, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_every_segment_is_served_once_and_never_after_a_less_urgent_one(steps, random):
    scheduler = Scheduler(Clock())
    waiting = {}
    for number, (step, deadline_s) in enumerate(steps):
        victim = random.choice(sorted(waiting)) if waiting else None
        if step == "offer":
            scheduler.offer(number, "m", deadline_s)
            waiting[number] = (deadline_s, number)
        elif step == "update" and victim is not None:
            assert scheduler.update(victim, "m", deadline_s)
            waiting[victim] = (deadline_s, victim)
        elif step == "remove" and victim is not None:
            assert scheduler.remove(victim, "m")
            del waiting[victim]
        elif step == "take":
            assert scheduler.take("m") == min(waiting, key=waiting.get, default=None)
            if waiting:
                del waiting[min(waiting, key=waiting.get)]
        assert len(scheduler) == len(waiting)
    assert order(scheduler) == sorted(waiting, key=waiting.get)


@dataclass
class Place:
    name: str
    room: int
    parked: int = 0


@pytest.mark.parametrize(
    ("rooms", "chosen"),
    [
        ([], None),
        ([0, -1], None),
        ([1, 3, 2], "1"),
        ([2, 2], "0"),
        ([0, 1], "1"),
    ],
)
def test_the_worker_with_most_room_is_chosen(rooms, chosen):
    place = roomiest(Place(str(index), room) for index, room in enumerate(rooms))
    assert (place.name if place else None) == chosen


def test_of_workers_with_equal_room_the_one_with_the_fewest_parked_streams_is_chosen():
    place = roomiest([Place("a", 1), Place("b", 2, 3), Place("c", 2, 1), Place("d", 2, 1)])
    assert place.name == "c"


# --- A small simulation: one slot, sessions whose players run dry ----------------------------

TARGET_S = 0.3
"""What a new session waits for its first audio at most."""


def simulate(segments):
    """Run `(name, arrives_s, deadline_s, compute_s)` on one slot; returns when each was begun."""
    clock = Clock()
    clock.now_s = 0.0
    scheduler = Scheduler(clock)
    coming = sorted(segments, key=lambda segment: segment[1])
    costs = {name: compute_s for name, _, _, compute_s in segments}
    begun = {}
    while coming or len(scheduler):
        while coming and coming[0][1] <= clock.now_s:
            name, _, deadline_s, _ = coming.pop(0)
            scheduler.offer(name, "m", deadline_s)
        name = scheduler.take("m")
        if name is None:
            clock.now_s = coming[0][1]
            continue
        begun[name] = clock.now_s
        clock.now_s += costs[name]
    return begun


def test_a_newcomer_goes_before_work_that_is_seconds_ahead_of_its_playback():
    begun = simulate(
        [
            ("running", 0.0, 0.0, 0.1),
            ("ahead by 5 s", 0.01, 5.0, 0.1),
            ("ahead by 3 s", 0.02, 3.0, 0.1),
            ("newcomer", 0.05, 0.05 + TARGET_S, 0.1),
        ]
    )
    assert list(begun) == ["running", "newcomer", "ahead by 3 s", "ahead by 5 s"]


def test_a_session_near_underrun_goes_before_a_newcomer():
    begun = simulate(
        [
            ("running", 0.0, 0.0, 0.1),
            ("newcomer", 0.01, 0.01 + TARGET_S, 0.1),
            ("dry at 0.2 s", 0.05, 0.2, 0.1),
        ]
    )
    assert list(begun) == ["running", "dry at 0.2 s", "newcomer"]


def test_nothing_starves_under_steady_overload():
    """Newcomers alone are more than one slot can do; a patient segment still gets its turn."""
    newcomers = [(f"new {n}", n * 0.1, n * 0.1 + TARGET_S, 0.15) for n in range(200)]
    begun = simulate([("patient", 0.0, 4.0, 0.15), *newcomers])
    more_urgent = [name for name, _, deadline_s, _ in newcomers if deadline_s < 4.0]
    assert begun["patient"] <= 0.15 * (len(more_urgent) + 1)
