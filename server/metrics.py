"""Prometheus metrics, with buckets set by hand around the targets of `docs/benchmarks.md`."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from server.errors import ErrorCode
from server.pool.pool import WorkerPool, WorkerSnapshot
from server.speech.types import SessionSummary
from server.version import __version__

_LATENCY_S = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.2, 0.3, 0.5, 0.8, 1.2,
    2.0, 5.0, 10.0,
)  # fmt: skip
_GAP_S = (0.001, 0.005, 0.02, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 1.0, 3.0)
_FACTOR = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 3.0)


class Metrics:
    """All metrics of one server, in a registry of its own.

    It is also the observer of the pool (`server.pool.pool.PoolObserver`) and of accounts
    (`server.accounts.AccountObserver`).
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        PlatformCollector(registry=self.registry)
        ProcessCollector(registry=self.registry)
        self._build = self._gauge("build_info", "The running version.", ["version"])
        self._build.labels(__version__).set(1)
        self._first_audio = self._histogram(
            "first_audio_seconds", "First text of a task to its first audio bytes.", _LATENCY_S
        )
        self._added = self._histogram(
            "server_added_latency_seconds",
            "First audio minus the wait for text and the model's own first chunk.",
            _LATENCY_S,
        )
        self._gap = self._histogram(
            "chunk_gap_seconds", "Time between two audio frames of a sentence.", _GAP_S
        )
        self._factor = self._histogram(
            "real_time_factor", "Seconds of computing per second of audio, by task.", _FACTOR
        )
        self._underruns = self._counter(
            "underruns", "Times that a player without any buffer would have run dry."
        )
        self._sessions = self._counter("sessions", "Tasks that ended.", ["protocol", "outcome"])
        self._refused = self._counter("sessions_refused", "Tasks that did not start.", ["code"])
        self._audio = self._counter("audio_seconds", "Speech sent.")
        self._heard = self._counter("heard_seconds", "Audio that came to be recognised.")
        self._characters = self._counter("characters", "Characters of text taken.")
        self._key_characters = self._counter(
            "key_characters", "Characters of text taken from a key.", ["key"]
        )
        self._key_over_quota = self._counter(
            "key_over_quota", "Times that a key asked for more than its quota.", ["key"]
        )
        self._queue_wait = self._histogram(
            "queue_wait_seconds", "Time a segment waited for a worker.", _LATENCY_S, ["model"]
        )
        self._model_first = self._histogram(
            "model_first_chunk_seconds", "The model's own time to a segment's first chunk.",
            _LATENCY_S, ["model"],
        )  # fmt: skip
        self._compute = self._counter("synthesis_seconds", "Time that models computed.", ["model"])
        self._model_audio = self._counter("model_audio_seconds", "Speech computed.", ["model"])
        self._cancelled = self._counter(
            "cancelled_syntheses", "Segments stopped before their end.", ["model"]
        )
        self._retries = self._counter(
            "segment_retries", "Segments given to another worker.", ["model"]
        )
        self._starts = self._counter("worker_starts", "Workers that became ready.", ["model"])
        self._stops = self._counter("worker_stops", "Workers that ended.", ["model", "reason"])
        self._incidents = self._counter(
            "model_incidents", "What models' own guards have met.", ["model", "name"]
        )
        self._active = self._gauge("active_sessions", "Tasks under way.")
        self._connections = self._gauge("connections", "Open WebSocket and Wyoming connections.")

    # --- What sessions and endpoints tell ----------------------------------------------------

    def session_started(self) -> None:
        """A task was admitted."""
        self._active.inc()

    def session_ended(self, protocol: str, outcome: str, summary: SessionSummary) -> None:
        """A task is over: completed, cancelled, or the code of its error."""
        self._active.dec()
        self._sessions.labels(protocol, outcome).inc()
        self._audio.inc(summary.audio_s)
        self._characters.inc(summary.characters)
        self._underruns.inc(summary.underruns)
        if summary.first_audio_s is not None:
            self._first_audio.observe(summary.first_audio_s)
        if summary.added_latency_s is not None:
            self._added.observe(summary.added_latency_s)
        if summary.audio_s > 0:
            self._factor.observe(summary.synthesis_s / summary.audio_s)

    def job_ended(self, protocol: str, outcome: str, characters: int, audio_s: float) -> None:
        """A long text is in its file, or will not be."""
        self._sessions.labels(protocol, outcome).inc()
        self._audio.inc(audio_s)
        self._characters.inc(characters)

    def recognition_ended(self, protocol: str, outcome: str, audio_s: float) -> None:
        """A task of listening is over: completed, cancelled, or the code of its error."""
        self._active.dec()
        self._sessions.labels(protocol, outcome).inc()
        self._heard.inc(audio_s)

    def session_refused(self, code: ErrorCode) -> None:
        """A task was not admitted."""
        self._refused.labels(code.value).inc()

    def chunk_sent(self, gap_s: float) -> None:
        """An audio frame left, so long after the one before it."""
        self._gap.observe(gap_s)

    def connection_opened(self) -> None:
        """A client connected by WebSocket."""
        self._connections.inc()

    def connection_closed(self) -> None:
        """A client's WebSocket ended."""
        self._connections.dec()

    # --- What accounts tell (AccountObserver) ------------------------------------------------

    def key_charged(self, key: str, characters: int) -> None:
        """A key's text was taken."""
        self._key_characters.labels(key).inc(characters)

    def key_over_quota(self, key: str) -> None:
        """A key asked for more than is left of its quota."""
        self._key_over_quota.labels(key).inc()

    # --- What the pool tells (PoolObserver) --------------------------------------------------

    def queue_waited(self, model: str, seconds: float) -> None:
        """A segment was given to a worker after so long a wait."""
        self._queue_wait.labels(model).observe(seconds)

    def first_chunk_computed(self, model: str, seconds: float) -> None:
        """The model needed so long for a segment's first chunk."""
        self._model_first.labels(model).observe(seconds)

    def synthesized(self, model: str, audio_s: float, compute_s: float) -> None:
        """A segment was computed."""
        self._model_audio.labels(model).inc(audio_s)
        self._compute.labels(model).inc(compute_s)

    def synthesis_cancelled(self, model: str) -> None:
        """A segment was stopped before its end."""
        self._cancelled.labels(model).inc()

    def segment_retried(self, model: str) -> None:
        """A segment was given to another worker, because the first one died."""
        self._retries.labels(model).inc()

    def worker_started(self, model: str) -> None:
        """A worker became ready."""
        self._starts.labels(model).inc()

    def worker_stopped(self, model: str, reason: str) -> None:
        """A worker ended."""
        self._stops.labels(model, reason).inc()

    def incident(self, model: str, name: str, count: int) -> None:
        """A model's own guards have met something so often."""
        self._incidents.labels(model, name).inc(count)

    # --- Reading them ------------------------------------------------------------------------

    def watch(self, pool: WorkerPool) -> None:
        """Report the pool's state, read when the metrics are."""
        self.registry.register(_PoolCollector(pool))

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)

    # --- Making them -------------------------------------------------------------------------

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"cosystream_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(f"cosystream_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: Iterable[str] = ()
    ) -> Histogram:
        return Histogram(
            f"cosystream_{name}", text, labels, registry=self.registry, buckets=buckets
        )


