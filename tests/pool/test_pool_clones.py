"""Cloned voices on their way to the workers."""

import os
import signal

import numpy as np
import pytest
from pool_bench import collect, eventually, make_clone
from sine_model import sine_samples
from structlog.testing import capture_logs

from models.base import SynthesisRequest
from server.errors import ErrorCode, SpeechError
from server.pool.clones import GivenVoices
from server.pool.messages import MAX_PAYLOAD_BYTES, AddVoice, RemoveVoice

OCTAVE = sine_samples(4, voice="sine-2")
"""What a clone makes of four characters."""


class BrokenClone:
    """A clone whose features cannot be had."""

    voice = make_clone().voice

    def __init__(self, error):
        self._error = error

    @property
    def features(self):
        raise self._error


# --- What a worker is given, without one -----------------------------------------------------


@pytest.fixture
def sent():
    return []


@pytest.fixture
def given(sent):
    return GivenVoices(sent.append)


def test_a_clone_is_sent_once(given, sent):
    clone = make_clone()
    given.give(clone)
    given.give(clone)
    assert sent == [AddVoice(clone.voice, clone.features)]


def test_the_same_voice_read_again_is_not_sent_again(given, sent):
    given.give(make_clone("sine"))
    given.give(make_clone("sine"))
    assert len(sent) == 1


def test_a_replaced_voice_is_sent_again(given, sent):
    given.give(make_clone("sine"))
    given.give(make_clone("sine-2"))
    given.give(make_clone("sine"))
    assert [message.features for message in sent] == [b"sine", b"sine-2", b"sine"]


def test_a_removed_voice_is_forgotten_when_nobody_uses_it(given, sent):
    clone = make_clone()
    given.give(clone)
    given.remove(clone.voice.name)
    given.remove("never given")
    given.sweep(["sine", clone.voice.name])
    assert len(sent) == 1
    given.sweep(["sine"])
    assert sent[1:] == [RemoveVoice(clone.voice.name)]
    assert not given.to_sweep
    given.give(clone)
    assert sent[2:] == [AddVoice(clone.voice, clone.features)]


def test_a_voice_that_replaces_a_removed_one_stays(given, sent):
    given.give(make_clone("sine"))
    given.remove("clone-1")
    given.give(make_clone("sine-2"))
    given.sweep([])
    assert [type(message) for message in sent] == [AddVoice, AddVoice]


def test_features_that_cannot_be_had(given, sent):
    with pytest.raises(SpeechError, match="gone"):
        given.give(BrokenClone(SpeechError(ErrorCode.VOICE_UNKNOWN, "gone")))
    with capture_logs() as logs, pytest.raises(SpeechError) as caught:
        given.give(BrokenClone(FileNotFoundError("/secret/place")))
    assert caught.value.code is ErrorCode.INTERNAL
    assert "secret" not in caught.value.message
    assert [line["event"] for line in logs] == ["clone_unreadable"]
    assert sent == []


def test_features_that_are_too_long_for_a_message(given, sent):
    with pytest.raises(SpeechError, match="too large"):
        given.give(make_clone("x" * (MAX_PAYLOAD_BYTES + 1)))
    assert sent == []


# --- With workers ----------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_clone_speaks(make_bench, studio):
    bench = await make_bench(studio.spec())
    clone, other = make_clone(), make_clone("sine", name="clone-2")
    for _ in range(3):
        np.testing.assert_array_equal(await bench.say("next", clone=clone), OCTAVE)
    np.testing.assert_array_equal(await bench.say("next", clone=other), sine_samples(4))
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert studio.noted("add") == ["add clone-1", "add clone-2"]


@pytest.mark.anyio
async def test_every_worker_is_given_a_clone_once(make_bench, studio):
    bench = await make_bench(studio.spec(workers=2))
    clone = make_clone()
    for _ in range(3):
        streams = [bench.open("next", clone=clone) for _ in range(4)]
        for stream in streams:
            np.testing.assert_array_equal(await collect(stream), OCTAVE)
    assert studio.noted("add") == ["add clone-1"] * 2


@pytest.mark.anyio
async def test_a_replaced_clone_speaks_anew(make_bench, studio):
    bench = await make_bench(studio.spec())
    np.testing.assert_array_equal(await bench.say("next", clone=make_clone("sine-2")), OCTAVE)
    np.testing.assert_array_equal(
        await bench.say("next", clone=make_clone("sine")), sine_samples(4)
    )


@pytest.mark.anyio
async def test_a_clone_outlives_its_worker(make_bench, studio):
    bench = await make_bench(studio.spec(options={"compute_delay_s": 0.05}))
    stream = bench.open("next", clone=make_clone())
    await eventually(bench.running_pid)
    os.kill(bench.running_pid(), signal.SIGKILL)
    np.testing.assert_array_equal(await collect(stream), OCTAVE)
    assert stream.retries == 1


