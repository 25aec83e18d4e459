"""What the front knows of a worker's streams, from messages alone."""

import pytest

from models.base import Capabilities, SynthesisRequest
from server.pool.dispatch_table import DispatchTable
from server.pool.messages import (
    Cancel,
    Cancelled,
    ChannelError,
    Computed,
    Finished,
    Parked,
    Recall,
    Resumed,
    Started,
    Synthesize,
)
from server.pool.options import ModelInfo, SilentObserver
from server.pool.stream import PoolStream

STALL_S = 10.0


class Pool:
    """A table, with this as everything around it."""

    def __init__(self, *, slots=1, parked=16):
        self.now_s = 0.0
        self.sent = []
        self.returned = []
        self.lost = []
        info = ModelInfo(
            name="sine",
            sample_rate_hz=1000,
            capabilities=Capabilities(slots=slots, parked=parked, text_stream=True),
            voices=(),
        )
        self.table = DispatchTable(
            info,
            send=self.sent.append,
            listener=self,
            observer=SilentObserver(),
            changed=lambda: None,
            clock=lambda: self.now_s,
        )

    def take(self, **settings):
        """Give the worker a stream; returns its number."""
        stream = PoolStream(
            self,
            model="sine",
            request=SynthesisRequest(voice="sine"),
            text="abc",
            **({"more_text": False, "deadline_s": 0.0} | settings),
        )
        self.table.take(stream)
        order = self.sent.pop()
        assert isinstance(order, Synthesize)
        return order.stream, stream

    def hear(self, *messages):
        for message in messages:
            self.table.receive(message)

    def park(self, count):
        """Have streams that are parked; returns them by number."""
        streams = dict(self.take() for _ in range(count))
        for number in streams:
            self.hear(Started(number), Parked(number))
        return streams

    @property
    def figures(self):
        return self.table.computing, self.table.parked, self.table.free_slots, self.table.room

    def stream_returned(self, stream):
        self.returned.append(stream)

    def stream_lost(self, stream):
        self.lost.append(stream)

    def stream_ended(self, stream):
        """Nothing is to be done."""

    def stream_cancelled(self, stream):
        """Nothing is to be done."""


def test_what_counts_as_computing_in_the_life_of_a_stream():
    pool = Pool()
    number, _ = pool.take()
    assert pool.figures == (1, 0, 0, 1)
    for message, figures in [
        (Started(number), (1, 0, 0, 1)),
        (Parked(number), (0, 1, 1, 2)),
        (Resumed(number), (1, 0, 0, 1)),
        (Computed(number, 0, 0.0), (0, 0, 1, 2)),
        (Finished(number), (0, 0, 1, 2)),
    ]:
        pool.hear(message)
        assert pool.figures == figures


def test_a_stream_that_goes_on_while_its_slot_was_given_away_makes_room_negative():
    pool = Pool()
    pool.park(1)
    pool.take()
    pool.take()
    pool.hear(Resumed(1))
    assert pool.figures == (3, 1 - 1, -2, -1)


def test_a_worker_that_takes_fewer_than_it_has_slots():
    pool = Pool(slots=4)
    assert pool.table.limit(2)
    assert not pool.table.limit(2)
    assert not pool.table.limit(None)
    assert pool.figures == (0, 0, 2, 2 + 1)
    numbers = [pool.take()[0] for _ in range(3)]
    pool.hear(*map(Started, numbers[:2]))
    assert pool.figures == (3, 0, -1, 0), "one waits inside"
    pool.table.limit(1)
    assert pool.figures == (3, 0, -2, -1)
    pool.hear(Computed(numbers[0], 0, 0.0), Computed(numbers[1], 0, 0.0))
    assert pool.figures == (1, 0, 0, 1)
    pool.table.limit(4)
    assert pool.figures == (1, 0, 3, 4)


def test_room_ends_where_no_more_streams_may_be_open():
    pool = Pool(slots=2, parked=3)
    pool.park(4)
    assert pool.figures == (0, 4, 1, 2)
    computing, _ = pool.take()
    pool.hear(Started(computing))
    assert pool.figures == (1, 4, 0, 1), "one may wait inside for the one that computes"
    pool.hear(Parked(computing))
    assert pool.figures == (0, 5, 0, 0)


