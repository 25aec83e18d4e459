"""Who computes in a worker, without a process."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pool_bench import PATIENCE_S

from models.base import Capabilities, SynthesisRequest
from server.pool.hosted_stream import HostedStream
from server.pool.messages import Parked, Resumed, Synthesize
from server.pool.outbox import Outbox
from server.pool.slots import Slots


class Worker:
    """Slots, what they sent, and how many threads they asked for."""

    def __init__(self, *, slots=1, parked=2, start_thread=None):
        self.sent = []
        self.threads = 0
        self.slots = Slots(start_thread=start_thread or self.count_thread, send=self.sent.append)
        self.slots.open(Capabilities(slots=slots, parked=parked))

    def count_thread(self):
        self.threads += 1

    def enter(self, number):
        """A new stream arrives."""
        order = Synthesize(number, SynthesisRequest(voice="sine"), "abc", False, 0)
        outbox = Outbox(number, sample_rate_hz=1000, credit_samples=0, send=ignore, forget=ignore)
        stream = HostedStream(order, outbox, self.slots.parked)
        self.slots.enter(stream)
        return stream

    def begin(self, number):
        """A new stream arrives, gets a slot at once, and this thread."""
        stream = self.enter(number)
        assert self.slots.next_stream() is stream
        return stream

    def wait_for_line(self, *streams):
        """Wait until exactly these stand in line."""
        give_up_at = time.monotonic() + PATIENCE_S
        while list(self.slots._line) != list(streams):
            assert time.monotonic() < give_up_at
            time.sleep(0.001)


def ignore(_):
    """Take a message, or a stream's end, without interest."""


