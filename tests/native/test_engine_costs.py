"""Costs follow what is measured."""

from __future__ import annotations

import pytest

from models.native.costs import MeasuredCosts


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
