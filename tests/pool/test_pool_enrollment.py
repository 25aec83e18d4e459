"""Recordings that become voices."""

import asyncio
import gc
import os
import signal

import numpy as np
import pytest
from pool_bench import PATIENCE_S, eventually, make_clone, place
from sine_model import sine_samples
from structlog.testing import capture_logs

from server.errors import ErrorCode, SpeechError
from server.pool.enrollment import Enrollment, EnrollmentQueue, WorkerEnrollment
from server.pool.framing import ChannelError
from server.pool.messages import MAX_PAYLOAD_BYTES, Enrolled, EnrollFailed

pytestmark = pytest.mark.anyio

RECORDING = np.float32([0.5, -0.5, 0.25])


def enroll(bench, transcript="", *, samples=RECORDING, timeout_s=PATIENCE_S):
    return bench.pool.enroll("sine", samples, 16_000, transcript, timeout_s)


def begin(bench, transcript, **settings):
    return asyncio.create_task(enroll(bench, transcript, **settings))


async def failure(enrollment):
    """The SpeechError that comes of it."""
    with pytest.raises(SpeechError) as caught:
        await enrollment
    return caught.value


# --- What comes of a recording ---------------------------------------------------------------


async def test_a_recording_becomes_a_voice_that_speaks(make_bench, studio):
    bench = await make_bench(studio.spec())
    features = await enroll(bench, "你好")
    assert features.decode() == "sine-2;3;16000;你好"
    samples = await bench.say("next", clone=make_clone(features.decode()))
    np.testing.assert_array_equal(samples, sine_samples(4, voice="sine-2"))


@pytest.mark.parametrize(
    ("transcript", "code", "message"),
    [
        ("!unsupported", ErrorCode.NOT_SUPPORTED, "the recording says !unsupported"),
        ("!unspeakable", ErrorCode.PARAMETER_INVALID, "the recording says !unspeakable"),
        ("!fail", ErrorCode.MODEL_FAILED, "the recording says !fail"),
        ("!raise", ErrorCode.MODEL_FAILED, "the model failed"),
        ("!large", ErrorCode.MODEL_FAILED, f"longer than {MAX_PAYLOAD_BYTES} bytes"),
    ],
)
async def test_a_recording_of_no_use(make_bench, studio, transcript, code, message):
    bench = await make_bench(studio.spec())
    [pid] = bench.pids()
    with capture_logs() as logs:
        error = await failure(enroll(bench, transcript))
    assert error.code is code
    assert message in error.message
    details = [line["detail"] for line in logs if line["event"] == "enrollment_failed"]
    assert ["the studio burns" in detail for detail in details] == [True] * (transcript == "!raise")
    assert await enroll(bench)
    assert bench.pids() == [pid]


async def test_a_model_that_clones_no_voices_says_so(bench):
    error = await failure(enroll(bench))
    assert error.code is ErrorCode.NOT_SUPPORTED


