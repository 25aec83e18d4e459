"""What models' own guards have met, on its way to the metrics."""

import asyncio

import numpy as np
import pytest
from pool_bench import PATIENCE_S, collect, eventually
from prometheus_client.parser import text_string_to_metric_families
from sine_model import sine_samples

from server.metrics import Metrics

pytestmark = pytest.mark.anyio


async def enroll(bench, transcript):
    return await bench.pool.enroll("sine", np.zeros(10, np.float32), 16_000, transcript, PATIENCE_S)


async def test_they_are_told_before_the_stream_has_ended(make_bench, studio):
    bench = await make_bench(studio.spec())
    for text in ("?silence:2:", "next", "?repeated_token:1:"):
        await bench.say(text)
    assert bench.seen.incidents == [("sine", "silence", 2), ("sine", "repeated_token", 1)]


async def test_those_of_a_recording_are_told_too(make_bench, studio):
    bench = await make_bench(studio.spec())
    assert await enroll(bench, "!incident:clipping")
    assert bench.seen.incidents == [("sine", "clipping", 1)]


async def test_those_of_failed_and_cancelled_streams_are_told_too(make_bench, studio):
    bench = await make_bench(studio.spec(options={"run_ahead_s": 0.5}))
    cancelled = bench.open("?silence:1:" + "x" * 100)
    await anext(cancelled)
    cancelled.cancel()
    await bench.idle()
    await bench.fails("?silence:2:", voice="cosine")
    assert bench.seen.incidents == [("sine", "silence", 1), ("sine", "silence", 2)]


async def test_guards_that_break_cost_no_speech(make_bench, studio):
    bench = await make_bench(studio.spec(options={"guards": "raise"}))
    [pid] = bench.pids()
    for _ in range(2):
        np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
        assert await enroll(bench, "")
    assert bench.pids() == [pid]
    assert bench.seen.incidents == []


async def test_streams_at_once_count_nothing_twice(make_bench, studio):
    bench = await make_bench(studio.spec(options={"slots": 4}))
    texts = ["?silence:3:"] * 8
    await asyncio.gather(*(collect(bench.open(text)) for text in texts))
    await eventually(lambda: sum(count for _, _, count in bench.seen.incidents) == 3 * len(texts))


async def test_what_a_model_holds_comes_with_the_heartbeat(make_bench, studio):
    bench = await make_bench(studio.spec())
    assert await enroll(bench, "")
    metrics = Metrics()
    metrics.watch(bench.pool)
    await eventually(lambda: bench.workers()[0].holdings == {"clones": 0})
    assert 'cosystream_model_holds{model="sine",name="clones"} 0.0' in metrics.render().decode()


async def test_holdings_that_break_cost_no_worker(make_bench, studio):
    bench = await make_bench(studio.spec(options={"guards": "raise"}))
    [pid] = bench.pids()
    for _ in range(3):
        await bench.say("next")
    assert bench.pids() == [pid]
    assert bench.workers()[0].holdings == {}


def test_they_are_counted_by_model_and_name():
    metrics = Metrics()
    metrics.incident("sine", "silence", 2)
    metrics.incident("sine", "silence", 1)
    families = text_string_to_metric_families(metrics.render().decode())
    [counted] = [
        sample
        for family in families
        for sample in family.samples
        if sample.name == "cosystream_model_incidents_total"
    ]
    assert (counted.labels, counted.value) == ({"model": "sine", "name": "silence"}, 3.0)
