"""The scheduler: plans by hand, and days of a device on a simulated clock."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from device_simulation import Simulation, Speaker, poisson
from hypothesis import given, settings
from hypothesis import strategies as st

from models.native.scheduler.planning import plan
from models.native.scheduler.views import TOKEN_S, Chunk, Costs, Pause, Plan, Policy, Session

COSTS = Costs(step_s=0.004, step_row_s=0.0002, batch_s=0.008, token_s=0.0012, before_token_s=0.0001)
"""A device that is full with some 14 streams."""
BESIDE = replace(COSTS, overlap=True)
SESSION = Session(
    id=1,
    tenant="a",
    deadline_s=10.0,
    begun=True,
    n_ready=28,
    decodable=True,
    ended=False,
    credit_s=20.0,
)


def chunk(n_tokens: int, *, final: bool = False) -> Chunk:
    return Chunk(session=1, n_tokens=n_tokens, final=final)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"begun": False, "n_ready": 27}, []),
        ({"begun": False, "n_ready": 28}, [chunk(25)]),
        ({"begun": False, "n_ready": 200}, [chunk(25)]),
        ({"begun": False, "n_ready": 51, "first_hop_tokens": 48}, [chunk(48)]),
        ({"begun": False, "n_ready": 20, "ended": True}, [chunk(20, final=True)]),
        ({"begun": False, "n_ready": 28, "ended": True}, [chunk(28, final=True)]),
        ({"begun": False, "n_ready": 29, "ended": True}, [chunk(25)]),
        # Time for 25 tokens more, and not enough of it.
        ({"deadline_s": 2.0}, []),
        ({"deadline_s": 1.0}, [chunk(25)]),
        ({"deadline_s": 2.0, "n_ready": 60}, []),
        ({"deadline_s": 1.8, "n_ready": 60}, [chunk(50)]),
        ({"deadline_s": 2.0, "n_ready": 110}, [chunk(100)]),
        # Longer ones would be late.
        ({"deadline_s": 0.15, "n_ready": 110}, [chunk(50)]),
        ({"deadline_s": 0.1, "n_ready": 110}, [chunk(25)]),
        ({"deadline_s": -1.0, "n_ready": 110}, [chunk(25)]),
        # Nothing more is coming: the language model has stopped, or is at its end.
        ({"deadline_s": 2.0, "decodable": False}, [chunk(25)]),
        ({"deadline_s": 2.0, "n_ready": 40, "ended": True}, [chunk(40, final=True)]),
        ({"deadline_s": 2.0, "n_ready": 103, "ended": True}, [chunk(103, final=True)]),
        ({"deadline_s": 2.0, "n_ready": 104, "ended": True}, [chunk(100)]),
        ({"deadline_s": 2.0, "n_ready": 0, "ended": True}, []),
        # Far enough ahead.
        ({"deadline_s": 3.1, "n_ready": 110}, []),
        # Its client takes little.
        ({"deadline_s": 2.0, "n_ready": 110, "credit_s": 2.1}, [chunk(50)]),
        ({"deadline_s": 0.5, "n_ready": 110, "credit_s": 0.9}, []),
        (
            {"deadline_s": 0.5, "n_ready": 27, "ended": True, "credit_s": 1.0},
            [chunk(27, final=True)],
        ),
    ],
)
def test_length_of_a_chunk(changes: dict[str, object], expected: list[Chunk]) -> None:
    ended = {"decodable": False} if changes.get("ended") else {}
    session = replace(SESSION, **(ended | changes))
    assert list(plan(0.0, [session], COSTS, Policy(batch_wait_s=0.0)).chunks) == expected


def test_the_order() -> None:
    hurried = replace(SESSION, id=1, deadline_s=0.15)
    more_hurried = replace(SESSION, id=2, deadline_s=0.1)
    first = replace(SESSION, id=3, begun=False, deadline_s=0.01, decodable=False)
    easy = replace(SESSION, id=4, n_ready=110, deadline_s=2.0)
    easier = replace(SESSION, id=5, n_ready=110, deadline_s=2.5)
    found = plan(0.0, [easier, first, hurried, easy, more_hurried], COSTS, Policy(margin_s=0.0))
    assert [chunk.session for chunk in found.chunks][:2] == [2, 1]
    alone = plan(0.0, [easier, first, easy], COSTS)
    assert [chunk.session for chunk in alone.chunks] == [3, 4]  # 5 would make it long


def test_a_batch_does_not_make_its_first_late() -> None:
    hurried = replace(SESSION, id=1, deadline_s=0.1)
    others = [replace(SESSION, id=number, deadline_s=0.3, n_ready=110) for number in range(2, 9)]
    chunks = plan(0.0, [hurried, *others], COSTS).chunks
    assert chunks[0].session == 1
    taken_s = COSTS.batch_s + sum(COSTS.chunk(SESSION, chunk.n_tokens) for chunk in chunks)
    assert taken_s <= 0.1 - Policy().margin_s


def test_what_is_in_no_hurry_waits_for_company_and_for_first_chunks() -> None:
    easy = replace(SESSION, n_ready=110, deadline_s=2.0, ready_since_s=0.0)
    assert plan(0.004, [easy], COSTS).chunks == []
    assert plan(0.004, [easy], COSTS).wake_s == pytest.approx(0.005)
    assert len(plan(0.006, [easy], COSTS).chunks) == 1
    awaited = replace(SESSION, id=2, begun=False, n_ready=5, deadline_s=0.3)
    found = plan(0.006, [easy, awaited], COSTS)
    assert found.chunks == []
    assert list(found.step) == [2]


HEAVY = Costs(step_s=0.1, step_row_s=0.0, batch_s=1.0, token_s=0.04)
"""A batch takes 1 s, and 1 s more for each row."""


@pytest.mark.parametrize(
    ("first", "next_one", "costs", "expected"),
    [
        ({}, {"n_ready": 25}, HEAVY, []),
        ({}, {"n_ready": 17}, HEAVY, [1]),  # 1.1 s more
        ({}, {"n_ready": 25}, replace(HEAVY, overlap=True), [1]),
        ({}, {"n_ready": 25, "decodable": False}, HEAVY, [1]),
        ({}, {"n_ready": 25, "flying": True}, HEAVY, [1]),
        ({"ready_since_s": -0.6}, {"n_ready": 25}, HEAVY, []),
        ({"ready_since_s": -0.8}, {"n_ready": 25}, HEAVY, [1]),  # it has waited enough
        ({"deadline_s": 3.0}, {"n_ready": 25}, HEAVY, [1]),  # it would be late
        ({}, {"n_ready": 28}, HEAVY, [1, 2]),
    ],
)
def test_a_batch_waits_for_who_is_nearly_ready_where_steps_have_to_be_made_anyway(
    first: dict[str, object], next_one: dict[str, object], costs: Costs, expected: list[int]
) -> None:
    newcomer = replace(SESSION, begun=False, deadline_s=0.2)
    sessions = [replace(newcomer, id=1, **first), replace(newcomer, id=2, **next_one)]
    found = plan(0.0, sessions, costs)
    assert [chunk.session for chunk in found.chunks] == expected
    if not expected:
        assert 2 in found.step
        assert found.wake_s is not None


def test_nobody_waits_for_tokens_that_are_not_made_meanwhile() -> None:
    """One with plenty makes no tokens while somebody waits for a first chunk."""
    plenty = replace(SESSION, n_ready=102, deadline_s=0.9)
    awaited = replace(SESSION, id=2, begun=False, n_ready=5, deadline_s=0.3)
    assert list(plan(0.01, [plenty, awaited], BESIDE).step) == [2]
    assert list(plan(0.01, [plenty], BESIDE).chunks) == []
    assert list(plan(0.01, [plenty, awaited], BESIDE).chunks) == [chunk(50)]


def test_nobody_waits_for_tokens_until_there_is_no_time_for_others_batch() -> None:
    sessions = [replace(SESSION, n_ready=50), replace(SESSION, id=2, n_ready=0, deadline_s=3.0)]
    found = {}
    for deadline_s in (0.3, 0.6):
        sessions[0] = replace(sessions[0], deadline_s=deadline_s)
        found[deadline_s] = list(plan(0.01, sessions, BESIDE).chunks)
    assert found == {0.3: [chunk(25)], 0.6: []}
    alone = replace(sessions[0], deadline_s=0.4)
    assert list(plan(0.01, [alone], BESIDE).chunks) == []


def test_what_is_in_no_hurry_is_done_beside_the_steps_of_a_first_chunk() -> None:
    easy = replace(SESSION, n_ready=110, deadline_s=2.0)
    for n_ready, beside in ((0, [chunk(100)]), (27, [])):
        awaited = replace(SESSION, id=2, begun=False, n_ready=n_ready, deadline_s=0.3)
        # 28 steps take 0.12 s, and so does the chunk.
        quick = replace(BESIDE, token_s=0.001)
        assert list(plan(0.006, [easy, awaited], quick).chunks) == beside
        assert list(plan(0.006, [easy, awaited], COSTS).chunks) == []


def test_tenants_take_turns() -> None:
    first = replace(SESSION, begun=False, decodable=False)
    many = [replace(first, id=number, deadline_s=number / 100) for number in range(40)]
    one = replace(first, id=99, tenant="b", deadline_s=9.0)
    sessions = [*many, one]
    assert [chunk.session for chunk in plan(0.0, sessions, COSTS).chunks][:3] == [0, 99, 1]


def test_running_ahead_has_an_end_and_goes_on_at_half() -> None:
    ahead = replace(SESSION, deadline_s=9.0, n_ready=25)
    found = plan(0.0, [ahead], COSTS)
    assert list(found.step) == []
    assert found.pauses[1] == Pause(tokens=True, audio=True)
    assert found.wake_s == pytest.approx(7.5)
    for now_s, tokens, audio in ((4.9, True, True), (5.1, False, True), (7.6, False, False)):
        later = replace(ahead, pause=found.pauses[1])
        assert plan(now_s, [later], COSTS).pauses[1] == Pause(tokens=tokens, audio=audio)


def test_tokens_have_an_end_too_while_the_first_chunk_is_long_in_coming() -> None:
    flying = replace(SESSION, begun=False, flying=True, n_ready=250)
    found = plan(0.0, [flying], COSTS)
    assert list(found.step) == []
    assert found.pauses[1] == Pause(tokens=True)
    assert list(plan(0.0, [replace(flying, n_ready=249)], COSTS).step) == [1]


def test_a_client_that_takes_nothing_is_given_up() -> None:
    stuck = replace(SESSION, credit_s=0.5, decodable=False)
    found = plan(3.0, [stuck], COSTS)
    assert found.pauses[1].parked_since_s == 3.0
    assert found.wake_s == pytest.approx(33.0)
    stuck = replace(stuck, pause=found.pauses[1])
    assert plan(32.0, [stuck], COSTS).drop == []
    assert plan(33.0, [stuck], COSTS).drop == [1]
    assert plan(33.0, [replace(stuck, credit_s=1.0)], COSTS).pauses[1].parked_since_s is None


sessions = st.builds(
    Session,
    id=st.integers(),
    tenant=st.sampled_from("abc"),
    deadline_s=st.floats(-1, 12),
    begun=st.booleans(),
    n_ready=st.integers(0, 300),
    first_hop_tokens=st.integers(25, 49),
    n_before=st.integers(0, 2000),
    decodable=st.booleans(),
    ended=st.booleans(),
    ready_since_s=st.floats(-1, 0),
    credit_s=st.floats(0, 20),
).map(lambda session: replace(session, decodable=session.decodable and not session.ended))


@settings(max_examples=200, deadline=None)
@given(st.lists(sessions, max_size=30, unique_by=lambda session: session.id))
def test_any_plan_can_be_carried_out(sessions: list[Session]) -> None:
    policy = Policy(most_rows=4, most_steps=6)
    found = plan(0.0, sessions, COSTS, policy)
    assert found == plan(0.0, sessions, COSTS, policy)
    by_id = {session.id: session for session in sessions}
    assert len({chunk.session for chunk in found.chunks}) == len(found.chunks) <= 4
    assert len(set(found.step)) == len(found.step) <= 6
    assert all(by_id[key].decodable for key in found.step)
    for piece in found.chunks:
        session = by_id[piece.session]
        needed = piece.n_tokens if piece.final else piece.n_tokens + policy.lookahead_tokens
        assert needed <= session.n_ready
        assert piece.final <= (session.ended and piece.n_tokens == session.n_ready)
        if session.begun:
            assert piece.n_tokens * TOKEN_S <= session.credit_s + 3 * TOKEN_S
    # Something is done, or is known to have nothing to do.
    if not found.chunks and not found.step and found.wake_s is None:
        for session in sessions:
            ready = session.n_ready >= session.first_hop_tokens + 3 or session.ended
            assert session.begun or session.n_ready == 0 or not ready


# A day of the device: so many streams at once, on average, of some 14 that there is room for.
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("streams", [2, 9])
def test_no_underrun_below_capacity(streams: int, seed: int) -> None:
    speakers = poisson(Random(seed), streams / (215 * TOKEN_S), 60)
    simulation = Simulation(COSTS, speakers)
    simulation.run()
    assert {speaker.end for speaker in speakers} == {"spoken"}
    assert [speaker.underruns for speaker in speakers if speaker.underruns] == []
    first_s = sorted(speaker.first_s - speaker.arrival_s for speaker in speakers)
    assert first_s[int(0.95 * len(first_s))] < 0.35
    if streams == 9:
        assert simulation.busy_s / simulation.now_s > 0.6


def test_hops_grow_when_there_is_time() -> None:
    speakers = [Speaker(id=number, arrival_s=number, n_tokens=500) for number in range(3)]
    Simulation(COSTS, speakers).run()
    for speaker in speakers:
        assert speaker.hops[0] == 25
        assert set(speaker.hops[1:-1]) <= {25, 50, 100}
        assert max(speaker.hops) == 100


def test_nobody_starves_when_it_is_too_much() -> None:
    speakers = poisson(Random(4), 30 / (215 * TOKEN_S), 30)
    simulation = Simulation(COSTS, speakers)
    simulation.run()
    assert {speaker.end for speaker in speakers} == {"spoken"}
    # Twice the load: who came first is not overtaken for ever.
    waits_s = [speaker.first_s - speaker.arrival_s for speaker in speakers]
    assert max(waits_s) < 30


def test_first_audio_goes_before_what_others_have_in_hand() -> None:
    alone = Speaker(id=0, arrival_s=0.0, n_tokens=100)
    Simulation(COSTS, [alone]).run()
    others = [Speaker(id=number, arrival_s=number / 2, n_tokens=600) for number in range(8)]
    late = Speaker(id=99, arrival_s=12.0, n_tokens=100)
    early: list[Plan] = []

    def look(now_s: float, views: list[Session], found: Plan) -> None:
        if any(view.id == 99 and not view.begun for view in views):
            early.append(found)
            in_hand = {view.id for view in views if view.deadline_s - now_s > 1.0}
            assert not in_hand & {chunk.session for chunk in found.chunks}

    Simulation(COSTS, [*others, late], looks=look).run()
    assert early
    assert late.first_s - late.arrival_s < alone.first_s + 0.1
    assert not any(speaker.underruns for speaker in others)


def test_slow_clients_hold_up_nobody_else() -> None:
    speakers = poisson(Random(5), 6 / (215 * TOKEN_S), 40)
    slow = [
        Speaker(id=900 + number, arrival_s=float(number), n_tokens=700, pace=0.4, queue_s=3.0)
        for number in range(3)
    ]
    dead = Speaker(id=999, arrival_s=1.0, n_tokens=700, pace=0.0, queue_s=3.0)

    def look(now_s: float, views: list[Session], found: Plan) -> None:
        assert all(view.credit_s > -0.2 for view in views), "more was sent than was taken"

    Simulation(COSTS, [*speakers, *slow, dead], looks=look).run()
    assert {speaker.end for speaker in [*speakers, *slow]} == {"spoken"}
    assert dead.end == "dropped"
    assert not any(speaker.underruns for speaker in speakers)


def test_cancelled_sessions_leave_nothing() -> None:
    random = Random(6)
    speakers = poisson(random, 8 / (215 * TOKEN_S), 40)
    for speaker in speakers[::2]:
        speaker.cancel_s = speaker.arrival_s + random.uniform(0, 4)
    gone_s = {speaker.id: speaker.cancel_s for speaker in speakers}

    def look(now_s: float, views: list[Session], found: Plan) -> None:
        assert all(gone_s[chunk.session] > now_s for chunk in found.chunks)
        assert set(found.pauses) == {view.id for view in views}

    Simulation(COSTS, speakers, looks=look).run()
    assert {speaker.end for speaker in speakers} == {"spoken", "cancelled"}
    assert not any(speaker.underruns for speaker in speakers)


def test_a_device_that_stalls_recovers() -> None:
    speakers = poisson(Random(7), 7 / (215 * TOKEN_S), 60)
    Simulation(COSTS, speakers, stalls=[(15.0, 0.5), (30.0, 0.5), (31.0, 2.0)]).run()
    assert {speaker.end for speaker in speakers} == {"spoken"}
    late_s = [late_s for speaker in speakers for late_s in speaker.underruns]
    # Only the long one is heard, once by each who was there, and nobody falls behind for good.
    assert len(late_s) <= 10
    assert max(late_s, default=0.0) < 2.0
    assert all(not speaker.underruns for speaker in speakers if speaker.arrival_s > 34)


def test_nobody_runs_further_ahead_than_allowed() -> None:
    policy = Policy(tokens_ahead_s=6.0, audio_ahead_s=2.0)
    switches = 0

    def look(now_s: float, views: list[Session], found: Plan) -> None:
        nonlocal switches
        for view in views:
            if view.begun:
                assert view.deadline_s - now_s < policy.audio_ahead_s + 100 * TOKEN_S
                lead_s = view.deadline_s - now_s + view.n_ready * TOKEN_S
                assert lead_s < policy.tokens_ahead_s + 2 * TOKEN_S
            switches += found.pauses[view.id] != view.pause

    Simulation(COSTS, [Speaker(id=1, arrival_s=0.0, n_tokens=1000)], policy, looks=look).run()
    assert 0 < switches < 60
