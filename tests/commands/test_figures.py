from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.bench.figures import (
    Distribution,
    describe,
    even_arrivals,
    gaps,
    percentile,
    play,
    poisson_arrivals,
    random_arrivals,
    slope,
)
from server.bench.text import BUILTIN, tokens

reals = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("ordered", "percent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([1.0, 2.0], 50, 1.5),
        ([1.0, 2.0, 3.0], 50, 2.0),
        ([0.0, 10.0], 95, 9.5),
        ([1.0, 2.0, 3.0, 4.0], 100, 4.0),
        ([1.0, 2.0, 3.0, 4.0], 0, 1.0),
    ],
)
def test_percentiles_interpolate(ordered: list[float], percent: float, expected: float) -> None:
    assert percentile(ordered, percent) == pytest.approx(expected)


@settings(max_examples=50)
@given(st.lists(reals, min_size=1), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    assert percentile(sorted(values), percent) == pytest.approx(
        float(np.percentile(values, percent)), rel=1e-9, abs=1e-6
    )


def test_an_empty_sample_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="empty"):
        percentile([], 50)


def test_a_sample_is_described_in_any_order() -> None:
    found = describe([3.0, 1.0, 2.0])
    assert (found.count, found.mean, found.p50, found.max) == (3, 2.0, 2.0, 3.0)
    assert describe([]) == Distribution()


@pytest.mark.parametrize(
    ("chunks", "prebuffer_s", "begins_s", "count", "stalled_s"),
    [
        pytest.param([(0.0, 0.1), (0.1, 0.1), (0.2, 0.1)], 0.0, 0.0, 0, 0.0, id="just in time"),
        pytest.param([(0.0, 0.1), (0.3, 0.1)], 0.0, 0.0, 1, 0.2, id="one late chunk"),
        pytest.param([(0.0, 0.1), (0.3, 0.1), (0.6, 0.1)], 0.0, 0.0, 2, 0.4, id="two late"),
        pytest.param([(0.0, 0.1), (0.1, 0.1), (0.3, 0.1)], 0.2, 0.1, 0, 0.0, id="prebuffer helps"),
        pytest.param([(0.0, 0.1), (0.5, 0.05)], 9.0, 0.5, 0, 0.0, id="shorter than the prebuffer"),
        pytest.param([(0.0, 1.0), (0.9, 0.1), (1.5, 0.1)], 0.2, 0.0, 1, 0.4, id="late at the end"),
        pytest.param([(5.0, 0.3)], 0.2, 5.0, 0, 0.0, id="one chunk"),
    ],
)
def test_a_player_runs_dry_when_nothing_is_there(
    chunks: list[tuple[float, float]],
    prebuffer_s: float,
    begins_s: float,
    count: int,
    stalled_s: float,
) -> None:
    playback = play(chunks, prebuffer_s)
    assert playback is not None
    assert playback.begins_s == pytest.approx(begins_s)
    assert playback.underruns.count == count
    assert playback.underruns.stalled_s == pytest.approx(stalled_s)
    length_s = sum(length for _, length in chunks)
    assert playback.ends_s == pytest.approx(begins_s + length_s + stalled_s)


def test_nothing_cannot_be_played() -> None:
    assert play([], 0.2) is None


def test_gaps_are_between_neighbours() -> None:
    assert gaps([1.0, 1.5, 3.0]) == [0.5, 1.5]
    assert gaps([1.0]) == gaps([]) == []


def test_poisson_arrivals_are_repeatable_random_and_of_the_rate() -> None:
    times = poisson_arrivals(10.0, 1000.0, seed=1)
    assert times == poisson_arrivals(10.0, 1000.0, seed=1)
    assert times != poisson_arrivals(10.0, 1000.0, seed=2)
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 1000.0
    between = gaps(times)
    # An exponential distribution's mean and standard deviation are the same.
    assert np.mean(between) == pytest.approx(0.1, rel=0.05)
    assert np.std(between) == pytest.approx(0.1, rel=0.05)


def test_even_arrivals_spread_over_the_time() -> None:
    assert even_arrivals(4, 2.0) == [0.0, 0.5, 1.0, 1.5]
    assert even_arrivals(2, 0.0) == [0.0, 0.0]


@settings(max_examples=50)
@given(st.floats(-100, 100), reals)
def test_the_slope_of_a_line_is_its_slope(steepness: float, offset: float) -> None:
    points = [(float(x), offset + steepness * x) for x in range(10)]
    assert slope(points) == pytest.approx(steepness, rel=1e-6, abs=1e-6)


def test_points_without_extent_have_no_slope() -> None:
    assert slope([]) == slope([(1.0, 2.0)]) == slope([(1.0, 2.0), (1.0, 9.0)]) == 0.0


def test_tokens_are_the_text_in_an_llms_pieces() -> None:
    pieces = tokens(BUILTIN, seed=1)
    assert "".join(pieces) == BUILTIN
    assert pieces == tokens(BUILTIN, seed=1) != tokens(BUILTIN, seed=2)
    assert set(map(len, itertools.islice(pieces, len(pieces) - 1))) == {1, 2, 3}


def test_random_arrivals_are_so_many_in_order_and_the_same_for_a_seed() -> None:
    times = random_arrivals(50, 2.0, 7)
    assert len(times) == 50
    assert times == sorted(times) == random_arrivals(50, 2.0, 7)
    assert 0 <= times[0] < times[-1] <= 2
    # Not even: some gap is several times the mean.
    assert max(gaps(times)) > 3 * 2.0 / 50
