"""A stream's way out of the worker, without process or socket."""

import contextlib
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import ModelError, PcmChunk, WordTime
from server.pool.feed import FeedCancelledError, TextFeed
from server.pool.messages import Cancelled, Computed, Failed, Finished, Pcm
from server.pool.outbox import Outbox

RATE_HZ = 1000
FRAME_SAMPLES = 250


class Wire:
    """What an outbox sent."""

    def __init__(self, credit_samples):
        self.messages = []
        self.forgotten = 0
        self.outbox = Outbox(
            7,
            sample_rate_hz=RATE_HZ,
            credit_samples=credit_samples,
            send=self.messages.append,
            forget=self.forget,
        )

    def forget(self, stream):
        assert stream == 7
        self.forgotten += 1

    @property
    def kinds(self):
        return [type(message) for message in self.messages]

    @property
    def samples(self):
        data = b"".join(message.samples for message in self.messages if type(message) is Pcm)
        return np.frombuffer(data, "<f4")


def ramp(n_samples, begin=0):
    return np.arange(begin, begin + n_samples, dtype=np.float32)


def test_audio_within_credit_leaves_at_once_and_the_rest_with_more_credit():
    wire = Wire(credit_samples=300)
    wire.outbox.put(PcmChunk(ramp(200)), 0.1)
    assert wire.samples.size == 200
    wire.outbox.put(PcmChunk(ramp(200, 200)), 0.2)
    assert wire.samples.size == 200
    wire.outbox.grant(99)
    assert wire.samples.size == 200
    wire.outbox.grant(1)
    np.testing.assert_array_equal(wire.samples, ramp(400))
    assert [message.compute_s for message in wire.messages] == [0.1, 0.2]


def test_computed_is_told_before_all_is_delivered():
    wire = Wire(credit_samples=100)
    wire.outbox.put(PcmChunk(ramp(100)), 0.1)
    wire.outbox.put(PcmChunk(ramp(50)), 0.2)
    wire.outbox.complete(0.3)
    assert wire.messages[1:] == [Computed(7, 150, 0.3)]
    wire.outbox.grant(100)
    assert wire.kinds[2:] == [Pcm, Finished]
    assert wire.forgotten == 1


def test_a_long_chunk_is_cut_and_words_go_where_they_end():
    wire = Wire(credit_samples=10_000)
    wire.outbox.put(PcmChunk(ramp(100)), 0.0)
    words = tuple(WordTime(n, n + 1, n * 0.1, end_s) for n, end_s in enumerate([0.05, 0.35, 0.9]))
    wire.outbox.put(PcmChunk(ramp(600), words), 0.0)
    _, *frames = wire.messages
    assert [len(frame.samples) // 4 for frame in frames] == [FRAME_SAMPLES, FRAME_SAMPLES, 100]
    assert [frame.words for frame in frames] == [words[:2], (), words[2:]]


def test_words_without_audio_are_sent_and_nothing_at_all_is_not():
    wire = Wire(credit_samples=100)
    wire.outbox.put(PcmChunk(ramp(0)), 0.0)
    assert wire.messages == []
    word = WordTime(0, 1, 0.0, 0.0)
    wire.outbox.put(PcmChunk(ramp(0), (word,)), 0.0)
    assert [message.words for message in wire.messages] == [(word,)]


def test_other_number_types_become_float32():
    wire = Wire(credit_samples=100)
    wire.outbox.put(PcmChunk(np.array([0.5, -0.25])[::-1]), 0.0)
    np.testing.assert_array_equal(wire.samples, np.float32([-0.25, 0.5]))


@pytest.mark.parametrize(
    "samples",
    [np.float32([0, np.nan]), np.float32([np.inf]), np.zeros((2, 2), np.float32), np.float32(1)],
)
def test_what_is_no_audio_is_refused(samples):
    wire = Wire(credit_samples=100)
    with pytest.raises(ModelError) as caught:
        wire.outbox.put(PcmChunk(samples), 0.0)
    assert caught.value.code == "failed"
    assert wire.messages == []


def test_a_failure_drops_what_waits():
    wire = Wire(credit_samples=0)
    wire.outbox.put(PcmChunk(ramp(100)), 0.0)
    wire.outbox.fail("failed", "flat")
    wire.outbox.grant(100)
    assert wire.messages == [Failed(7, "failed", "flat", "")]


def test_an_outbox_is_full_from_its_limit_on_and_never_while_it_is_empty():
    wire = Wire(credit_samples=0)
    assert not wire.outbox.holds(0)
    wire.outbox.put(PcmChunk(ramp(100)), 0.0)
    assert wire.outbox.holds(0)
    assert wire.outbox.holds(100)
    assert not wire.outbox.holds(101)
    wire.outbox.cancel()
    assert not wire.outbox.holds(0)


@pytest.mark.parametrize("wake", ["grant", "cancel"])
def test_the_model_parks_until_there_is_room_or_a_cancel(wake):
    wire = Wire(credit_samples=0)
    wire.outbox.put(PcmChunk(ramp(100)), 0.0)
    passed = threading.Event()

    def model():
        wire.outbox.wait_for_room(100)
        passed.set()

    thread = threading.Thread(target=model)
    thread.start()
    assert not passed.wait(0.02)
    wire.outbox.grant(100) if wake == "grant" else wire.outbox.cancel()
    thread.join(5)
    assert passed.is_set()


steps = st.lists(
    st.sampled_from(["put", "grant", "complete", "fail", "cancel"]), min_size=1, max_size=12
)


@given(steps)
@settings(max_examples=200, deadline=None)
def test_whatever_happens_a_stream_has_one_end(script):
    """The model ends with `complete` or `fail`, once; what the front says may come at any time."""
    wire = Wire(credit_samples=100)
    model_is_done = False
    for step in [*script, "complete", "grant"]:
        if step == "grant":
            wire.outbox.grant(10_000)
        elif step == "cancel":
            wire.outbox.cancel()
        elif not model_is_done:
            model_is_done = step in ("complete", "fail")
            match step:
                case "put":
                    wire.outbox.put(PcmChunk(ramp(80)), 0.0)
                case "complete":
                    wire.outbox.complete(0.0)
                case "fail":
                    wire.outbox.fail("failed", "flat")
    ends = [kind for kind in wire.kinds if kind in (Finished, Failed, Cancelled)]
    assert len(ends) == wire.forgotten == 1
    assert wire.kinds[-1] is ends[0]
    assert wire.kinds.count(Computed) <= 1
    if ends == [Finished]:
        assert Computed in wire.kinds


def never_parks():
    raise AssertionError("there was text")


def test_a_feed_gives_out_pieces_and_stays_at_its_end():
    feed = TextFeed(never_parks)
    feed.append("a", last=False)
    feed.append("", last=False)
    feed.append("b", last=True)
    assert list(feed) == ["a", "b"]
    assert list(feed) == []


def test_a_cancelled_feed_raises_even_with_text_left():
    feed = TextFeed(never_parks)
    feed.append("a", last=False)
    feed.cancel()
    with pytest.raises(FeedCancelledError):
        next(feed)


def test_a_feed_parks_while_it_has_no_text():
    seen = []

    @contextlib.contextmanager
    def park():
        seen.append("parked")
        feed.append("b", last=True)
        yield
        seen.append("resumed")

    feed = TextFeed(park)
    feed.append("a", last=False)
    seen.append(next(feed))
    seen.append(next(feed))
    assert seen == ["a", "parked", "resumed", "b"]
