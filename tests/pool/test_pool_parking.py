"""Streams that wait for their listener, or for text, and hold no slot meanwhile."""

import asyncio
import os
import signal

import numpy as np
import psutil
import pytest
from pool_bench import collect, eventually
from sine_model import computed_chunks, sine_samples

from server.errors import ErrorCode, SpeechError
from server.pool.pool import ModelSpec

pytestmark = pytest.mark.anyio

LONG = "x" * 100
"""10 s, of which a worker with RUN_AHEAD_S computes CHUNKS of 0.1 s if nobody listens."""
RUN_AHEAD_S = 0.5
CHUNKS = 25
"""2 s of credit are sent, 0.5 s wait in the worker."""


class Deaf:
    """A pool with streams that nobody listens to yet, in workers with a single slot each."""

    def __init__(self, bench, counter, count):
        self.bench = bench
        self.streams = [bench.open(LONG) for _ in range(count)]
        self._counter = counter

    @property
    def computed(self):
        return computed_chunks(self._counter)

    async def parked(self):
        await eventually(lambda: self.bench.parked == len(self.streams))
        return self

    async def heard(self):
        """Hear all of them out at once."""
        for samples in await asyncio.gather(*(collect(stream) for stream in self.streams)):
            np.testing.assert_array_equal(samples, sine_samples(len(LONG)))


@pytest.fixture
def make_deaf(make_bench, tmp_path):
    async def make(count, *, workers=1, settings=None, max_requests=0, **model_options):
        counter = tmp_path / "chunks"
        spec = ModelSpec(
            name="sine",
            factory="sine_model:SineModel",
            workers=workers,
            max_requests=max_requests,
            options={"run_ahead_s": RUN_AHEAD_S, "counter_path": str(counter)} | model_options,
        )
        bench = await make_bench(spec, settings=settings)
        return Deaf(bench, counter, count)

    return make


# --- Slow listeners --------------------------------------------------------------------------


async def test_more_deaf_listeners_than_slots_stall_no_one(make_deaf):
    deaf = await (await make_deaf(5)).parked()
    assert deaf.computed == 5 * CHUNKS
    for _ in range(3):
        np.testing.assert_array_equal(await deaf.bench.say("x" * 30), sine_samples(30))
    assert deaf.computed == 5 * CHUNKS + 3 * 30
    await deaf.heard()
    assert deaf.bench.parked == 0
    await deaf.bench.idle()


async def test_a_parked_stream_goes_on_when_half_of_its_run_ahead_was_taken(make_deaf):
    """2 s are sent and 2 s wait; what is heard is granted anew by half seconds."""
    deaf = await (await make_deaf(1, run_ahead_s=2.0)).parked()
    [stream] = deaf.streams
    heard = [(await anext(stream)).samples for _ in range(10)]
    await deaf.bench.say("x")
    assert deaf.computed == 40 + 1
    heard += [(await anext(stream)).samples for _ in range(5)]
    await eventually(lambda: deaf.computed == 40 + 1 + 15)
    await deaf.parked()
    heard.append(await collect(stream))
    np.testing.assert_array_equal(np.concatenate(heard), sine_samples(len(LONG)))


async def test_listeners_that_play_in_turns_share_one_slot(make_deaf):
    deaf = await (await make_deaf(4)).parked()
    heard = {stream: [] for stream in deaf.streams}
    for _ in range(len(LONG)):
        for stream, samples in heard.items():
            samples.append((await anext(stream)).samples)
    for samples in heard.values():
        np.testing.assert_array_equal(np.concatenate(samples), sine_samples(len(LONG)))