@pytest.mark.anyio
async def test_a_recycled_worker_hands_its_clones_on(make_bench, studio):
    bench = await make_bench(studio.spec(max_requests=2))
    clone = make_clone()
    for _ in range(2):
        np.testing.assert_array_equal(await bench.say("next", clone=clone), OCTAVE)
    await eventually(lambda: "recycled" in bench.seen.lives)
    assert studio.noted("add") == ["add clone-1"]
    np.testing.assert_array_equal(await bench.say("next", clone=clone), OCTAVE)
    assert studio.noted("add") == ["add clone-1"] * 2


@pytest.mark.anyio
async def test_a_recalled_stream_takes_its_clone_along(make_bench, studio):
    """It waits inside a worker that hangs when the other one falls idle."""
    bench = await make_bench(studio.spec(workers=2, options={"run_ahead_s": 0.5}))
    hanging, parked = bench.open("!hang"), bench.open("x" * 100)
    moved = bench.open("next", clone=make_clone())
    assert bench.pool.queued == 0
    await collect(parked)
    np.testing.assert_array_equal(await collect(moved), OCTAVE)
    assert studio.noted("add") == ["add clone-1"] * 2
    hanging.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("!refuse", "the features are damaged"),
        ("!raise", "the model failed to take the voice up"),
    ],
)
async def test_a_clone_that_the_model_refuses(make_bench, studio, features, message):
    bench = await make_bench(studio.spec())
    [pid] = bench.pids()
    clone = make_clone(features)
    for _ in range(2):
        error = await bench.fails("next", clone=clone)
        assert (error.code, error.message) == (ErrorCode.MODEL_FAILED, message)
    np.testing.assert_array_equal(await bench.say("next", clone=make_clone()), OCTAVE)
    assert bench.pids() == [pid]


@pytest.mark.anyio
async def test_a_clone_is_offered_again_until_the_model_takes_it(make_bench, studio, tmp_path):
    bench = await make_bench(studio.spec())
    clone = make_clone(f"!refuse-once:{tmp_path / 'once'}")
    assert (await bench.fails("next", clone=clone)).message == "come again"
    np.testing.assert_array_equal(await bench.say("next", clone=clone), OCTAVE)
    np.testing.assert_array_equal(await bench.say("next", clone=clone), OCTAVE)
    assert len(studio.noted("add")) == 2


@pytest.mark.anyio
async def test_a_model_without_clones_says_so(bench):
    error = await bench.fails("next", clone=make_clone())
    assert error.code is ErrorCode.NOT_SUPPORTED
    assert "does not clone voices" in error.message


@pytest.mark.anyio
async def test_a_clone_that_cannot_be_read_fails_its_own_stream_only(make_bench, studio):
    bench = await make_bench(studio.spec())
    busy = bench.open("ab", more_text=True)
    with capture_logs():
        error = await bench.fails("next", clone=BrokenClone(OSError("no such file")))
    assert error.code is ErrorCode.INTERNAL
    busy.append_text("cd", last=True)
    np.testing.assert_array_equal(await collect(busy), sine_samples(4))
    assert bench.pool.snapshot().streams == 0


@pytest.mark.anyio
async def test_a_clone_belongs_to_the_request_that_names_it(bench):
    with pytest.raises(ValueError, match="clone-1"):
        bench.pool.open(
            "sine", SynthesisRequest(voice="sine"), "abc", deadline_s=0.0, clone=make_clone()
        )


@pytest.mark.anyio
async def test_a_removed_clone_is_unknown_everywhere(make_bench, studio):
    bench = await make_bench(studio.spec(workers=2))
    streams = [bench.open("next", clone=make_clone()) for _ in range(4)]
    for stream in streams:
        await collect(stream)
    bench.pool.remove_voice("clone-1")
    bench.pool.remove_voice("never heard of")
    for _ in range(4):
        error = await bench.fails("next", voice="clone-1")
        assert error.code is ErrorCode.VOICE_UNKNOWN
    assert studio.noted("remove") == ["remove clone-1"] * 2


@pytest.mark.anyio
async def test_streams_with_a_removed_clone_are_spoken_to_their_end(make_bench, studio):
    """One computes, one waits inside the worker, one waits in the queue."""
    bench = await make_bench(studio.spec(options={"compute_delay_s": 0.01}))
    clone = make_clone()
    streams = [bench.open("next", clone=clone) for _ in range(3)]
    assert bench.pool.queued == 1
    bench.pool.remove_voice("clone-1")
    for stream in streams:
        np.testing.assert_array_equal(await collect(stream), OCTAVE)
    await eventually(lambda: studio.noted("remove"))