class _PoolCollector(Collector):
    """Workers and queue, at the moment of the scrape."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        queue = GaugeMetricFamily("cosystream_queued_segments", "Segments that wait for a worker.")
        queue.add_metric([], self._pool.queued)
        yield queue
        workers = GaugeMetricFamily(
            "cosystream_workers", "Worker processes by state.", labels=["model", "state"]
        )
        counts: dict[tuple[str, str], int] = {}
        for worker in self._pool.snapshot().workers:
            key = (worker.model, str(worker.state))
            counts[key] = counts.get(key, 0) + 1
        for (model, state), count in sorted(counts.items()):
            workers.add_metric([model, state], count)
        yield workers
        yield self._sum(
            "cosystream_worker_slots",
            "Sentences that workers compute at once now.",
            lambda worker: worker.slots,
        )
        yield self._sum(
            "cosystream_parked_streams",
            "Sentences that are half computed and wait for slow listeners.",
            lambda worker: worker.parked,
        )
        yield self._holdings()

    def _sum(self, name: str, text: str, of: Callable[[WorkerSnapshot], int]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["model"])
        totals: Tally[str] = Tally()
        for worker in self._pool.snapshot().workers:
            totals[worker.model] += of(worker)
        for model, total in sorted(totals.items()):
            family.add_metric([model], total)
        return family

    def _holdings(self) -> Metric:
        held = GaugeMetricFamily(
            "cosystream_model_holds",
            "What models hold for those who are spoken for, at the last heartbeat.",
            labels=["model", "name"],
        )
        counts: Tally[tuple[str, str]] = Tally()
        for worker in self._pool.snapshot().workers:
            for name, count in worker.holdings.items():
                counts[worker.model, name] += count
        for labels, count in sorted(counts.items()):
            held.add_metric(labels, count)
        return held
