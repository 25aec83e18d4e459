"""Models that are loaded with the first request, and unloaded when nobody needs them."""

import asyncio
import os
import signal

import msgspec
import numpy as np
import pytest
from pool_bench import PATIENCE_S, SINE_INFO, collect, eventually, make_clone, place
from sine_model import sine_samples

from server.errors import ErrorCode, SpeechError
from server.pool.pool import ModelSpec, WorkerPool

pytestmark = pytest.mark.anyio

RECORDING = np.zeros(10, np.float32)


@pytest.fixture
def make_lazy(make_bench, studio):
    """Pools of one lazy model; nothing of them is awaited."""

    async def make(*, settings=None, options=None, **spec):
        spec = studio.spec(lazy=True, info=SINE_INFO, options=options, **spec)
        return await make_bench(spec, ready=False, settings=settings)

    return make


def states(bench):
    return [worker.state for worker in bench.workers()]


async def failure(stream):
    with pytest.raises(SpeechError) as caught:
        await collect(stream)
    return caught.value


# --- The first request -----------------------------------------------------------------------


async def test_a_lazy_model_is_known_and_counts_as_ready_without_a_worker(make_lazy):
    bench = await make_lazy(workers=2)
    await bench.pool.wait_ready(PATIENCE_S)
    assert bench.pool.ready
    assert bench.pool.models == {"sine": SINE_INFO}
    assert states(bench) == ["unloaded", "unloaded"]
    assert bench.seen.lives == []


async def test_the_first_request_loads_it(make_lazy):
    bench = await make_lazy(workers=2)
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    await eventually(lambda: states(bench) == ["ready", "ready"])
    reported = bench.pool.models["sine"]
    assert reported != SINE_INFO
    assert reported.capabilities.cloning


async def test_a_recording_loads_it_too(make_lazy):
    bench = await make_lazy()
    features = await bench.pool.enroll("sine", RECORDING, 16_000, "", PATIENCE_S)
    clone = make_clone(features.decode())
    np.testing.assert_array_equal(
        await bench.say("next", clone=clone), sine_samples(4, voice="sine-2")
    )
    assert bench.seen.lives == ["started"]


async def test_the_server_counts_as_ready_while_a_request_loads_it(make_lazy, tmp_path):
    bench = await make_lazy(options={"loads_with": str(tmp_path / "go")})
    stream = bench.open("next")
    await eventually(lambda: states(bench) == ["starting"])
    assert bench.pool.ready
    place(tmp_path / "go")
    np.testing.assert_array_equal(await collect(stream), sine_samples(4))
    assert bench.pool.ready


async def test_a_loaded_model_that_loses_its_worker_is_not_ready(make_lazy, tmp_path):
    gate = tmp_path / "go"
    place(gate)
    bench = await make_lazy(options={"loads_with": str(gate)})
    await bench.say("next")
    gate.unlink()
    os.kill(bench.pids()[0], signal.SIGKILL)
    await eventually(lambda: not bench.pool.ready)
    place(gate)
    await bench.pool.wait_ready(PATIENCE_S)


async def test_requests_wait_longer_for_a_model_that_is_loaded_for_them(
    make_lazy, studio, tmp_path
):
    settings = {"ready_timeout_s": 0.0, "start_timeout_s": PATIENCE_S}
    bench = await make_lazy(settings=settings, options={"loads_with": str(tmp_path / "go")})
    stream = bench.open("next")
    await eventually(lambda: studio.noted("load"))
    await bench.checked(3)
    place(tmp_path / "go")
    np.testing.assert_array_equal(await collect(stream), sine_samples(4))


async def test_a_request_that_comes_before_the_pool_starts(studio):
    pool = WorkerPool([studio.spec(lazy=True, info=SINE_INFO)])
    recording = asyncio.create_task(pool.enroll("sine", RECORDING, 16_000, "", PATIENCE_S))
    await asyncio.sleep(0)
    await pool.start()
    try:
        assert await recording
    finally:
        await pool.close()


async def test_warming_up_can_be_left_out(make_bench, studio):
    for warm_up, noted in [(False, []), (True, ["warm_up"])]:
        bench = await make_bench(studio.spec(warm_up=warm_up))
        await bench.say("next")
        assert studio.noted("warm_up") == noted


def test_descriptions_that_make_no_sense(studio):
    with pytest.raises(ValueError, match="'sine' is loaded lazily"):
        WorkerPool([studio.spec(lazy=True)])
    with pytest.raises(ValueError, match="under the name 'square'"):
        WorkerPool([studio.spec(info=msgspec.structs.replace(SINE_INFO, name="square"))])