@pytest.fixture
def elsewhere():
    """Another thread."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def test_streams_begin_in_order_as_slots_come_free():
    worker = Worker(slots=2)
    streams = [worker.enter(number) for number in range(4)]
    assert [stream.begun for stream in streams] == [True, True, False, False]
    assert worker.slots.next_stream() is streams[0]
    worker.slots.end(streams[0])
    assert [stream.begun for stream in streams] == [True, True, True, False]


def test_fewer_begin_than_there_are_slots_if_the_model_takes_fewer():
    worker = Worker(slots=4)
    worker.slots.limit(2)
    streams = [worker.enter(number) for number in range(4)]
    assert [stream.begun for stream in streams] == [True, True, False, False]
    worker.slots.limit(3)
    assert [stream.begun for stream in streams] == [True, True, True, False]
    worker.slots.limit(1)
    worker.slots.end(streams[0])
    worker.slots.end(streams[1])
    assert not streams[3].begun
    worker.slots.end(streams[2])
    assert streams[3].begun


def test_who_goes_on_does_so_even_if_the_model_takes_fewer_now():
    worker = Worker(slots=2)
    first = worker.begin(1)
    with worker.slots.parked(first):
        second = worker.enter(2)
        worker.slots.limit(1)
        third = worker.enter(3)
        assert second.begun
        assert not third.begun
    assert first.holds_slot
    worker.slots.end(second)
    assert not third.begun
    worker.slots.end(first)
    assert third.begun


def test_who_has_not_begun_can_leave_the_line():
    worker = Worker()
    first, second, third = (worker.enter(number) for number in range(3))
    assert worker.slots.leave(second)
    assert not worker.slots.leave(second)
    assert not worker.slots.leave(first)
    worker.slots.end(first)
    assert third.holds_slot
    assert not second.begun


def test_a_parked_stream_lends_its_slot():
    worker = Worker()
    first = worker.begin(1)
    with worker.slots.parked(first):
        assert not first.holds_slot
        second = worker.enter(2)
        assert second.holds_slot
        worker.slots.end(second)
    assert first.holds_slot
    assert worker.sent == [Parked(1), Resumed(1)]


class ParkedStream:
    """Stream 1 parked in a thread of its own, while stream 2 holds the only slot."""

    def __init__(self, executor):
        self.worker = Worker()
        self.stream = self.worker.enter(1)
        self._woken = threading.Event()
        parked = threading.Event()
        self.result = executor.submit(self._serve, parked)
        assert parked.wait(PATIENCE_S)
        self.other = self.worker.enter(2)
        assert self.other.holds_slot

    def _serve(self, parked):
        stream = self.worker.slots.next_stream()
        with self.worker.slots.parked(stream):
            parked.set()
            self._woken.wait(PATIENCE_S)
        return stream.holds_slot

    def wake(self):
        """Let it want its slot again."""
        before = list(self.worker.slots._line)
        self._woken.set()
        self.worker.wait_for_line(*before, self.stream)


def test_who_goes_on_waits_behind_who_came_before(elsewhere):
    parked = ParkedStream(elsewhere)
    newcomer = parked.worker.enter(3)
    parked.wake()
    parked.worker.slots.end(parked.other)
    assert newcomer.holds_slot
    assert not parked.stream.holds_slot
    parked.worker.slots.end(newcomer)
    assert parked.result.result(PATIENCE_S)


def test_who_goes_on_goes_before_who_came_later(elsewhere):
    parked = ParkedStream(elsewhere)
    parked.wake()
    newcomer = parked.worker.enter(3)
    parked.worker.slots.end(parked.other)
    assert parked.result.result(PATIENCE_S)
    assert not newcomer.begun
    assert parked.worker.sent == [Parked(1), Resumed(1)]


def test_a_cancelled_stream_needs_no_slot_to_end(elsewhere):
    parked = ParkedStream(elsewhere)
    parked.wake()
    parked.stream.cancel()
    parked.worker.slots.note_cancelled()
    assert not parked.result.result(PATIENCE_S)
    assert parked.worker.sent == [Parked(1)]
    parked.worker.slots.end(parked.stream)
    newcomer = parked.worker.enter(3)
    assert not newcomer.begun, "the cancelled stream gave back a slot that it did not hold"
    parked.worker.slots.end(parked.other)
    assert newcomer.holds_slot


def test_who_cannot_begin_beside_parked_streams_lets_those_pass_who_go_on():
    worker = Worker(parked=1)
    first = worker.begin(1)
    with worker.slots.parked(first):
        second = worker.begin(2)
        with worker.slots.parked(second):
            third = worker.enter(3)
            assert not third.begun
        assert second.holds_slot
        assert not third.begun
        worker.slots.end(second)
        assert third.holds_slot
        worker.slots.end(third)
    assert worker.threads == 2


def test_a_thread_of_the_models_own_parks_nothing(elsewhere):
    worker = Worker()
    stream = worker.begin(1)

    def read_text():
        with worker.slots.parked(stream):
            return stream.holds_slot

    assert elsewhere.submit(read_text).result(PATIENCE_S)
    assert worker.sent == []


def test_after_close_nothing_begins_and_idle_is_when_all_have_ended():
    worker = Worker()
    first, second = worker.enter(1), worker.enter(2)
    worker.slots.close()
    assert not worker.slots.wait_idle(0.01)
    worker.slots.end(first)
    assert not second.begun
    assert worker.slots.wait_idle(PATIENCE_S)


def test_many_streams_that_park_again_and_again():
    """Never more compute than there are slots, never more are open than may be, and all end."""
    lock = threading.Lock()
    computing, peak, ended = set(), 0, threading.Semaphore(0)

    def compute(stream):
        nonlocal peak
        with lock:
            computing.add(stream)
            peak = max(peak, len(computing))

    def serve():
        while True:
            stream = worker.slots.next_stream()
            for _ in range(5):
                compute(stream)
                time.sleep(0)
                computing.discard(stream)
                with worker.slots.parked(stream):
                    time.sleep(0)
            worker.slots.end(stream)
            ended.release()

    def start_thread():
        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()

    threads = []
    worker = Worker(slots=2, parked=3, start_thread=start_thread)
    for number in range(40):
        worker.enter(number)
    for _ in range(40):
        assert ended.acquire(timeout=PATIENCE_S)
    assert worker.slots.wait_idle(PATIENCE_S)
    assert peak <= 2
    assert len(threads) <= 5
    for number in range(40):
        mine = [message for message in worker.sent if message.stream == number]
        assert mine == [Parked(number), Resumed(number)] * 5
