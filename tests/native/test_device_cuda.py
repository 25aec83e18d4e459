"""What a CUDA lane asks torch for, of a torch.cuda that only takes notes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from models.native.device import cuda
from models.native.device.cuda import CudaLane, open_lane
from models.native.device.graphs import Graphs
from models.native.device.lane import HostLane

GIB = 1 << 30


class Stream:
    def __init__(self, device: torch.device, *, priority: int) -> None:
        self.device = device
        self.priority = priority


class Event:
    """Reached when the driver says so."""

    def __init__(self, driver: Driver, *, enable_timing: bool = False, blocking: bool = False):
        self.driver = driver
        self.enable_timing = enable_timing
        self.blocking = blocking
        self.stream: Stream | None = None

    def record(self) -> None:
        self.stream = self.driver.current
        self.driver.events.append(self)

    def query(self) -> bool:
        assert self.stream is not None
        return self.driver.idle

    def synchronize(self) -> None:
        assert self.stream is not None
        self.driver.idle = True

    def elapsed_time(self, end: Event) -> float:
        assert self.enable_timing
        assert end.enable_timing
        return 250.0


class Graph:
    replays = 0

    def replay(self) -> None:
        self.replays += 1


class Driver:
    """In place of `torch.cuda`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.current: Stream | None = None
        self.captures: list[tuple[Graph, Any, Stream | None]] = []
        self.events: list[Event] = []
        self.allocated: list[int] = []
        self.idle = False
        self.free_bytes = 70 * GIB
        for name, fake in {
            "Stream": Stream,
            "Event": lambda **options: Event(self, **options),
            "CUDAGraph": Graph,
            "graph_pool_handle": object,
            "stream": self.in_stream,
            "graph": self.capture,
            "empty_cache": lambda: None,
            "mem_get_info": lambda _: (self.free_bytes, 80 * GIB),
        }.items():
            patch.setattr(torch.cuda, name, fake)
        patch.setattr(cuda, "_locked", self.locked)

    def locked(self, n_bytes: int) -> torch.Tensor:
        self.allocated.append(n_bytes)
        return torch.empty(n_bytes, dtype=torch.uint8)

    @contextmanager
    def in_stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextmanager
    def capture(self, graph: Graph, *, pool: object, stream: Stream) -> Iterator[None]:
        with self.in_stream(stream):
            yield
        self.free_bytes -= 9 * GIB
        self.captures.append((graph, pool, stream))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def lane_of(*, urgent: bool = False) -> CudaLane:
    return CudaLane(torch.device("cpu"), urgent=urgent)


def test_decoding_goes_first(driver: Driver) -> None:
    urgent, usual = lane_of(urgent=True), lane_of()
    with urgent.current():
        assert driver.current is not None
        first = driver.current.priority
        with usual.current():
            assert driver.current.priority > first
    assert isinstance(open_lane(torch.device("cpu")), HostLane)


def test_what_is_sent_stays_until_it_has_been_copied(driver: Driver) -> None:
    lane = lane_of()
    with lane.current():
        for number in range(3):
            values = torch.arange(number, number + 1000).view(10, 100)
            assert torch.equal(lane.send(values), values)
        assert len(driver.allocated) == 3  # none of them has been copied
        driver.idle = True
        for _ in range(5):
            lane.send(torch.ones(1000))
    assert len(driver.allocated) == 3


def test_what_is_fetched_is_waited_for_and_the_takers_own(driver: Driver) -> None:
    lane = lane_of()
    with lane.current():
        fetched = lane.fetch(torch.arange(4))
        assert not driver.idle
        found = fetched.take()
        assert driver.idle
        lane.fetch(torch.zeros(4, dtype=torch.int64)).take()
    assert found.tolist() == [0, 1, 2, 3]
    assert len(driver.allocated) == 1


def test_a_mark_can_be_slept_on_and_knows_its_time(driver: Driver) -> None:
    lane = lane_of()
    with lane.current():
        begin, end = lane.mark(), lane.mark()
    assert not end.reached()
    end.wait()
    assert end.reached()
    assert end.seconds_since(begin) == 0.25
    assert all(event.blocking and event.stream is not None for event in driver.events)


def test_graphs_of_a_lane_share_its_stream_and_memory_up_to_a_share(driver: Driver) -> None:
    lane = lane_of()
    graphs = Graphs(lane)
    with lane.current(), graphs.capturing():
        for size in range(1, 4):
            graphs.run("unit", None, lambda x: (2 * x,), (torch.ones(size),))
    # A fifth of 80 GiB, and 9 GiB each.
    assert (graphs.n_captured, graphs.n_left_out) == (2, 1)
    (first, pool, stream), (_, other_pool, other_stream) = driver.captures
    assert pool is other_pool
    assert stream is other_stream is not None
    graphs.run("unit", None, lambda x: (2 * x,), (torch.ones(1),))
    assert first.replays == 1


def test_captures_leave_a_reserve(driver: Driver) -> None:
    driver.free_bytes = 7 * GIB
    assert not lane_of().has_room()
