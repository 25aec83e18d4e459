"""The search for the largest number of streams, on loads that are made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.bench.capacity import (
    Capacity,
    Goal,
    Search,
    Trial,
    lines,
    misses,
    next_number,
)
from server.bench.figures import Distribution
from server.bench.results import Cpu, LoadFigures

GOAL = Goal(first_audio_ms=200.0, prebuffer_ms=200.0, most_streams=64, step_s=1.0)


def _figures(
    *, first_ms: float = 50.0, underruns: int = 0, factor: float = 0.1, failed: int = 0
) -> LoadFigures:
    def flat(value: float, count: int = 10) -> Distribution:
        return Distribution(count=count, mean=value, p50=value, p95=value, p99=value, max=value)

    return LoadFigures(
        sessions=10 + failed,
        completed=10,
        failures={"40000005": failed} if failed else {},
        silent=0,
        peak_active=1,
        wall_s=20.0,
        audio_s=60.0,
        audio_per_session_s=flat(6.0),
        session_s=flat(8.0),
        first_audio_ms=flat(first_ms),
        model_first_chunk_ms=None,
        server_added_p50_ms=None,
        server_added_mean_ms=None,
        server_reported_added_ms=None,
        chunk_gap_ms=flat(5.0),
        underruns=underruns,
        sessions_with_underruns=underruns,
        stalled_s=0.0,
        real_time_factor=flat(factor),
        cpu_per_audio_s=Cpu(front=None, workers=None, client=0.0),
        client_core_share=0.0,
        machine_share=0.5,
        loop_lag_ms=flat(0.0),
        incidents=0,
        memory=None,
    )


class Machine:
    """Holds so many streams."""

    def __init__(self, holds: int, *, alone_ms: float = 50.0, factor: float = 0.1) -> None:
        self.holds = holds
        self.alone_ms = alone_ms
        self.factor = factor
        self.trials: list[Trial] = []

    async def run(self, trial: Trial) -> LoadFigures:
        self.trials.append(trial)
        late = trial.streams > self.holds
        return _figures(
            first_ms=self.alone_ms + trial.streams, underruns=int(late), factor=self.factor
        )

    async def search(self, goal: Goal = GOAL) -> Capacity:
        return await Search(goal, self.run, lambda line: None).find()


@pytest.mark.anyio
async def test_it_doubles_then_halves_then_opens_the_loop() -> None:
    machine = Machine(holds=11)
    found = await machine.search()
    assert [trial.streams for trial in machine.trials if trial.loop == "closed"] == [
        *(1, 2, 4, 8, 16),
        *(12, 10, 11),
    ]
    assert found.streams == found.best.streams == 11
    opened = machine.trials[-1]
    assert opened.loop == "open"
    # 80 % of 11 streams, each of which lasts 8 s.
    assert opened.rate_per_s == pytest.approx(1.1)
    assert [step.missed for step in found.steps if step.streams == 12] == [("1 underruns",)]


@pytest.mark.anyio
async def test_it_ends_at_the_most_that_is_to_be_tried() -> None:
    found = await Machine(holds=1000).search(
        Goal(first_audio_ms=200.0, prebuffer_ms=0.0, most_streams=6, step_s=1.0)
    )
    assert [step.streams for step in found.steps if step.loop == "closed"] == [1, 2, 4, 6]
    assert found.streams == 6
    assert "more than --most-streams 6 were not tried" in "\n".join(lines(found))


@pytest.mark.anyio
async def test_the_first_audio_counts_as_well_as_underruns() -> None:
    found = await Machine(holds=1000, alone_ms=180.0).search()
    assert found.streams == 20


@pytest.mark.anyio
async def test_a_machine_that_is_late_alone_still_has_streams_without_underruns() -> None:
    found = await Machine(holds=5, alone_ms=900.0).search()
    assert (found.streams, found.streams_without_underruns) == (0, 5)
    told = "\n".join(lines(found))
    assert "No number of streams held" in told
    assert "Without underruns, however late they began: 5." in told


@pytest.mark.anyio
async def test_a_machine_slower_than_real_time_is_measured_by_throughput() -> None:
    machine = Machine(holds=0, factor=4.0)
    found = await machine.search()
    assert not found.real_time
    assert [(trial.streams, trial.real_time) for trial in machine.trials] == [
        (1, True),
        (2, False),
        (4, False),
    ]
    told = "\n".join(lines(found))
    assert "One stream takes 4.00 s for a second of speech here" in told
    assert "3.00 s" in told  # of audio per second
    assert "held" not in told


@given(holds=st.integers(1, 300), most=st.integers(1, 256))
def test_whatever_it_is_the_search_comes_close_to_it(holds: int, most: int) -> None:
    tried: dict[int, bool] = {}
    while (number := next_number(tried, most)) is not None:
        assert number not in tried
        assert 1 <= number <= most
        tried[number] = number <= holds
    best = max(number for number, held in tried.items() if held)
    wanted = min(holds, most)
    assert wanted - max(1, best // 16) <= best <= wanted
    assert len(tried) < 16


def test_nothing_more_is_tried_where_one_is_too_many() -> None:
    assert next_number({1: False}, 64) is None


def test_what_was_missed_is_told() -> None:
    assert list(misses(_figures(), GOAL)) == []
    assert list(misses(_figures(first_ms=201.0, underruns=2, failed=1), GOAL)) == [
        "1 failed (40000005)",
        "first audio p95 201 ms",
        "2 underruns",
    ]
