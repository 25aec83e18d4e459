"""Audio goes in and transcripts come out, by real worker processes."""

import asyncio

import numpy as np
import pytest
from pool_bench import PATIENCE_S, eventually, place
from word_recognizer import sound, words

from models.recognition import RecognitionRequest, RecognizerCapabilities
from server.errors import ErrorCode, SpeechError
from server.limits import RECOGNITION_REPLAY_S, RECOGNITION_WINDOW_S
from server.pool.options import ModelInfo, ModelSpec, RecognizerInfo

pytestmark = pytest.mark.anyio

SINE = ModelSpec(name="sine", factory="sine_model:SineModel")
INFO = RecognizerInfo(name="asr", sample_rate_hz=1000, capabilities=RecognizerCapabilities())
RATE_HZ = 1000


def spec(**settings):
    """The word recogniser; what is no field of a spec is an option of it."""
    fields = {key: settings.pop(key) for key in tuple(settings) if key in ModelSpec.__annotations__}
    return ModelSpec(
        name="asr",
        factory="word_recognizer:WordRecognizer",
        recognizes=True,
        options=settings,
        **fields,
    )


def listen(bench, language=""):
    return bench.pool.recognize("asr", RecognitionRequest(language=language), deadline_s=0.0)


async def texts(stream):
    async with asyncio.timeout(PATIENCE_S):
        return [transcript.text async for transcript in stream]


async def fails(stream):
    with pytest.raises(SpeechError) as caught:
        await texts(stream)
    return caught.value


async def appended(stream, *pieces):
    async with asyncio.timeout(PATIENCE_S):
        for piece in pieces:
            await stream.append(piece)
    return stream


async def test_what_is_understood_comes_while_audio_still_goes_in(make_bench):
    bench = await make_bench(spec())
    stream = await appended(listen(bench), sound(2.5))
    async with asyncio.timeout(PATIENCE_S):
        heard = await anext(stream)
        while heard.text != words(2):
            heard = await anext(stream)
    await appended(stream, sound(0.5))
    stream.finish()
    assert (await texts(stream))[-1] == words(3)
    assert stream.compute_s is not None
    assert bench.seen.syntheses == [(pytest.approx(0.3), stream.compute_s)]
    assert len(bench.seen.queue_waits_s) == 1


async def test_a_stream_of_silence_or_of_nothing_is_an_empty_text(make_bench):
    bench = await make_bench(spec())
    for pieces in ([], [np.zeros(500, np.float32)], [np.zeros(0, np.float32)]):
        stream = await appended(listen(bench), *pieces)
        stream.finish()
        stream.finish()
        assert (await texts(stream))[-1] == ""


async def test_a_recogniser_is_no_model_that_speaks(make_bench):
    bench = await make_bench(SINE, spec())
    assert list(bench.pool.models) == ["sine"]
    assert bench.pool.recognizers["asr"].capabilities.languages == ("en",)
    assert {worker.model for worker in bench.workers()} == {"sine", "asr"}
    for wrong in (
        lambda: bench.open("text", model="asr"),
        lambda: bench.pool.recognize("sine", RecognitionRequest(), deadline_s=0.0),
    ):
        with pytest.raises(SpeechError) as caught:
            wrong()
        assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
    with pytest.raises(SpeechError):
        await bench.pool.enroll("asr", sound(1), RATE_HZ, "", 1.0)


@pytest.mark.parametrize("factory", ["sine_model:SineModel", "word_recognizer:WordRecognizer"])
async def test_the_other_kind_of_model_does_not_start(make_bench, factory):
    recognizes = factory.startswith("sine")
    wrong = ModelSpec(name="asr", factory=factory, recognizes=recognizes)
    bench = await make_bench(wrong, ready=False)
    await eventually(lambda: any(worker.restarts for worker in bench.workers()))
    with pytest.raises(SpeechError, match=r"is no recogniser|is no speech model"):
        await bench.pool.wait_ready(0.01)


async def test_a_description_of_the_other_kind_is_refused(make_bench):
    with pytest.raises(ValueError, match="another kind"):
        await make_bench(
            spec(
                info=ModelInfo(name="asr", sample_rate_hz=1, capabilities=SINE, voices=()),
                lazy=True,
            )
        )


async def test_nothing_runs_before_the_first_audio_is_to_be_heard(make_bench):
    bench = await make_bench(spec(lazy=True, info=INFO))
    assert bench.pool.ready
    assert bench.started_pids() == []
    stream = await appended(listen(bench), sound(1))
    stream.finish()
    assert (await texts(stream))[-1] == words(1)
    assert len(bench.started_pids()) == 1


async def test_nothing_can_be_asked_of_a_recogniser_that_nothing_is_known_of(make_bench):
    bench = await make_bench(spec(), ready=False)
    with pytest.raises(SpeechError) as caught:
        listen(bench)
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE


async def test_another_language_is_refused(make_bench):
    bench = await make_bench(spec())
    assert (await fails(listen(bench, "zh"))).code is ErrorCode.NOT_SUPPORTED


async def test_audio_of_another_shape_or_after_the_end_is_refused(make_bench):
    bench = await make_bench(spec(lazy=True, info=INFO))
    stream = listen(bench)
    with pytest.raises(ValueError, match="one channel"):
        await stream.append(np.zeros((2, 5), np.float32))
    stream.finish()
    with pytest.raises(ValueError, match="has ended"):
        await stream.append(sound(1))


# --- Bounds ----------------------------------------------------------------------------------


async def test_whoever_brings_audio_waits_while_much_of_it_is_unread(make_bench, tmp_path):
    gate = tmp_path / "gate"
    bench = await make_bench(spec(gate=str(gate)))
    stream = listen(bench)
    bringing = asyncio.create_task(stream.append(sound(300)))
    await eventually(lambda: bench.running_pid() is not None)
    await bench.checked(2)
    assert not bringing.done()
    assert stream._unread_samples <= (RECOGNITION_WINDOW_S + 1) * RATE_HZ
    place(gate)
    async with asyncio.timeout(PATIENCE_S):
        await bringing
    stream.finish()
    assert (await texts(stream))[-1] == words(300)


async def test_who_waits_for_audio_leaves_the_slot_to_others(make_bench):
    bench = await make_bench(spec(slots=1))
    streams = [await appended(listen(bench), sound(1)) for _ in range(4)]
    for stream in streams:
        async with asyncio.timeout(PATIENCE_S):
            assert (await anext(stream)).text == words(1)
    await eventually(lambda: bench.parked == 4)
    for stream in streams:
        await appended(stream, sound(1))
        stream.finish()
        assert (await texts(stream))[-1] == words(2)


async def test_a_whole_file_does_not_hold_the_slot_against_live_audio(make_bench):
    bench = await make_bench(spec(slots=1, word_delay_s=0.01))
    file = listen(bench)
    filing = asyncio.create_task(appended(file, sound(300)))
    await eventually(lambda: bench.running_pid() is not None)
    live = await appended(listen(bench), sound(3))
    live.finish()
    assert (await texts(live))[-1] == words(3)
    assert not filing.done()
    await filing
    file.finish()
    assert (await texts(file))[-1] == words(300)


# --- Cancel, death, the end ------------------------------------------------------------------


async def test_a_cancelled_stream_leaves_its_place(make_bench, tmp_path):
    bench = await make_bench(spec(slots=1, parked=0))
    for _ in range(3):
        stream = await appended(listen(bench), sound(1))
        assert (await anext(stream)).text == words(1)
        stream.cancel()
        await stream.append(sound(1))
        stream.finish()
        assert await texts(stream) == []
    await bench.idle()
    assert bench.seen.cancelled == 3


async def test_cancel_wakes_whoever_waits_for_room(make_bench, tmp_path):
    bench = await make_bench(spec(gate=str(tmp_path / "gate")))
    stream = listen(bench)
    bringing = asyncio.create_task(stream.append(sound(500)))
    await eventually(lambda: stream._unread_samples > RECOGNITION_WINDOW_S * RATE_HZ)
    stream.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await bringing
    place(tmp_path / "gate")


async def test_audio_is_heard_again_by_another_worker_if_nothing_was_understood(
    make_bench, tmp_path
):
    place(tmp_path / "fuse", "1")
    bench = await make_bench(spec(fuse=str(tmp_path / "fuse")))
    stream = await appended(listen(bench), np.zeros(15 * RATE_HZ, np.float32), sound(2))
    stream.finish()
    assert (await texts(stream))[-1] == words(2)
    assert stream.retries == 1
    assert bench.seen.retried == 1


async def test_what_was_understood_is_not_taken_back(make_bench, tmp_path):
    place(tmp_path / "fuse", "3")
    bench = await make_bench(spec(fuse=str(tmp_path / "fuse")))
    stream = await appended(listen(bench), sound(2))
    async with asyncio.timeout(PATIENCE_S):
        while (await anext(stream)).text != words(2):
            pass
    await appended(stream, sound(1))
    assert (await fails(stream)).code is ErrorCode.WORKER_LOST
    await stream.append(sound(1))


async def test_long_audio_is_not_kept_for_another_worker(make_bench, tmp_path):
    place(tmp_path / "fuse", "1")
    bench = await make_bench(spec(fuse=str(tmp_path / "fuse")))
    silence = np.zeros(int((RECOGNITION_REPLAY_S + 1) * RATE_HZ), np.float32)
    stream = await appended(listen(bench), silence, sound(1))
    assert (await fails(stream)).code is ErrorCode.WORKER_LOST


async def test_the_end_of_the_pool_is_told(make_bench):
    bench = await make_bench(spec())
    stream = await appended(listen(bench), sound(1))
    await bench.pool.close()
    assert (await fails(stream)).code is ErrorCode.SHUTTING_DOWN