async def test_recordings_that_no_worker_could_be_told(bench):
    too_long = np.zeros(MAX_PAYLOAD_BYTES // 4 + 1, np.float32)
    error = await failure(enroll(bench, samples=too_long))
    assert error.code is ErrorCode.PARAMETER_INVALID
    with pytest.raises(ValueError, match="one channel"):
        await enroll(bench, samples=np.zeros((2, 5), np.float32))
    error = await failure(bench.pool.enroll("square", RECORDING, 16_000, "", 1.0))
    assert error.code is ErrorCode.MODEL_UNAVAILABLE


async def test_a_long_recording_at_a_high_rate_fits(make_bench, studio):
    bench = await make_bench(studio.spec())
    samples = np.zeros(30 * 192_000, np.float32)
    assert (await enroll(bench, samples=samples)).startswith(b"sine-2;5760000;")


# --- Beside streams, one at a time -----------------------------------------------------------


async def test_a_recording_holds_no_stream_up(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec())
    recording = begin(bench, f"!wait:{tmp_path / 'go'}")
    await eventually(lambda: studio.noted("enroll"))
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    place(tmp_path / "go")
    assert await recording


async def test_each_worker_has_one_recording_at_a_time(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec(workers=2))
    waits = [f"!wait:{tmp_path / name}" for name in "abc"]
    recordings = [begin(bench, wait) for wait in waits]
    await eventually(lambda: len(studio.noted("enroll")) == 2)
    assert set(studio.noted("enroll")) == {f"enroll {wait}" for wait in waits[:2]}
    place(tmp_path / "a")
    await recordings[0]
    await eventually(lambda: studio.noted("enroll")[2:] == [f"enroll {waits[2]}"])
    for name in "bc":
        place(tmp_path / name)
    await asyncio.gather(*recordings)


async def test_a_recording_goes_to_the_worker_with_the_most_room(make_bench, studio):
    bench = await make_bench(studio.spec(workers=2))
    hanging = bench.open("!hang")
    await eventually(lambda: bench.seen.queue_waits_s)
    busy = bench.running_pid()
    assert (await failure(enroll(bench, "!die"))).code is ErrorCode.WORKER_LOST
    assert bench.running_pid() == busy
    hanging.cancel()


async def test_too_many_recordings_are_refused(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec(), settings={"max_enrollments": 1})
    recordings = [begin(bench, f"!wait:{tmp_path / 'go'}") for _ in range(2)]
    await eventually(lambda: studio.noted("enroll"))
    error = await failure(enroll(bench))
    assert error.code is ErrorCode.CAPACITY_EXCEEDED
    assert error.retry_after_s is not None
    place(tmp_path / "go")
    await asyncio.gather(*recordings)


# --- Patience --------------------------------------------------------------------------------


async def test_a_recording_that_takes_too_long(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec())
    wait = f"!wait:{tmp_path / 'go'}"
    error = await failure(enroll(bench, wait, timeout_s=0.05))
    assert error.code is ErrorCode.MODEL_FAILED
    error = await failure(enroll(bench, "behind it", timeout_s=0.05))
    assert error.code is ErrorCode.CAPACITY_EXCEEDED
    place(tmp_path / "go")
    assert await enroll(bench, "next")
    assert studio.noted("enroll") == [f"enroll {wait}", "enroll next"]


async def test_without_a_worker(make_bench, studio):
    bench = await make_bench(studio.spec(options={"load": "hang"}), ready=False)
    error = await failure(enroll(bench, timeout_s=0.05))
    assert error.code is ErrorCode.MODEL_UNAVAILABLE


async def test_a_worker_that_never_answers_is_replaced(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec(), settings={"stall_timeout_s": 0.2})
    [pid] = bench.pids()
    error = await failure(enroll(bench, f"!wait:{tmp_path / 'never'}", timeout_s=0.05))
    assert error.code is ErrorCode.MODEL_FAILED
    assert await enroll(bench, "next")
    assert bench.pids() != [pid]


# --- Callers and workers that leave ----------------------------------------------------------


async def test_what_nobody_waits_for_any_more_is_dropped(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec())
    running, waiting = begin(bench, f"!wait:{tmp_path / 'go'}"), begin(bench, "waiting")
    await eventually(lambda: studio.noted("enroll"))
    for task in (running, waiting):
        task.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    place(tmp_path / "go")
    assert await enroll(bench, "next")
    assert studio.noted("enroll")[1:] == ["enroll next"]
    assert bench.seen.lives == ["started"]


async def test_a_recording_is_lost_with_its_worker(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec())
    recording = begin(bench, f"!wait:{tmp_path / 'go'}")
    await eventually(lambda: studio.noted("enroll"))
    os.kill(bench.pids()[0], signal.SIGKILL)
    assert (await failure(recording)).code is ErrorCode.WORKER_LOST
    assert (await failure(enroll(bench, "!die"))).code is ErrorCode.WORKER_LOST
    assert await enroll(bench)


async def test_a_worker_is_not_recycled_under_a_recording(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec(max_requests=1))
    [pid] = bench.pids()
    recording = begin(bench, f"!wait:{tmp_path / 'go'}")
    await eventually(lambda: studio.noted("enroll"))
    await bench.say("next")
    await eventually(lambda: bench.pids() not in ([], [pid]))
    await bench.checked(10)
    assert bench.seen.lives == ["started", "started"]
    place(tmp_path / "go")
    assert await recording
    await eventually(lambda: "recycled" in bench.seen.lives)


async def test_close_ends_recordings(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec())
    recordings = [begin(bench, f"!wait:{tmp_path / 'never'}") for _ in range(2)]
    await eventually(lambda: studio.noted("enroll"))
    await bench.pool.close()
    for recording in recordings:
        assert (await failure(recording)).code is ErrorCode.SHUTTING_DOWN
    assert (await failure(enroll(bench))).code is ErrorCode.SHUTTING_DOWN


async def test_a_model_is_closed_after_its_last_recording(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec(), settings={"close_timeout_s": PATIENCE_S})
    recording = begin(bench, f"!wait:{tmp_path / 'go'}")
    await eventually(lambda: studio.noted("enroll"))
    closing = asyncio.create_task(bench.pool.close())
    await failure(recording)
    place(tmp_path / "go")
    await closing
    assert studio.noted("close")


# --- Without a worker: what the front keeps of it --------------------------------------------


async def test_an_answer_that_nobody_asked_for_ends_the_channel():
    sent = []
    worker = WorkerEnrollment("sine", send=sent.append, clock=lambda: 0.0)
    with pytest.raises(ChannelError):
        worker.receive(Enrolled(1, b""))
    worker.begin(Enrollment(RECORDING, 16_000, "", 1.0))
    with pytest.raises(ChannelError):
        worker.receive(EnrollFailed(sent[0].call + 1, "failed", "", ""))


async def test_a_failure_in_the_moment_of_a_cancel_troubles_nobody():
    """The test runner raises what asyncio reports of errors that nobody has asked for."""
    queue = EnrollmentQueue("sine", max_waiting=1, ready=lambda: True, offer=lambda: None)
    task = asyncio.create_task(queue.run(Enrollment(RECORDING, 16_000, "", PATIENCE_S)))
    await asyncio.sleep(0)
    queue.fail_all(SpeechError(ErrorCode.WORKER_LOST, "gone"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(queue) == 0
    del task
    gc.collect()


async def test_how_long_a_worker_may_take():
    now_s = 0.0
    worker = WorkerEnrollment("sine", send=lambda message: None, clock=lambda: now_s)
    assert not worker.stalled(10.0)
    recording = Enrollment(RECORDING, 16_000, "", 30.0)
    worker.begin(recording)
    now_s = 30.0
    assert not worker.stalled(10.0)
    now_s = 31.0
    assert worker.stalled(10.0)
    assert not worker.stalled(60.0)
    worker.lose()
    assert not worker.stalled(10.0)
    assert (await failure(recording.features)).code is ErrorCode.WORKER_LOST
