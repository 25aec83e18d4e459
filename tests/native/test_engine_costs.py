"""Costs follow what is measured; how far sessions run ahead fits together."""

from __future__ import annotations

from dataclasses import astuple
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.native.costs import MeasuredCosts
from models.native.scheduler.views import TOKEN_S, Costs
from models.native.scheduler.views import Session as View
from models.native.session import _LEAD_SHARE, policy_of

DEVICE = Costs(step_s=1e-3, step_row_s=5e-5, batch_s=6e-3, token_s=4e-4, before_token_s=3e-5)
"""Unlike what is assumed of a device before it has been measured."""


def work(
    costs: MeasuredCosts,
    random: Random,
    *,
    n: int,
    most_rows: int = 32,
    slowness: float = 1.0,
    noise: float = 0.1,
) -> None:
    """Steps and batches as a device would take them, of all sizes up to `most_rows`."""
    for _ in range(n):
        n_rows = random.randint(1, most_rows)
        factor = slowness * random.uniform(1 - noise, 1 + noise)
        costs.step_took(n_rows, factor * DEVICE.step(n_rows))
        n_new = n_rows * random.choice([25, 50, 100])
        n_before = n_rows * random.randint(75, 400)
        seconds = DEVICE.batch_s + n_new * DEVICE.token_s + n_before * DEVICE.before_token_s
        costs.batch_took(n_new, n_before, factor * seconds, n_rows=n_rows)


def compare(found: Costs, expected: Costs, rel: float, slowness: float = 1.0) -> None:
    """At sizes from the smallest to the largest."""
    for n_rows in (1, 4, 32):
        assert found.step(n_rows) == pytest.approx(slowness * expected.step(n_rows), rel=rel)
        session = View(
            id=0,
            tenant="",
            deadline_s=0.0,
            begun=True,
            n_ready=0,
            n_before=100 * n_rows,
            decodable=False,
            ended=False,
            credit_s=0.0,
        )
        found_s = found.batch_s + found.chunk(session, 25 * n_rows)
        expected_s = expected.batch_s + expected.chunk(session, 25 * n_rows)
        assert found_s == pytest.approx(slowness * expected_s, rel=rel)


def test_all_sizes_are_found_out() -> None:
    costs = MeasuredCosts()
    work(costs, Random(1), n=300)
    compare(costs.costs, DEVICE, rel=0.15)


def test_one_measurement_tells_of_all_sizes() -> None:
    costs = MeasuredCosts()
    before = costs.costs
    costs.step_took(1, before.step(1) * 10)
    costs.batch_took(50, 100, before.batch_s * 100, n_rows=1)
    after = costs.costs
    assert after.step(8) == pytest.approx(before.step(8) * 10)
    ratio = after.batch_s / before.batch_s
    assert ratio > 1
    assert after.token_s / before.token_s == pytest.approx(ratio)
    assert after.before_token_s / before.before_token_s == pytest.approx(ratio)


def test_a_device_that_becomes_slower_is_so_for_sizes_too_that_are_not_seen() -> None:
    costs, random = MeasuredCosts(), Random(2)
    work(costs, random, n=300)
    work(costs, random, n=60, most_rows=2, slowness=2.0)
    compare(costs.costs, DEVICE, rel=0.15, slowness=2.0)
    work(costs, random, n=60, most_rows=2)
    compare(costs.costs, DEVICE, rel=0.15)


def test_what_is_seen_all_the_time_does_not_hide_the_rest() -> None:
    costs, random = MeasuredCosts(), Random(3)
    work(costs, random, n=300)
    work(costs, random, n=3000, most_rows=1)
    compare(costs.costs, DEVICE, rel=0.15)


def test_one_that_was_slow_once_does_not_count() -> None:
    costs, random = MeasuredCosts(), Random(4)
    work(costs, random, n=300)
    before = costs.costs
    costs.step_took(4, 100 * DEVICE.step(4))
    costs.batch_took(100, 400, 3.0, n_rows=1)
    assert before.step(32) < costs.costs.step(32) < 1.2 * before.step(32)
    assert costs.costs.token_s < 1.2 * before.token_s
    work(costs, random, n=60)
    compare(costs.costs, DEVICE, rel=0.15)


def test_the_first_of_a_size_may_take_long() -> None:
    costs = MeasuredCosts()
    for n_rows in (1, 2, 4, 8, 16, 32):
        costs.step_took(n_rows, 50 * DEVICE.step(n_rows))
        costs.step_took(n_rows, DEVICE.step(n_rows))
    for n_rows in (1, 4, 32):
        assert costs.costs.step(n_rows) == pytest.approx(DEVICE.step(n_rows), rel=0.1)


@given(
    st.lists(
        st.tuples(st.integers(1, 128), st.integers(0, 3000), st.floats(0.0, 10.0)), max_size=40
    )
)
@settings(max_examples=50, deadline=None)
def test_no_measurement_makes_costs_absurd(taken: list[tuple[int, int, float]]) -> None:
    costs = MeasuredCosts(overlap=True)
    for n, n_before, seconds in taken:
        costs.step_took(n, seconds)
        costs.batch_took(n, n_before, seconds, n_rows=1)
    found = costs.costs
    assert found.overlap
    assert all(0 <= one < 1000 for one in astuple(found))
    assert found.step(1) > 0


@pytest.mark.parametrize("run_ahead_s", [0.1, 3.0, 60.0])
def test_tokens_come_again_before_there_are_too_few_for_a_chunk(run_ahead_s: float) -> None:
    policy = policy_of(run_ahead_s)
    least_s = (25 + policy.lookahead_tokens) * TOKEN_S
    assert policy.audio_ahead_s == run_ahead_s
    assert policy.tokens_ahead_s * policy.resume > run_ahead_s * _LEAD_SHARE + least_s - TOKEN_S
