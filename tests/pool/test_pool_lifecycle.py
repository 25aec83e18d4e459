"""How workers come and go: starts that fail, replacement, the end."""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
from pool_bench import collect, eventually
from sine_model import sine_samples

from server.errors import ErrorCode, SpeechError
from server.pool.pool import ModelSpec, WorkerPool

pytestmark = pytest.mark.anyio


# --- The worker does not start ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"options": {"load": "raise"}}, "RuntimeError: the sine cannot be loaded"),
        ({"options": {"load": "exit"}}, "status 3: the sine leaves while it is loaded"),
        ({"options": {"load": "hang"}}, "not ready after 0.5 s"),
        ({"options": {"colour": "red"}}, "unexpected keyword argument 'colour'"),
        ({"factory": "sine_model"}, "'package.module:Name'"),
        ({"factory": "sine_model:sine_samples", "options": {"n_characters": 1}}, "SpeechModel"),
        ({"factory": "no_such_module:Model"}, "no_such_module"),
        ({"interpreter": "/no/such/python"}, "interpreter cannot be started"),
    ],
)
async def test_why_a_model_is_not_ready(make_bench, spec, reason):
    spec = ModelSpec(**({"name": "broken", "factory": "sine_model:SineModel"} | spec))
    # Only what hangs has to run into it; a busy machine needs its time for the others.
    patience_s = 0.5 if spec.options.get("load") == "hang" else 20.0
    bench = await make_bench(spec, ready=False, settings={"start_timeout_s": patience_s})
    # Known once the first try is over, and then in the message of an impatient caller.
    await eventually(lambda: bench.workers()[0].restarts)
    assert not bench.pool.ready
    with pytest.raises(SpeechError) as caught:
        await bench.pool.wait_ready(0.01)
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
    assert "model 'broken'" in caught.value.message
    assert reason in caught.value.message


async def test_a_segment_does_not_wait_forever_for_a_worker(make_bench):
    bench = await make_bench(ready=False, load="hang", settings={"ready_timeout_s": 0.1})
    error = await bench.fails("abc")
    assert error.code is ErrorCode.MODEL_UNAVAILABLE
    assert bench.pool.queued == 0


def test_a_pool_that_makes_no_sense():
    spec = ModelSpec(name="sine", factory="sine_model:SineModel")
    with pytest.raises(ValueError, match="same name"):
        WorkerPool([spec, spec])
    with pytest.raises(TypeError, match="object"):
        WorkerPool([sine_spec(options={"slots": object()})])
    with pytest.raises(ValueError, match="at least one worker"):
        WorkerPool([ModelSpec(name="sine", factory="sine_model:SineModel", workers=0)])


# --- Recycling -------------------------------------------------------------------------------


def sine_spec(**settings):
    return ModelSpec(name="sine", factory="sine_model:SineModel", **settings)


async def test_a_worker_that_served_its_time_has_a_successor_before_it_goes(make_bench):
    bench = await make_bench(sine_spec(max_requests=3, options={"run_ahead_s": 0.5, "slots": 3}))
    [pid] = bench.pids()
    unheard = bench.open("x" * 100)
    streams = [bench.open("abc") for _ in range(2)]
    await eventually(lambda: pid not in bench.pids())
    # The old one drains: it still computes, and takes nothing new.
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert bench.seen.lives == ["started", "started"]
    np.testing.assert_array_equal(await collect(unheard), sine_samples(100))
    for stream in streams:
        np.testing.assert_array_equal(await collect(stream), sine_samples(3))
    await eventually(lambda: "recycled" in bench.seen.lives)
    assert not psutil.pid_exists(pid)


async def test_a_worker_that_grew_too_large_is_replaced(make_bench):
    bench = await make_bench(sine_spec(max_rss_bytes=1))
    await eventually(lambda: "recycled" in bench.seen.lives)
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert "exited" not in bench.seen.lives


# --- The end ---------------------------------------------------------------------------------


async def test_close_ends_streams_and_refuses_new_ones(make_bench):
    bench = await make_bench(run_ahead_s=0.5)
    running, queued = bench.open("x" * 100), [bench.open("abc") for _ in range(3)][-1]
    await bench.pool.close()
    for stream in (running, queued):
        with pytest.raises(SpeechError) as caught:
            await collect(stream)
        assert caught.value.code is ErrorCode.SHUTTING_DOWN
    with pytest.raises(SpeechError) as caught:
        bench.open("abc")
    assert caught.value.code is ErrorCode.SHUTTING_DOWN
    assert bench.seen.lives == ["started", "closed"]


async def test_close_with_grace_lets_streams_end(make_bench):
    bench = await make_bench(run_ahead_s=0.5)
    stream = bench.open("x" * 100)
    closing = asyncio.create_task(bench.pool.close(grace_s=20.0))
    np.testing.assert_array_equal(await collect(stream), sine_samples(100))
    await closing


async def test_close_while_workers_start_fail_and_restart(make_bench):
    specs = [
        sine_spec(options={"load": "hang"}),
        ModelSpec(name="broken", factory="sine_model:SineModel", options={"load": "raise"}),
    ]
    bench = await make_bench(*specs, ready=False)
    await eventually(lambda: any(worker.restarts for worker in bench.workers()))
    await bench.pool.close()
    assert bench.seen.lives.count("started") == len(bench.seen.lives) / 2


async def test_nothing_is_left_after_close(make_bench):
    def open_fds():
        return sorted(Path("/proc/self/fd").iterdir())

    bench = await make_bench()  # what is made once per loop, such as the child watcher, exists now
    await bench.pool.close()
    tasks, fds, children = asyncio.all_tasks(), open_fds(), psutil.Process().children()
    bench = await make_bench(workers=2)
    streams = [bench.open("x" * 100) for _ in range(5)]
    await anext(streams[0])
    os.kill(bench.running_pid(), signal.SIGKILL)
    await eventually(lambda: bench.workers()[0].restarts)
    await bench.pool.close()
    assert asyncio.all_tasks() == tasks
    assert open_fds() == fds
    assert psutil.Process().children() == children
