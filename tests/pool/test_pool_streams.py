"""What comes out of a stream, and what its consumer can do to it."""

import asyncio
import time

import numpy as np
import pytest
from pool_bench import collect, eventually
from sine_model import computed_chunks, sine_samples

from server.errors import ErrorCode, SpeechError
from server.pool.messages import FRAME_AUDIO_S
from server.pool.pool import ModelSpec

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("voice", ["sine", "sine-2"])
async def test_chunks_join_to_the_right_audio(bench, voice):
    samples = await bench.say("twelve chars", voice=voice)
    np.testing.assert_array_equal(samples, sine_samples(12, voice=voice))


async def test_a_ready_model_is_described(make_bench):
    bench = await make_bench(slots=2, sample_rate_hz=8000)
    info = bench.pool.models["sine"]
    assert info.sample_rate_hz == 8000
    assert info.capabilities.slots == 2
    assert [voice.name for voice in info.voices] == ["sine", "sine-2"]


async def test_a_large_chunk_travels_in_small_frames_with_its_words(make_bench):
    bench = await make_bench(chunk_s=10.0)
    chunks = [chunk async for chunk in bench.open("a text of chars")]
    assert max(chunk.samples.size for chunk in chunks) <= FRAME_AUDIO_S * 24_000
    np.testing.assert_array_equal(
        np.concatenate([chunk.samples for chunk in chunks]), sine_samples(15)
    )
    end_s = 0.0
    words = []
    for chunk in chunks:
        end_s += chunk.samples.size / 24_000
        words += chunk.words
        assert all(word.end_s <= end_s + 1e-9 for word in chunk.words)
    assert [(word.text_begin, word.text_end) for word in words] == [(n, n + 1) for n in range(15)]


async def test_many_streams_at_once_keep_their_audio_apart(make_bench):
    bench = await make_bench(workers=2, slots=2)
    texts = ["x" * (1 + n % 7) for n in range(40)]
    heard = await asyncio.gather(
        *(bench.say(text, voice=["sine", "sine-2"][n % 2]) for n, text in enumerate(texts))
    )
    for n, text in enumerate(texts):
        expected = sine_samples(len(text), voice=["sine", "sine-2"][n % 2])
        np.testing.assert_array_equal(heard[n], expected)
    assert bench.pool.snapshot().streams == 0


async def test_figures_of_a_stream_and_for_the_observer(make_bench):
    bench = await make_bench(compute_delay_s=0.01)
    stream = bench.open("0123456789")
    await collect(stream)
    assert stream.queue_wait_s >= 0
    assert 0.01 <= stream.model_first_chunk_s < stream.compute_s
    assert stream.compute_s >= 10 * 0.01
    assert bench.seen.queue_waits_s == [stream.queue_wait_s]
    assert bench.seen.first_chunks_s == [stream.model_first_chunk_s]
    assert bench.seen.syntheses == [(1.0, stream.compute_s)]


# --- Backpressure ----------------------------------------------------------------------------


async def test_a_computed_stream_holds_no_slot_while_it_waits_to_be_heard(make_bench):
    bench = await make_bench(slots=1, run_ahead_s=60.0)
    unheard = bench.open("x" * 100)
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    np.testing.assert_array_equal(await collect(unheard), sine_samples(100))


# --- Cancel ----------------------------------------------------------------------------------


async def test_cancel_stops_the_model_and_frees_its_slot(make_bench, tmp_path):
    counter = tmp_path / "chunks"
    bench = await make_bench(compute_delay_s=0.01, counter_path=str(counter))
    stream = bench.open("x" * 10_000)
    await anext(stream)
    stream.cancel()
    stream.cancel()
    await bench.idle()
    computed = computed_chunks(counter)
    await bench.say("x" * 10)
    assert computed_chunks(counter) == computed + 10
    assert [chunk async for chunk in stream] == []
    assert bench.seen.cancelled == 1


async def test_cancel_wakes_a_model_that_waits_for_room(make_bench, tmp_path):
    counter = tmp_path / "chunks"
    bench = await make_bench(run_ahead_s=0.5, counter_path=str(counter))
    stream = bench.open("x" * 100)
    await eventually(lambda: computed_chunks(counter) == 25)
    stream.cancel()
    await bench.say("x" * 10)
    assert computed_chunks(counter) == 25 + 10


async def test_cancel_wakes_a_model_that_waits_for_text(bench):
    stream = bench.open("x", more_text=True)
    await anext(stream)
    stream.cancel()
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))


async def test_cancel_of_a_computed_stream_drops_its_audio(make_bench):
    bench = await make_bench(run_ahead_s=60.0)
    stream = bench.open("x" * 100)
    await bench.idle()
    assert bench.seen.syntheses
    stream.cancel()
    assert [chunk async for chunk in stream] == []
    assert bench.pool.snapshot().streams == 0
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))