async def test_a_description_lists_a_model_that_is_still_starting(make_bench, studio, tmp_path):
    spec = studio.spec(info=SINE_INFO, options={"loads_with": str(tmp_path / "go")})
    bench = await make_bench(spec, ready=False)
    assert bench.pool.models == {"sine": SINE_INFO}
    assert not bench.pool.ready
    place(tmp_path / "go")
    await bench.pool.wait_ready(PATIENCE_S)
    assert bench.pool.models != {"sine": SINE_INFO}


async def test_audio_is_never_taken_for_another_sample_rate(make_lazy):
    """Whoever opened a stream has taken the description's word for it."""
    bench = await make_lazy(options={"sample_rate_hz": 8000})
    error = await bench.fails("next")
    assert error.code is ErrorCode.MODEL_UNAVAILABLE
    assert "has changed" in error.message
    assert bench.pool.models["sine"].sample_rate_hz == 8000
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4, sample_rate_hz=8000))


# --- Loading fails ---------------------------------------------------------------------------


async def test_all_that_waits_learns_that_a_model_could_not_be_loaded(make_lazy, tmp_path):
    gate = tmp_path / "go"
    settings = {"start_timeout_s": 600.0}
    bench = await make_lazy(workers=2, options={"loads_with": str(gate)}, settings=settings)
    streams = [bench.open("next") for _ in range(3)]
    recording = asyncio.create_task(bench.pool.enroll("sine", RECORDING, 16_000, "", PATIENCE_S))
    await eventually(lambda: states(bench) == ["starting", "starting"])
    place(gate, "no /secret/weights")
    errors = [await failure(stream) for stream in streams]
    with pytest.raises(SpeechError) as caught:
        await recording
    for error in [*errors, caught.value]:
        assert error.code is ErrorCode.MODEL_UNAVAILABLE
        assert error.message == "model 'sine' could not be loaded"
    assert bench.pool.snapshot().streams == bench.pool.queued == 0
    await eventually(lambda: states(bench) == ["unloaded", "unloaded"])
    assert bench.pool.ready


async def test_the_next_request_tries_again(make_lazy, studio, tmp_path):
    gate = tmp_path / "go"
    place(gate, "no weights")
    bench = await make_lazy(options={"loads_with": str(gate)})
    for attempts in (1, 2):
        assert (await bench.fails("next")).code is ErrorCode.MODEL_UNAVAILABLE
        # Nobody asks, nobody tries.
        await bench.checked(3)
        assert len(studio.noted("load")) == attempts
    place(gate)
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert len(studio.noted("load")) == 3


async def test_the_next_attempt_waits_for_the_back_off(make_lazy, studio, tmp_path):
    gate = tmp_path / "go"
    place(gate, "no weights")
    backoff = {"restart_backoff_s": (600.0, 600.0)}
    bench = await make_lazy(options={"loads_with": str(gate)}, settings=backoff)
    assert (await bench.fails("next")).code is ErrorCode.MODEL_UNAVAILABLE
    place(gate)
    stream = bench.open("next")
    await bench.checked(3)
    assert studio.noted("load") == studio.noted("load")[:1]
    assert states(bench) == ["dead"]
    stream.cancel()


async def test_a_load_that_hangs_is_given_up(make_lazy):
    bench = await make_lazy(options={"load": "hang"}, settings={"start_timeout_s": 0.3})
    assert (await bench.fails("next")).code is ErrorCode.MODEL_UNAVAILABLE
    await eventually(lambda: states(bench) == ["unloaded"])


async def test_one_worker_that_does_not_start_does_not_spoil_the_others(make_lazy, tmp_path):
    """Of two workers the first to come may load; the other one is tried again and again."""
    gate = tmp_path / "go"
    bench = await make_lazy(workers=2, options={"loads_with": str(gate)})
    stream = bench.open("next")
    await eventually(lambda: len(bench.started_pids()) == 2)
    os.kill(bench.started_pids()[0], signal.SIGKILL)
    await eventually(lambda: sum(worker.restarts for worker in bench.workers()))
    assert not stream.ended
    place(gate)
    np.testing.assert_array_equal(await collect(stream), sine_samples(4))
    await eventually(lambda: states(bench) == ["ready", "ready"])


# --- Idleness --------------------------------------------------------------------------------

IDLE = {"idle_unload_s": 0.1}