def test_who_waits_inside_for_a_stream_that_parks_instead_is_called_back():
    pool = Pool(parked=1)
    pool.park(1)
    computing, _ = pool.take()
    waiting, stream = pool.take()
    pool.hear(Started(computing))
    assert pool.sent == []
    pool.hear(Parked(computing))
    assert pool.sent == [Recall(waiting)]
    pool.hear(Cancelled(waiting))
    assert pool.returned == [stream]
    assert pool.figures == (0, 2, 0, 0)


def test_who_waits_inside_for_another_that_computes_stays():
    pool = Pool(slots=2, parked=0)
    first, second, waiting = (pool.take()[0] for _ in range(3))
    pool.hear(Started(first), Started(second), Parked(first))
    assert pool.sent == []
    pool.hear(Parked(second))
    assert pool.sent == [Recall(waiting)]


def test_a_cancelled_parked_stream_leaves_when_the_worker_says_so():
    pool = Pool()
    [(number, stream)] = pool.park(1).items()
    stream.cancel()
    assert pool.sent == [Cancel(number)]
    assert pool.figures == (0, 1, 1, 2)
    pool.hear(Cancelled(number))
    assert pool.figures == (0, 0, 1, 2)
    assert len(pool.table) == 0


def test_a_parked_stream_owes_nothing_until_it_is_cancelled():
    pool = Pool()
    [(number, stream)] = pool.park(1).items()
    pool.now_s = 2 * STALL_S
    assert not pool.table.stalled(STALL_S)
    stream.cancel()
    assert not pool.table.stalled(STALL_S)
    pool.now_s += STALL_S + 1
    assert pool.table.stalled(STALL_S)
    pool.hear(Cancelled(number))
    assert not pool.table.stalled(STALL_S)


def test_a_stream_that_goes_on_owes_its_next_chunk_from_then_on():
    pool = Pool()
    [number] = pool.park(1)
    pool.now_s = 2 * STALL_S
    pool.hear(Resumed(number))
    assert not pool.table.stalled(STALL_S)
    pool.now_s += STALL_S + 1
    assert pool.table.stalled(STALL_S)


def test_a_stream_owes_nothing_before_it_has_all_its_text():
    """A model that reads its text in a thread of its own waits for it without being parked."""
    pool = Pool()
    number, stream = pool.take(more_text=True)
    pool.hear(Started(number))
    pool.now_s = 2 * STALL_S
    assert not pool.table.stalled(STALL_S)
    stream.append_text("def", last=True)
    assert not pool.table.stalled(STALL_S)
    pool.now_s += STALL_S + 1
    assert pool.table.stalled(STALL_S)


def test_a_stream_that_waits_for_text_in_its_own_thread_owes_its_next_chunk_from_then_on():
    pool = Pool()
    number, stream = pool.take(more_text=True)
    pool.hear(Started(number), Parked(number))
    stream.append_text("def", last=True)
    pool.now_s = 2 * STALL_S
    # Others hold the slots.
    assert not pool.table.stalled(STALL_S)
    pool.hear(Resumed(number))
    assert not pool.table.stalled(STALL_S)
    pool.now_s += STALL_S + 1
    assert pool.table.stalled(STALL_S)


def test_parked_streams_are_lost_with_their_worker():
    pool = Pool()
    streams = pool.park(3)
    streams.pop(2).cancel()
    pool.table.lose_all()
    assert pool.lost == list(streams.values())
    assert pool.figures == (0, 0, 1, 2)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([Parked(1)], id="parked before it began"),
        pytest.param([Started(1), Resumed(1)], id="resumed without being parked"),
        pytest.param([Started(1), Parked(1), Parked(1)], id="parked twice"),
        pytest.param([Started(1), Parked(1), Computed(1, 0, 0.0)], id="computed while parked"),
        pytest.param([Started(1), Started(1)], id="started twice"),
        pytest.param([Parked(2)], id="unknown"),
    ],
)
def test_what_cannot_follow_ends_the_channel(messages):
    pool = Pool()
    pool.take()
    with pytest.raises(ChannelError):
        pool.hear(*messages)
