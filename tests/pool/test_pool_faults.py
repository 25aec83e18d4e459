"""What happens when models fail and workers die."""

import asyncio
import errno
import os
import signal

import numpy as np
import psutil
import pytest
from pool_bench import collect, eventually
from sine_model import sine_samples
from structlog.testing import capture_logs

from server.errors import ErrorCode, SpeechError
from server.pool.remote import RemoteWorker

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


async def test_a_worker_killed_before_the_first_chunk_is_not_noticed(make_bench):
    bench = await make_bench(workers=2, compute_delay_s=0.05)
    stream = bench.open("abc")
    os.kill(bench.running_pid(), signal.SIGKILL)
    np.testing.assert_array_equal(await collect(stream), sine_samples(3))
    assert stream.retries == bench.seen.retried == 1


async def test_audio_that_came_but_was_not_heard_is_spoken_again(make_bench):
    bench = await make_bench(run_ahead_s=0.5)
    stream = bench.open("x" * 100)
    await eventually(lambda: stream.model_first_chunk_s is not None)
    os.kill(bench.running_pid(), signal.SIGKILL)
    await eventually(lambda: bench.seen.retried)
    np.testing.assert_array_equal(await collect(stream), sine_samples(100))
    assert stream.retries == 1


async def test_text_that_came_in_pieces_is_replayed(make_bench):
    bench = await make_bench()
    stream = bench.open("ab", more_text=True)
    stream.append_text("cd")
    await eventually(lambda: stream.model_first_chunk_s is not None)
    os.kill(bench.running_pid(), signal.SIGKILL)
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
    settings = {"heartbeat_timeout_s": 0.6, "max_retries": 0}
    bench = await make_bench(settings=settings)
    [pid] = bench.pids()
    error = await bench.fails("!stop")
    assert error.code is ErrorCode.WORKER_LOST
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert bench.pids() != [pid]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_model_that_makes_no_progress_is_replaced(make_bench, cancelled):
    """The heartbeat is answered while a model hangs; that it owes a chunk, or its end, tells."""
    settings = {"stall_timeout_s": 0.5, "max_retries": 0}
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


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_model_that_hangs_over_streamed_text_is_replaced(make_bench, cancelled):
    """At the latest when all its text is there, or when nobody wants it any more."""
    settings = {"stall_timeout_s": 0.5, "max_retries": 0}
    bench = await make_bench(settings=settings)
    [pid] = bench.pids()
    stream = bench.open("!hang", more_text=True)
    await eventually(lambda: bench.seen.queue_waits_s)
    if cancelled:
        stream.cancel()
        await eventually(lambda: "exited" in bench.seen.lives)
    else:
        stream.append_text("end", last=True)
        with pytest.raises(SpeechError) as caught:
            await collect(stream)
        assert caught.value.code is ErrorCode.WORKER_LOST
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert bench.pids() != [pid]


async def test_a_model_that_hangs_after_a_wait_for_text_is_replaced(make_bench, studio):
    """It is parked while it waits in its stream's own thread, and owes a chunk again afterwards."""
    settings = {"stall_timeout_s": 0.5, "max_retries": 0}
    bench = await make_bench(studio.spec(), settings=settings)
    stream = bench.open("ab", more_text=True)
    await eventually(lambda: bench.parked == 1)
    stream.append_text("?hang", last=True)
    with pytest.raises(SpeechError) as caught:
        await collect(stream)
    assert caught.value.code is ErrorCode.WORKER_LOST


async def test_streams_that_wait_for_their_client_are_no_stall(make_bench):
    settings = {"stall_timeout_s": 0.5}
    bench = await make_bench(run_ahead_s=0.2, settings=settings)
    unheard, without_text = bench.open("x" * 100), bench.open("ab", more_text=True)
    for _ in range(8):
        await asyncio.sleep(0.1)
        await bench.say("abc")
    without_text.append_text("c", last=True)
    np.testing.assert_array_equal(await collect(without_text), sine_samples(3))
    np.testing.assert_array_equal(await collect(unheard), sine_samples(100))
    assert bench.seen.lives == ["started"]


# --- The watch itself fails ------------------------------------------------------------------

IMPATIENT = {"stall_timeout_s": 0.5, "max_retries": 0}


async def test_workers_are_watched_on_when_the_front_can_open_no_files(make_bench, monkeypatch):
    """What it has seen of their memory stays."""
    bench = await make_bench(settings=IMPATIENT)
    await eventually(lambda: bench.workers()[0].rss_bytes > 0)
    attempts = []

    def out_of_files(_process):
        attempts.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    with capture_logs() as logs:
        monkeypatch.setattr(psutil.Process, "memory_info", out_of_files)
        await eventually(lambda: len(attempts) > 2)
        assert bench.workers()[0].rss_bytes > 0
        assert (await bench.fails("!hang")).code is ErrorCode.WORKER_LOST
    assert "worker_check_failed" not in [line["event"] for line in logs]


async def test_a_check_that_breaks_leaves_the_other_workers_watched(make_bench, monkeypatch):
    bench = await make_bench(settings=IMPATIENT, workers=2)
    check, [first, _] = RemoteWorker.check, bench.pids()

    def broken_for_the_first(worker):
        if worker.pid == first:
            raise RuntimeError("broken")
        check(worker)

    monkeypatch.setattr(RemoteWorker, "check", broken_for_the_first)
    hanging = [bench.open("!hang"), bench.open("!hang")]
    with capture_logs() as logs:
        await eventually(lambda: any(stream.ended for stream in hanging))
    assert "worker_check_failed" in [line["event"] for line in logs]
    [lost] = [stream for stream in hanging if stream.ended]
    with pytest.raises(SpeechError) as caught:
        await collect(lost)
    assert caught.value.code is ErrorCode.WORKER_LOST
