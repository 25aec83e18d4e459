"""The frames between front and worker, without a socket."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Capabilities, SynthesisRequest, Voice, WordTime
from models.recognition import RecognitionRequest, RecognizerCapabilities, Transcript
from server.pool import framing, messages

REQUEST = SynthesisRequest(voice="龙小淳", language="zh", seed=7)
FROM_FRONT = [
    messages.Synthesize(1, REQUEST, "你好，世界。", False, 48_000),
    messages.AppendText(1, "再见", True),
    messages.GrantCredit(1, 12_000),
    messages.Cancel(2**40),
    messages.Recall(3),
    messages.Ping(),
    messages.Close(),
    messages.AddVoice(Voice(name="clone-1", language="zh", kind="clone"), b"\0\xff"),
    messages.RemoveVoice("clone-1"),
    messages.Enroll(1, np.float32([0.5, -0.5]).tobytes(), 24_000, "你好"),
    messages.Recognize(5, RecognitionRequest(language="en", punctuation=False)),
    messages.AppendAudio(5, np.float32([0.5, -0.5]).tobytes(), True),
]
FROM_WORKER = [
    messages.Ready(24_000, Capabilities(slots=3), (Voice(name="a", language="zh"),)),
    messages.StartFailed("no weights"),
    messages.Started(1),
    messages.Pcm(1, np.float32([0.5, -0.5]).tobytes(), (WordTime(0, 2, 0.0, 0.1),), 0.01),
    messages.Computed(1, 2, 0.02),
    messages.Finished(1),
    messages.Failed(2, "voice_unknown", "there is no such voice", ""),
    messages.Cancelled(3),
    messages.Pong(),
    messages.Parked(4),
    messages.Resumed(4),
    messages.Enrolled(1, b"\0\xff"),
    messages.EnrollFailed(1, "text_unspeakable", "nothing is said", ""),
    messages.Incidents({"silence": 2}),
    messages.RecognizerReady(16_000, RecognizerCapabilities(languages=("en",))),
    messages.AudioTaken(5, 1600),
    messages.Heard(5, Transcript("stop", 4, 0.5), 0.01),
]


def feed(buffer, data):
    """Receive `data` as a reader would; returns copies of the payloads found."""
    found = []
    while data:
        room = buffer.writable()
        n_bytes = min(len(room), len(data))
        room[:n_bytes] = data[:n_bytes]
        data = data[n_bytes:]
        found += [bytes(payload) for payload in buffer.received(n_bytes)]
    return found


@pytest.mark.parametrize("message", FROM_FRONT, ids=lambda message: type(message).__name__)
def test_what_the_front_says_arrives_unchanged(message):
    [payload] = feed(framing.FrameBuffer(), messages.encode(message))
    assert messages.decode_from_front(memoryview(payload)) == message


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda message: type(message).__name__)
def test_what_a_worker_says_arrives_unchanged(message):
    [payload] = feed(framing.FrameBuffer(), messages.encode(message))
    assert messages.decode_from_worker(memoryview(payload)) == message


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_it_does_not_matter_how_the_bytes_are_cut(data):
    sent = data.draw(st.lists(st.sampled_from(FROM_WORKER), max_size=12))
    wire = b"".join(messages.encode(message) for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    buffer = framing.FrameBuffer()
    payloads = []
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        payloads += feed(buffer, wire[begin:end])
    assert [messages.decode_from_worker(memoryview(payload)) for payload in payloads] == sent


def test_a_frame_larger_than_the_buffer_makes_it_grow():
    large = messages.Synthesize(1, REQUEST, "长" * 300_000, False, 1)
    wire = messages.encode(large) + messages.encode(messages.Ping())
    first, second = feed(framing.FrameBuffer(), wire)
    assert messages.decode_from_front(memoryview(first)) == large
    assert messages.decode_from_front(memoryview(second)) == messages.Ping()


def test_a_frame_beyond_the_bound_is_refused_on_both_ends():
    with pytest.raises(framing.ChannelError, match="longer than a frame"):
        messages.encode(messages.AppendText(1, "x" * (framing.MAX_FRAME_BYTES + 1), True))
    header = (framing.MAX_FRAME_BYTES + 1).to_bytes(4, "little")
    with pytest.raises(framing.ChannelError, match="longer than a frame"):
        feed(framing.FrameBuffer(), header)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xc1", id="no MessagePack"),
        pytest.param(b"\x93\x01\x02\x03", id="fields of the wrong type"),
        pytest.param(b"\x91\x63", id="an unknown tag"),
        pytest.param(bytes(messages.encode(messages.Pong())[4:]), id="the other side's message"),
    ],
)
def test_what_is_no_message_is_refused(payload):
    with pytest.raises(framing.ChannelError):
        messages.decode_from_front(memoryview(payload))