async def test_cancel_of_streams_that_have_not_begun(make_bench, tmp_path):
    counter = tmp_path / "chunks"
    bench = await make_bench(run_ahead_s=60.0, compute_delay_s=0.002, counter_path=str(counter))
    running = bench.open("x" * 100)
    inside_worker, queued = bench.open("x" * 10), bench.open("x" * 10)
    assert bench.pool.queued == 1
    inside_worker.cancel()
    queued.cancel()
    assert bench.pool.queued == 0
    np.testing.assert_array_equal(await collect(running), sine_samples(100))
    await bench.idle()
    assert computed_chunks(counter) == 100


async def test_cancel_ends_a_consumer_that_waits(make_bench):
    bench = await make_bench()
    stream = bench.open("!hang")
    consumer = asyncio.create_task(collect(stream))
    await asyncio.sleep(0)
    stream.cancel()
    assert (await consumer).size == 0


# --- Text that is still coming ---------------------------------------------------------------


async def test_audio_comes_before_the_last_text(bench):
    stream = bench.open("abc", more_text=True)
    heard = [(await anext(stream)).samples for _ in range(3)]
    stream.append_text("")
    stream.append_text("de")
    heard += [(await anext(stream)).samples for _ in range(2)]
    stream.append_text("fgh", last=True)
    heard += [chunk.samples async for chunk in stream]
    np.testing.assert_array_equal(np.concatenate(heard), sine_samples(8))


async def test_text_may_come_before_a_worker_has_the_stream(make_bench):
    bench = await make_bench(ready=False)
    stream = bench.open("", more_text=True)
    stream.append_text("abc")
    stream.append_text("d", last=True)
    np.testing.assert_array_equal(await collect(stream), sine_samples(4))


async def test_a_model_that_cannot_take_text_piece_by_piece_says_so(make_bench):
    bench = await make_bench(text_stream=False)
    error = await bench.fails("abc", more_text=True)
    assert error.code is ErrorCode.NOT_SUPPORTED
    assert "'sine'" in error.message


async def test_text_after_the_end_is_a_mistake_but_not_after_a_failure(bench):
    whole = bench.open("abc")
    with pytest.raises(ValueError, match="text has ended"):
        whole.append_text("d")
    await collect(whole)
    pieces = bench.open("!raise", more_text=True)
    with pytest.raises(SpeechError):
        await collect(pieces)
    pieces.append_text("nobody hears this", last=True)


async def test_waiting_for_text_is_not_the_models_time(bench):
    began_at = time.monotonic()
    stream = bench.open("", more_text=True)
    await eventually(lambda: bench.seen.queue_waits_s)
    await asyncio.sleep(0.1)
    stream.append_text("abc", last=True)
    await collect(stream)
    assert stream.compute_s < time.monotonic() - began_at - 0.09


# --- The queue -------------------------------------------------------------------------------


async def begun_in_order(bench, streams):
    """Consume all; the names of the streams in the order in which they began."""
    await asyncio.gather(*(collect(stream) for stream in streams.values()))
    waits = {name: stream.queue_wait_s for name, stream in streams.items()}
    return sorted(waits, key=waits.get)


async def test_the_queue_goes_by_deadline_and_deadlines_can_change(make_bench):
    bench = await make_bench(run_ahead_s=0.5)
    running = bench.open("x" * 100)
    inside_worker = bench.open("x", deadline_s=9.0)
    streams = {
        name: bench.open("x", deadline_s=deadline_s)
        for name, deadline_s in [("late", 3.0), ("early", 1.0), ("middle", 2.0), ("last", 4.0)]
    }
    streams["last"].reprioritize(0.5)
    assert bench.pool.queued == 4
    await collect(running)
    await collect(inside_worker)
    assert await begun_in_order(bench, streams) == ["last", "early", "middle", "late"]


async def test_a_full_queue_refuses_at_once(make_bench):
    bench = await make_bench(settings={"max_queued": 2})
    streams = [bench.open("!hang") for _ in range(1 + 1 + 2)]
    with pytest.raises(SpeechError) as caught:
        bench.open("one too many")
    assert caught.value.code is ErrorCode.CAPACITY_EXCEEDED
    assert caught.value.retry_after_s is not None
    streams[-1].cancel()
    bench.open("there is room again")


async def test_a_full_queue_of_one_model_does_not_idle_another(make_bench):
    specs = [
        ModelSpec(name=name, factory="sine_model:SineModel", options={"name": name})
        for name in ("busy", "idle")
    ]
    bench = await make_bench(*specs, settings={"max_queued": 1})
    for _ in range(3):
        bench.open("!hang", model="busy")
    np.testing.assert_array_equal(await bench.say("abc", model="idle"), sine_samples(3))


async def test_a_segment_that_waits_inside_a_busy_worker_moves_to_an_idle_one(make_bench):
    bench = await make_bench(workers=2, run_ahead_s=0.5)
    hanging, parked = bench.open("!hang"), bench.open("x" * 100)
    moved = bench.open("abc")
    assert bench.pool.queued == 0
    await collect(parked)
    np.testing.assert_array_equal(await collect(moved), sine_samples(3))
    hanging.cancel()


async def test_what_cannot_be_opened(bench):
    with pytest.raises(SpeechError) as caught:
        bench.open("abc", model="square")
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
    with pytest.raises(ValueError, match="finite"):
        bench.open("abc", deadline_s=float("nan"))
    assert bench.pool.snapshot().streams == 0