async def test_an_idle_model_is_unloaded_and_comes_back(make_bench, studio):
    bench = await make_bench(studio.spec(workers=2, **IDLE))
    for _ in range(2):
        np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
        await eventually(lambda: states(bench) == ["unloaded", "unloaded"])
        # One worker may have spoken and idled before the other has started.
        assert bench.seen.lives[0] == "started"
        assert bench.seen.lives[-1] == "unloaded"
        bench.seen.lives.clear()
        assert bench.pool.ready
        assert "sine" in bench.pool.models
    await bench.pool.wait_ready(0.0)


async def test_a_model_in_use_stays(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec(options={"run_ahead_s": 0.5}, idle_unload_s=0.01))
    unheard = bench.open("x" * 100)
    await bench.checked(5)
    np.testing.assert_array_equal(await collect(unheard), sine_samples(100))
    recording = asyncio.create_task(
        bench.pool.enroll("sine", RECORDING, 16_000, f"!wait:{tmp_path / 'go'}", PATIENCE_S)
    )
    await eventually(lambda: studio.noted("enroll"))
    await bench.checked(5)
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    # Nobody waits for it any more, but the worker is still at it.
    await bench.checked(5)
    assert "unloaded" not in bench.seen.lives
    place(tmp_path / "go")
    await eventually(lambda: "unloaded" in bench.seen.lives)


async def test_a_request_in_the_moment_of_the_unloading(make_bench, studio):
    """The workers have not been told yet, and must get nothing any more."""
    bench = await make_bench(studio.spec(idle_unload_s=0.01), settings={"check_interval_s": 600.0})
    await asyncio.sleep(0.02)
    [group] = bench.pool._groups.values()
    group.check()
    assert states(bench) == ["ready"]
    stream = bench.open("next")
    recording = asyncio.create_task(bench.pool.enroll("sine", RECORDING, 16_000, "", PATIENCE_S))
    np.testing.assert_array_equal(await collect(stream), sine_samples(4))
    assert await recording
    assert stream.retries == 0
    assert bench.seen.lives == ["started", "unloaded", "started"]


async def test_a_request_that_meets_the_unloading(make_bench, studio):
    """It waits until the old workers are gone: a GPU may have no room for two generations."""
    settings = {"close_timeout_s": 0.5}
    bench = await make_bench(studio.spec(**IDLE), settings=settings)
    [pid] = bench.pids()
    os.kill(pid, signal.SIGSTOP)  # so that its end takes a while
    await eventually(lambda: states(bench) == ["draining"])
    recording = asyncio.create_task(bench.pool.enroll("sine", RECORDING, 16_000, "", PATIENCE_S))
    stream = bench.open("next")
    assert bench.pool.queued == 1
    np.testing.assert_array_equal(await collect(stream), sine_samples(4))
    assert await recording
    assert stream.retries == 0
    assert bench.seen.lives[:3] == ["started", "unloaded", "started"]


async def test_many_requests_on_the_edge_of_idleness(make_bench, studio):
    bench = await make_bench(studio.spec(idle_unload_s=0.001), settings={"check_interval_s": 0.001})
    for _ in range(5):
        np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
        await eventually(lambda: bench.seen.lives[-1] == "unloaded")
    assert bench.seen.retried == 0


async def test_close_during_the_unloading(make_bench, studio):
    bench = await make_bench(studio.spec(**IDLE), settings={"close_timeout_s": 0.5})
    os.kill(bench.pids()[0], signal.SIGSTOP)
    await eventually(lambda: states(bench) == ["draining"])
    stream = bench.open("next")
    await bench.pool.close()
    assert (await failure(stream)).code is ErrorCode.SHUTTING_DOWN
    assert bench.seen.lives == ["started", "unloaded"]


async def test_a_model_that_never_started_is_not_called_idle(make_bench):
    spec = ModelSpec(name="sine", factory="sine_model:SineModel", options={"load": "raise"}, **IDLE)
    bench = await make_bench(spec, ready=False)
    await eventually(lambda: bench.workers()[0].restarts > 3)
    assert states(bench) != ["unloaded"]
    assert not bench.pool.ready


async def test_waiting_for_readiness_of_a_model_that_fell_idle_meanwhile(make_bench, studio):
    specs = [
        msgspec.structs.replace(studio.spec(idle_unload_s=0.01), name="quick"),
        ModelSpec(name="slow", factory="sine_model:SineModel", options={"load": "hang"}),
    ]
    bench = await make_bench(*specs, ready=False)
    await eventually(lambda: "unloaded" in bench.seen.lives)
    with pytest.raises(SpeechError, match="'slow'"):
        await bench.pool.wait_ready(0.05)
