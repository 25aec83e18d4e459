"""How many sessions a device holds: the figures, and days of a device that takes no more."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from device_simulation import Simulation, Speaker, poisson

from models.native.costs import MeasuredCosts
from models.native.scheduler.capacity import (
    USUAL_BEFORE_TOKENS,
    first_chunk_s,
    sessions_held,
    share_used,
)
from models.native.scheduler.views import HOPS_TOKENS, TOKEN_S, Costs, Plan, Policy
from models.native.scheduler.views import Session as View

COSTS = Costs(step_s=0.004, step_row_s=0.0002, batch_s=0.008, token_s=0.0012, before_token_s=0.0001)
BESIDE = replace(COSTS, overlap=True)
QUICK = Costs(
    step_s=9e-4, step_row_s=1e-5, batch_s=6e-3, token_s=1e-4, before_token_s=4e-5, overlap=True
)
POLICY = Policy()
DEVICES = pytest.mark.parametrize("costs", [COSTS, BESIDE], ids=["in turns", "side by side"])
MEAN_S = 215 * TOKEN_S
"""Of speech, by `poisson`."""


def slower(costs: Costs, factor: float) -> Costs:
    return replace(
        costs,
        step_s=costs.step_s * factor,
        step_row_s=costs.step_row_s * factor,
        batch_s=costs.batch_s * factor,
        token_s=costs.token_s * factor,
        before_token_s=costs.before_token_s * factor,
    )


def share(costs: Costs, n_sessions: int, hop_tokens: int = HOPS_TOKENS[1]) -> float:
    return share_used(costs, POLICY, n_sessions, USUAL_BEFORE_TOKENS, hop_tokens)


# --- Figures ---------------------------------------------------------------------------------


def test_the_share_of_one_session_by_hand() -> None:
    costs = Costs(step_s=0.003, step_row_s=0.001, batch_s=0.1, token_s=0.002, before_token_s=0.001)
    steps = 25 * 0.004
    chunks = (0.1 + 50 * 0.002 + 200 * 0.001) / 2.0
    assert share(costs, 1) == pytest.approx(steps + chunks)
    assert share(replace(costs, overlap=True), 1) == pytest.approx(max(steps, chunks))


@pytest.mark.parametrize("costs", [COSTS, BESIDE, QUICK])
def test_what_is_held_is_within_the_policy_and_one_more_is_not(costs: Costs) -> None:
    held = sessions_held(costs, POLICY, 200)
    assert 0 < held < 200
    assert share(costs, held) <= POLICY.most_used
    alone_s, first_s = (first_chunk_s(costs, POLICY, n, USUAL_BEFORE_TOKENS) for n in (1, held))
    assert first_s <= alone_s + max(alone_s, POLICY.first_audio_s)
    assert sessions_held(costs, POLICY, held + 5) == held
    assert sessions_held(costs, POLICY, held - 1) == held - 1


def test_a_slower_device_holds_less() -> None:
    held = [sessions_held(slower(QUICK, factor), POLICY, 200) for factor in (0.5, 1, 2, 4, 8, 60)]
    assert held == sorted(held, reverse=True)
    assert held[0] > held[1] > held[3] > 0
    assert held[-1] == 0


def test_side_by_side_and_without_computing_again_more_is_held() -> None:
    held = sessions_held(COSTS, POLICY, 200)
    assert sessions_held(BESIDE, POLICY, 200) > held
    assert sessions_held(COSTS, POLICY, 200, n_before=10) > held
    assert sessions_held(COSTS, POLICY, 200, n_before=900) < held


def test_an_operator_may_want_more_or_sooner() -> None:
    held = sessions_held(COSTS, POLICY, 200)
    assert sessions_held(COSTS, replace(POLICY, most_used=0.5), 200) < held
    # With long steps a crowd is late before it is too much.
    long_steps = replace(QUICK, step_row_s=5e-4)
    assert sessions_held(long_steps, replace(POLICY, first_audio_s=5.0), 200) > sessions_held(
        long_steps, POLICY, 200
    )


def test_one_batch_that_takes_longer_than_first_audio_may_is_no_reason_to_hold_one_only() -> None:
    """As measured of a tiny checkpoint on a busy CPU, which computed eight in time."""
    costs = Costs(
        step_s=1e-3, step_row_s=8e-5, batch_s=5e-2, token_s=2.5e-3, before_token_s=1.15e-3
    )
    assert costs.batch_s + 50 * costs.token_s + 50 * costs.before_token_s > POLICY.first_audio_s
    assert 4 <= sessions_held(costs, POLICY, 64, n_before=50) <= 8


# --- Days ------------------------------------------------------------------------------------


def waits_s(speakers: list[Speaker]) -> list[float]:
    return [speaker.admitted_s - speaker.arrival_s for speaker in speakers]


def first_audio_s(speakers: list[Speaker]) -> list[float]:
    return sorted(speaker.first_s - speaker.admitted_s for speaker in speakers)


@DEVICES
@pytest.mark.parametrize("seed", [1, 2])
def test_no_underrun_near_capacity(costs: Costs, seed: int) -> None:
    held = sessions_held(costs, POLICY, 64)
    speakers = poisson(Random(seed), 0.95 * held / MEAN_S, 40)
    Simulation(costs, speakers, room=lambda: held).run()
    assert {speaker.end for speaker in speakers} == {"spoken"}
    assert [speaker.underruns for speaker in speakers if speaker.underruns] == []
    first_s = first_audio_s(speakers)
    alone_s = first_chunk_s(costs, POLICY, 1, USUAL_BEFORE_TOKENS)
    assert first_s[int(0.95 * len(first_s))] < alone_s + POLICY.first_audio_s


@DEVICES
def test_above_it_some_wait_and_nobody_underruns(costs: Costs) -> None:
    held = sessions_held(costs, POLICY, 64)
    speakers = poisson(Random(3), 2.5 * held / MEAN_S, 20)
    together: list[int] = []

    def look(now_s: float, views: list[View], found: Plan) -> None:
        together.append(len(views))

    Simulation(costs, speakers, looks=look, room=lambda: held).run()
    assert {speaker.end for speaker in speakers} == {"spoken"}
    assert [speaker.underruns for speaker in speakers if speaker.underruns] == []
    assert max(together) == held
    assert max(waits_s(speakers)) > 5.0


def test_far_above_it_the_device_would_be_too_slow() -> None:
    """So what the two tests above find is not that everything is easy."""
    held = 2 * sessions_held(COSTS, POLICY, 64)
    speakers = poisson(Random(3), 1.5 * held / MEAN_S, 20)
    Simulation(COSTS, speakers, room=lambda: held).run()
    assert sum(bool(speaker.underruns) for speaker in speakers) > len(speakers) / 3


@DEVICES
def test_capacity_follows_a_device_that_becomes_slower(costs: Costs) -> None:
    measured = MeasuredCosts(overlap=costs.overlap)
    held: list[tuple[float, int]] = []

    def room() -> int:
        return max(1, sessions_held(measured.costs, POLICY, 64))

    def look(now_s: float, views: list[View], found: Plan) -> None:
        held.append((now_s, room()))

    speakers = poisson(Random(5), 2 * sessions_held(costs, POLICY, 64) / MEAN_S, 30)
    Simulation(
        costs,
        speakers,
        looks=look,
        measured=measured,
        room=room,
        slowness=lambda now_s: 2.0 if now_s > 15 else 1.0,
    ).run()
    assert {speaker.end for speaker in speakers} == {"spoken"}
    before = [n for now_s, n in held if 8 < now_s < 15]
    after = [n for now_s, n in held if now_s > 20]
    for found, true in ((before, costs), (after, slower(costs, 2))):
        expected = sessions_held(true, POLICY, 64)
        assert abs(sum(found) / len(found) - expected) < max(1.5, 0.25 * expected)
    # Those who were there when it happened hear it; later ones do not.
    late = [speaker for speaker in speakers if speaker.underruns and speaker.admitted_s > 20]
    assert len(late) <= 1


@DEVICES
def test_a_device_that_stalls_recovers_and_takes_as_many_as_before(costs: Costs) -> None:
    measured = MeasuredCosts(overlap=costs.overlap)
    held: list[tuple[float, int]] = []

    def room() -> int:
        return max(1, sessions_held(measured.costs, POLICY, 64))

    def look(now_s: float, views: list[View], found: Plan) -> None:
        held.append((now_s, room()))

    speakers = poisson(Random(7), 0.9 * sessions_held(costs, POLICY, 64) / MEAN_S, 30)
    Simulation(
        costs, speakers, stalls=[(15.0, 2.5)], looks=look, measured=measured, room=room
    ).run()
    assert {speaker.end for speaker in speakers} == {"spoken"}
    before = next(n for now_s, n in reversed(held) if now_s < 15)
    after = next(n for now_s, n in held if now_s > 22)
    assert abs(after - before) <= 0.2 * before
    assert not any(speaker.underruns for speaker in speakers if speaker.admitted_s > 22)
