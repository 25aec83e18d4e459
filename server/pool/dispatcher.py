"""Which worker gets which segment, and what becomes of it.

Segments wait by playback deadline, each goes to the worker of its model with the most room, and one
whose worker dies before any of it was heard is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from server.errors import ErrorCode, SpeechError
from server.pool.group import ModelGroup
from server.pool.options import ModelSpec, PoolObserver, PoolOptions
from server.pool.scheduler import Scheduler
from server.pool.worker_stream import AnyStream


class Dispatcher:
    """All open segments, and the models that they are for.

    Args:
        specs: the models, with distinct names.
        options: the pool's.
        observer: hears figures.
        clock: monotonic seconds.

    Raises:
        ValueError: two models have one name, or one makes no sense.
        TypeError: a model's options cannot be told to a worker.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        options: PoolOptions,
        *,
        observer: PoolObserver,
        clock: Callable[[], float],
    ) -> None:
        self.groups = {
            spec.name: ModelGroup(spec, options, observer=observer, listener=self, clock=clock)
            for spec in specs
        }
        """The models by name."""
        if len(self.groups) < len(specs):
            raise ValueError("two models have the same name")
        self.no_streams = asyncio.Event()
        """No segment is open."""
        self.no_streams.set()
        self._options = options
        self._observer = observer
        self._clock = clock
        self._scheduler: Scheduler[AnyStream] = Scheduler(clock)

    @property
    def queued(self) -> int:
        """Segments that wait for a worker."""
        return len(self._scheduler)

    def waiting(self, model: str) -> int:
        """Those of them that wait for one model's."""
        return self._scheduler.waiting(model)

    @property
    def streams(self) -> list[AnyStream]:
        """Segments that have not ended."""
        return [stream for group in self.groups.values() for stream in group.streams]

    def accept(self, stream: AnyStream) -> None:
        """Take up a new segment.

        Raises:
            ValueError: its deadline is not finite.
        """
        group = self.groups[stream.model]
        self._queue(stream)
        group.streams.add(stream)
        self.no_streams.clear()
        self.group_changed(group)

    def interrupt_all(self, error: SpeechError) -> None:
        """End all segments."""
        self._scheduler.clear()
        for stream in self.streams:
            stream.interrupt(error)

    def fail_overdue(self) -> None:
        """End the segments that have waited for too long without any ready worker."""
        for name, group in self.groups.items():
            if not group.ready:
                loading = group.loading
                overdue = self._scheduler.overdue(
                    name, loading.patience_s, since_s=loading.down_since_s
                )
                self._fail(overdue, _unavailable(f"model {name!r} has no ready worker"))

    def _queue(self, stream: AnyStream) -> None:
        self._scheduler.offer(stream, stream.model, stream.deadline_s)
        stream.offered_at_s = self._clock()
        self.groups[stream.model].loading.need()

    def _fail(self, streams: Iterable[AnyStream], error: SpeechError) -> None:
        for stream in streams:
            stream.fail(error)
            self.stream_ended(stream)

    # --- What streams say ------------------------------------------------------------------

    def reprioritize(self, stream: AnyStream, deadline_s: float) -> None:
        """Change a waiting stream's deadline."""
        self._scheduler.update(stream, stream.model, deadline_s)
        stream.deadline_s = deadline_s

    def stream_cancelled(self, stream: AnyStream) -> None:
        """Forget a stream that its consumer gave up."""
        self._scheduler.remove(stream, stream.model)
        self._observer.synthesis_cancelled(stream.model)
        self.stream_ended(stream)

    def stream_ended(self, stream: AnyStream) -> None:
        """Forget a stream that has finished or failed."""
        self.groups[stream.model].stream_ended(stream)
        if not any(group.streams for group in self.groups.values()):
            self.no_streams.set()

    # --- What groups and workers say -------------------------------------------------------

    def stream_lost(self, stream: AnyStream) -> None:
        """Try a dead worker's stream again, if its consumer has nothing of it."""
        if not stream.repeatable or stream.retries >= self._options.max_retries:
            message = "the worker that was at it has died"
            stream.fail(SpeechError(ErrorCode.WORKER_LOST, message))
            self.stream_ended(stream)
            return
        stream.retries += 1
        stream.detach()
        self._observer.segment_retried(stream.model)
        self.stream_returned(stream)

    def stream_returned(self, stream: AnyStream) -> None:
        """Queue a stream again, with its old deadline."""
        self._queue(stream)
        self.group_changed(self.groups[stream.model])

    def group_changed(self, group: ModelGroup) -> None:
        """Give waiting segments to workers with room."""
        while (worker := group.roomiest()) is not None:
            stream = self._scheduler.take(group.spec.name)
            if stream is None:
                group.balance()
                return
            worker.take(stream)

    def load_failed(self, group: ModelGroup) -> None:
        """Fail all that waits for a model that was to be loaded for it."""
        name = group.spec.name
        error = _unavailable(f"model {name!r} could not be loaded")
        group.fail_enrollments(error)
        self._fail(self._scheduler.take_all(name), error)


def _unavailable(message: str) -> SpeechError:
    return SpeechError(ErrorCode.MODEL_UNAVAILABLE, message)
