"""Costs follow what is measured; how far sessions run ahead fits together."""

from __future__ import annotations

import pytest

from models.native.costs import MeasuredCosts
from models.native.scheduler.views import TOKEN_S
from models.native.session import _LEAD_SHARE, policy_of


def test_a_slow_device_is_found_out() -> None:
    costs = MeasuredCosts()
    before = costs.costs
    costs.step_took(1, before.step(1) * 10)
    costs.batch_took(50, 100, before.batch_s * 100)
    after = costs.costs
    assert after.step(8) == pytest.approx(before.step(8) * 10)
    ratio = after.batch_s / before.batch_s
    assert ratio > 1
    assert after.token_s / before.token_s == pytest.approx(ratio)
    assert after.before_token_s / before.before_token_s == pytest.approx(ratio)


def test_one_slow_step_does_not_count_for_long() -> None:
    costs = MeasuredCosts()
    usual_s = costs.costs.step(1)
    costs.step_took(1, usual_s)
    costs.step_took(1, usual_s * 100)
    assert costs.costs.step(1) > usual_s * 5
    for _ in range(60):
        costs.step_took(1, usual_s)
    assert costs.costs.step(1) == pytest.approx(usual_s, rel=0.05)


@pytest.mark.parametrize("run_ahead_s", [0.1, 3.0, 60.0])
def test_tokens_come_again_before_there_are_too_few_for_a_chunk(run_ahead_s: float) -> None:
    policy = policy_of(run_ahead_s)
    least_s = (25 + policy.lookahead_tokens) * TOKEN_S
    assert policy.audio_ahead_s == run_ahead_s
    assert policy.tokens_ahead_s * policy.resume > run_ahead_s * _LEAD_SHARE + least_s - TOKEN_S