async def test_parked_streams_are_spread_over_the_workers(make_deaf):
    deaf = await make_deaf(0, workers=2)
    for count in range(1, 7):
        deaf.streams.append(deaf.bench.open(LONG))
        await deaf.parked()
        counts = [worker.parked for worker in deaf.bench.workers()]
        assert sorted(counts) == [count // 2, (count + 1) // 2]
    await deaf.heard()


async def test_no_more_streams_are_open_than_slots_and_parked_ones(make_deaf):
    deaf = await make_deaf(6, parked=2)
    await eventually(lambda: (deaf.bench.parked, deaf.bench.pool.queued) == (3, 3))
    assert deaf.computed == 3 * CHUNKS
    deaf.streams.pop(0).cancel()
    await eventually(lambda: (deaf.bench.parked, deaf.bench.pool.queued) == (3, 2))
    assert deaf.computed == 4 * CHUNKS
    await deaf.heard()
    assert deaf.computed == CHUNKS + 5 * len(LONG)


async def test_a_model_that_allows_no_parked_streams_keeps_its_slot_for_the_one(make_deaf):
    deaf = await make_deaf(2, parked=0)
    await eventually(lambda: (deaf.bench.parked, deaf.bench.pool.queued) == (1, 1))
    assert deaf.computed == CHUNKS
    await deaf.heard()


async def test_what_cannot_begin_beside_parked_streams_moves_to_another_worker(make_deaf):
    """Both workers are full of parked streams, the second one until its listener wakes up."""
    deaf = await make_deaf(4, workers=2, parked=1)
    await deaf.parked()
    moved = deaf.bench.open("abc")
    assert deaf.bench.pool.queued == 1
    np.testing.assert_array_equal(await collect(deaf.streams.pop()), sine_samples(len(LONG)))
    np.testing.assert_array_equal(await collect(moved), sine_samples(3))
    await deaf.heard()


# --- Cancel, death, recycling, the end -------------------------------------------------------


async def test_cancel_of_parked_streams_frees_all_that_they_held(make_deaf):
    deaf = await (await make_deaf(5)).parked()
    for stream in deaf.streams:
        stream.cancel()
    await deaf.bench.idle()
    assert deaf.computed == 5 * CHUNKS
    count = "sum(type(o).__name__ == 'HostedStream' for o in __import__('gc').get_objects())"
    assert (await deaf.bench.fails(f"!see:{count}")).message == "1"
    assert deaf.bench.seen.cancelled == 5
    np.testing.assert_array_equal(await deaf.bench.say("next"), sine_samples(4))


async def test_cancel_of_one_parked_stream_leaves_the_others(make_deaf):
    deaf = await (await make_deaf(3)).parked()
    deaf.streams.pop(1).cancel()
    await deaf.parked()
    await deaf.heard()


async def test_cancel_of_a_stream_that_wants_to_go_on_does_not_wait_for_a_slot(make_deaf):
    deaf = await (await make_deaf(1, compute_delay_s=0.01)).parked()
    [stream] = deaf.streams
    computing = deaf.bench.open("x" * 1000)
    consumer = asyncio.create_task(collect(computing))
    await eventually(lambda: computing.model_first_chunk_s is not None)
    for _ in range(10):
        await anext(stream)
    computed = deaf.computed
    await eventually(lambda: deaf.computed > computed + 2)
    stream.cancel()
    await eventually(lambda: deaf.bench.parked == 0)
    assert not computing.ended
    computing.cancel()
    await consumer


async def test_a_worker_killed_with_parked_streams(make_deaf):
    deaf = await (await make_deaf(3)).parked()
    heard = deaf.streams.pop(0)
    await anext(heard)
    os.kill(deaf.bench.running_pid(), signal.SIGKILL)
    with pytest.raises(SpeechError) as caught:
        await collect(heard)
    assert caught.value.code is ErrorCode.WORKER_LOST
    await deaf.parked()
    assert deaf.bench.seen.retried == 2
    np.testing.assert_array_equal(await deaf.bench.say("next"), sine_samples(4))
    await deaf.heard()


async def test_a_worker_with_parked_streams_is_recycled_when_they_have_been_heard(make_deaf):
    deaf = await make_deaf(3, max_requests=3)
    [pid] = deaf.bench.pids()
    await eventually(lambda: deaf.bench.pids() not in ([], [pid]))
    np.testing.assert_array_equal(await deaf.bench.say("next"), sine_samples(4))
    assert deaf.bench.seen.lives == ["started", "started"]
    await deaf.heard()
    await eventually(lambda: "recycled" in deaf.bench.seen.lives)
    assert not psutil.pid_exists(pid)


async def test_close_ends_parked_streams(make_deaf):
    deaf = await (await make_deaf(3)).parked()
    await deaf.bench.pool.close()
    for stream in deaf.streams:
        with pytest.raises(SpeechError) as caught:
            await collect(stream)
        assert caught.value.code is ErrorCode.SHUTTING_DOWN
    assert deaf.bench.seen.lives == ["started", "closed"]


# --- Text that is still coming ---------------------------------------------------------------


async def test_streams_that_wait_for_text_stall_no_one(make_bench):
    bench = await make_bench()
    streams = [bench.open("ab", more_text=True) for _ in range(3)]
    await eventually(lambda: bench.parked == 3)
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    for piece in ("c", "de"):
        for stream in streams:
            stream.append_text(piece)
    for stream in streams:
        stream.append_text("f", last=True)
        np.testing.assert_array_equal(await collect(stream), sine_samples(6))
    await bench.idle()


async def test_cancel_of_streams_that_wait_for_text(make_bench):
    bench = await make_bench()
    streams = [bench.open("ab", more_text=True) for _ in range(3)]
    await eventually(lambda: bench.parked == 3)
    for stream in streams:
        stream.cancel()
    await bench.idle()
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
