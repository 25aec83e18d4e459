"""What happens when models fail and workers die, and how workers come and go."""

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


# --- The model fails, the worker goes on -----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "voice", "code", "message"),
    [
        ("!raise", "sine", ErrorCode.MODEL_FAILED, "the model failed"),
        ("!raise-after:2", "sine", ErrorCode.MODEL_FAILED, "the model failed"),
        ("!fail", "sine", ErrorCode.MODEL_FAILED, "the sine is flat"),
        ("!nan", "sine", ErrorCode.MODEL_FAILED, "audio that is not a number"),
        ("!unsupported", "sine", ErrorCode.NOT_SUPPORTED, "a sine cannot do this"),
        ("hello", "cosine", ErrorCode.VOICE_UNKNOWN, "there is no voice 'cosine'"),
    ],
)
async def test_a_failure_has_a_code_and_the_same_worker_serves_on(
    bench, text, voice, code, message
):
    [pid] = bench.pids()
    error = await bench.fails(text, voice=voice)
    assert error.code is code
    assert message in error.message
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert bench.pids() == [pid]


async def test_a_traceback_stays_out_of_the_public_message(bench):
    error = await bench.fails("!raise")
    assert "sine" not in error.message


async def test_audio_before_a_failure_is_still_heard(bench):
    stream = bench.open("!nan")
    first = await anext(stream)
    np.testing.assert_array_equal(first.samples, sine_samples(1))
    with pytest.raises(SpeechError):
        await anext(stream)
    with pytest.raises(SpeechError):
        await anext(stream)


async def test_text_that_cannot_be_spoken_is_silence_and_no_error(bench):
    assert (await bench.say("!unspeakable")).size == 0
    assert [audio_s for audio_s, _ in bench.seen.syntheses] == [0.0]


# --- The worker dies -------------------------------------------------------------------------


def running_pid(bench):
    return next((worker.pid for worker in bench.workers() if worker.running), None)


async def test_a_worker_killed_before_the_first_chunk_is_not_noticed(make_bench):
    bench = await make_bench(workers=2, compute_delay_s=0.05)
    stream = bench.open("abc")
    os.kill(running_pid(bench), signal.SIGKILL)
    np.testing.assert_array_equal(await collect(stream), sine_samples(3))
    assert stream.retries == bench.seen.retried == 1


async def test_audio_that_came_but_was_not_heard_is_spoken_again(make_bench):
    bench = await make_bench(run_ahead_s=0.5)
    stream = bench.open("x" * 100)
    await eventually(lambda: stream.model_first_chunk_s is not None)
    os.kill(running_pid(bench), signal.SIGKILL)
    await eventually(lambda: bench.seen.retried)
    np.testing.assert_array_equal(await collect(stream), sine_samples(100))
    assert stream.retries == 1


async def test_text_that_came_in_pieces_is_replayed(make_bench):
    bench = await make_bench()
    stream = bench.open("ab", more_text=True)
    stream.append_text("cd")
    await eventually(lambda: stream.model_first_chunk_s is not None)
    os.kill(running_pid(bench), signal.SIGKILL)
    await eventually(lambda: bench.seen.retried)
    stream.append_text("ef", last=True)
    np.testing.assert_array_equal(await collect(stream), sine_samples(6))


async def test_a_worker_killed_after_audio_was_heard_loses_the_stream(make_bench):
    bench = await make_bench(run_ahead_s=0.5)
    [pid] = bench.pids()
    stream = bench.open("x" * 100)
    await anext(stream)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SpeechError) as caught:
        await collect(stream)
    assert caught.value.code is ErrorCode.WORKER_LOST
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    [successor] = bench.pids()
    assert successor != pid
    assert bench.workers()[0].restarts == 1
    assert bench.seen.lives == ["started", "exited", "started"]


@pytest.mark.parametrize("text", ["!die", "!die-after:3"])
async def test_a_text_that_kills_workers_is_given_up_after_two_retries(make_bench, text):
    bench = await make_bench()
    stream = bench.open(text)
    await eventually(lambda: stream.ended)
    with pytest.raises(SpeechError) as caught:
        await collect(stream)
    assert caught.value.code is ErrorCode.WORKER_LOST
    assert bench.seen.retried == 2
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))


async def test_a_cancelled_stream_of_a_dead_worker_is_not_tried_again(make_bench):
    bench = await make_bench()
    stream = bench.open("!hang")
    stream.cancel()
    os.kill(bench.workers()[0].pid, signal.SIGKILL)
    await eventually(lambda: "exited" in bench.seen.lives)
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert bench.seen.retried == 0


async def test_a_process_that_does_not_answer_is_replaced(make_bench):
    """SIGSTOP: the socket stays open, so that only the heartbeat can tell."""
    settings = {"heartbeat_timeout_s": 0.3, "max_retries": 0}
    bench = await make_bench(settings=settings)
    [pid] = bench.pids()
    error = await bench.fails("!stop")
    assert error.code is ErrorCode.WORKER_LOST
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert bench.pids() != [pid]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_model_that_makes_no_progress_is_replaced(make_bench, cancelled):
    """The heartbeat is answered while a model hangs; that it owes a chunk, or its end, tells."""
    settings = {"stall_timeout_s": 0.3, "max_retries": 0}
    bench = await make_bench(settings=settings)
    [pid] = bench.pids()
    stream = bench.open("!hang")
    if cancelled:
        await eventually(lambda: bench.seen.queue_waits_s)
        stream.cancel()
        await eventually(lambda: "exited" in bench.seen.lives)
    else:
        with pytest.raises(SpeechError) as caught:
            await collect(stream)
        assert caught.value.code is ErrorCode.WORKER_LOST
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert bench.pids() != [pid]


async def test_streams_that_wait_for_their_client_are_no_stall(make_bench):
    settings = {"stall_timeout_s": 0.15}
    bench = await make_bench(slots=3, run_ahead_s=0.2, settings=settings)
    unheard, without_text = bench.open("x" * 100), bench.open("ab", more_text=True)
    for _ in range(10):
        await asyncio.sleep(0.05)
        await bench.say("abc")
    without_text.append_text("c", last=True)
    np.testing.assert_array_equal(await collect(without_text), sine_samples(3))
    np.testing.assert_array_equal(await collect(unheard), sine_samples(100))
    assert bench.seen.lives == ["started"]


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
    bench = await make_bench(spec, ready=False, settings={"start_timeout_s": 0.5})
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
    os.kill(running_pid(bench), signal.SIGKILL)
    await eventually(lambda: bench.workers()[0].restarts)
    await bench.pool.close()
    assert asyncio.all_tasks() == tasks
    assert open_fds() == fds
    assert psutil.Process().children() == children
