"""A worker whose model takes fewer streams than it has slots, for the time being."""

import asyncio

import numpy as np
import pytest
from pool_bench import PATIENCE_S, collect, eventually, place
from prometheus_client.parser import text_string_to_metric_families
from sine_model import sine_samples

from server.errors import ErrorCode, SpeechError
from server.metrics import Metrics

pytestmark = pytest.mark.anyio


@pytest.fixture
def capacity(tmp_path):
    """The file that says it."""
    path = tmp_path / "capacity"
    path.write_text("1")
    return path


@pytest.fixture
async def bench(make_bench, studio, capacity):
    return await make_bench(
        studio.spec(options={"slots": 4, "parked": 0, "capacity_in": str(capacity)}),
        settings={"max_queued": 3},
    )


def begun(studio):
    return len(studio.noted("synthesize"))


async def read(streams):
    return await asyncio.gather(*(collect(stream) for stream in streams))


async def test_it_is_known_when_the_worker_is_ready(bench):
    [worker] = bench.workers()
    assert worker.slots == 1


async def test_what_is_beyond_it_waits_and_then_is_refused(bench, studio, tmp_path):
    text = f"?until:{tmp_path / 'go'}"
    streams = [bench.open(text) for _ in range(5)]
    assert bench.pool.queued == 3, "one computes, one waits in the worker"
    with pytest.raises(SpeechError) as caught:
        bench.open(text)
    assert caught.value.code is ErrorCode.CAPACITY_EXCEEDED
    assert caught.value.retry_after_s is not None
    await bench.checked(3)
    assert begun(studio) == 1
    place(tmp_path / "go")
    for samples in await read(streams):
        np.testing.assert_array_equal(samples, sine_samples(len(text)))


async def test_more_begin_as_soon_as_the_model_takes_more(bench, studio, capacity, tmp_path):
    streams = [bench.open(f"?until:{tmp_path / 'go'}") for _ in range(5)]
    await eventually(lambda: begun(studio) == 1)
    place(capacity, "3")
    await eventually(lambda: begun(studio) == 3)
    assert bench.workers()[0].slots == 3
    place(capacity, "1")
    await eventually(lambda: bench.workers()[0].slots == 1)
    place(tmp_path / "go")
    await read(streams)
    assert begun(studio) == 5


@pytest.mark.parametrize(("told", "slots"), [("0", 1), ("-3", 1), ("99", 4)])
async def test_a_figure_out_of_range(bench, capacity, told, slots):
    place(capacity, "2")
    await eventually(lambda: bench.workers()[0].slots == 2)
    place(capacity, told)
    await eventually(lambda: bench.workers()[0].slots == slots)
    assert len(await bench.say("abc")) == len(sine_samples(3))


async def test_a_figure_that_breaks_costs_no_worker(bench, capacity):
    [pid] = bench.pids()
    place(capacity, "many")
    await eventually(lambda: bench.workers()[0].slots == 4)
    async with asyncio.timeout(PATIENCE_S):
        await bench.say("abc")
    assert bench.pids() == [pid]


async def test_it_is_among_the_metrics(bench):
    metrics = Metrics()
    metrics.watch(bench.pool)
    [found] = [
        sample
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == "cosystream_worker_slots"
    ]
    assert (found.labels, found.value) == ({"model": "sine"}, 1.0)
