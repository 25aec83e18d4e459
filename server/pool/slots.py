"""Who computes in a worker: its slots, and the line of streams that want one.

A stream keeps one thread from its first chunk to its last, but not its slot: while it waits for
its listener, for text or for audio it is parked, and another stream computes. Whoever begins and
whoever goes on stand in one line, first come, first served. At most `Capabilities.parked` streams
are open besides those in slots, and a model may want fewer to compute than it has slots; beyond
that, who wants to begin lets those pass who go on, because only they can end it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from models.base import Capabilities
from models.recognition import RecognizerCapabilities
from server.pool.hosted_stream import AnyTask
from server.pool.messages import Parked, Resumed, WorkerMessage


class Slots:
    """Hands out a worker's slots; there are none before `open`.

    Args:
        start_thread: called for each thread that is needed and does not exist yet; the thread calls
            `next_stream` and `end` in turns, forever.
        send: puts a message on the socket.
    """

    def __init__(
        self, *, start_thread: Callable[[], None], send: Callable[[WorkerMessage], None]
    ) -> None:
        self._start_thread = start_thread
        self._send = send
        self._slots = 0
        self._held = 0
        self._limit = 0
        self._max_open = 0
        self._line: deque[AnyTask] = deque()
        self._begun: deque[AnyTask] = deque()
        self._open = 0
        self._threads = 0
        self._closed = False
        self._changed = threading.Condition()

    # --- The main thread -------------------------------------------------------------------

    def open(self, capabilities: Capabilities | RecognizerCapabilities) -> None:
        """Begin to hand out slots."""
        with self._changed:
            self._slots = self._limit = capabilities.slots
            self._max_open = capabilities.slots + capabilities.parked
            self._hand_out()

    def limit(self, capacity: int) -> None:
        """Let streams begin only while fewer than these hold slots; in any thread."""
        with self._changed:
            self._limit = capacity
            self._hand_out()

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no stream is open; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout_s)

    # --- The reader's thread ---------------------------------------------------------------

    def enter(self, stream: AnyTask) -> None:
        """Let a new stream stand in line."""
        with self._changed:
            self._line.append(stream)
            self._hand_out()

    def leave(self, stream: AnyTask) -> bool:
        """Take a stream out of the line; False if it has begun."""
        with self._changed:
            if stream.begun or stream not in self._line:
                return False
            self._line.remove(stream)
            return True

    def note_cancelled(self) -> None:
        """Wake a cancelled stream that stands in line to go on: it needs no slot to end."""
        with self._changed:
            self._changed.notify_all()

    # --- The streams' threads --------------------------------------------------------------

    def next_stream(self) -> AnyTask:
        """Wait for a stream that has just got a slot, and make it this thread's."""
        with self._changed:
            self._changed.wait_for(lambda: self._begun)
            stream = self._begun.popleft()
        stream.thread = threading.get_ident()
        return stream

    def end(self, stream: AnyTask) -> None:
        """The model is done with a stream, whether it holds a slot or not."""
        with self._changed:
            self._open -= 1
            self._give_back(stream)

    @contextmanager
    def parked(self, stream: AnyTask) -> Iterator[None]:
        """Hold no slot meanwhile; afterwards hold one again, unless the stream is cancelled."""
        # A model may read its text in a thread of its own and compute meanwhile; only the thread
        # that pulls its chunks can tell that it stands still.
        if threading.get_ident() != stream.thread:
            yield
            return
        self._send(Parked(stream.id))
        with self._changed:
            self._give_back(stream)
        yield
        with self._changed:
            self._line.append(stream)
            self._hand_out()
            self._changed.wait_for(lambda: stream.holds_slot or stream.outlet.cancelled)
            if not stream.holds_slot:
                self._line.remove(stream)
                return
        self._send(Resumed(stream.id))

    # --- Under the lock --------------------------------------------------------------------

    def _give_back(self, stream: AnyTask) -> None:
        if stream.holds_slot:
            stream.holds_slot = False
            self._held -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while not self._closed and (stream := self._first_in_line()) is not None:
            self._line.remove(stream)
            self._held += 1
            stream.holds_slot = True
            if not stream.begun:
                self._begin(stream)
        self._changed.notify_all()

    def _first_in_line(self) -> AnyTask | None:
        if self._held >= self._slots:
            return None
        has_room = self._open < self._max_open and self._held < self._limit
        return next((stream for stream in self._line if stream.begun or has_room), None)

    def _begin(self, stream: AnyTask) -> None:
        stream.begun = True
        self._begun.append(stream)
        self._open += 1
        if self._open > self._threads:
            self._threads += 1
            self._start_thread()
