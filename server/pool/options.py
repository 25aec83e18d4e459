"""What the pool is told to run, how patient it is, and who listens to its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from models.base import Capabilities, Voice
from models.recognition import RecognizerCapabilities

StopReason = Literal["exited", "recycled", "unloaded", "closed"]


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One model and the processes that host it."""

    name: str
    """What requests name it by; unique in a pool."""
    factory: str
    """Import path of a `SpeechModel` subclass, `models.espeak:EspeakModel`, or of a
    `SpeechRecognizer`."""
    recognizes: bool = False
    """It is a `SpeechRecognizer`."""
    options: dict[str, Any] = {}
    """Keyword arguments of the factory; JSON-like."""
    worker_options: tuple[dict[str, Any], ...] = ()
    """What single workers get on top of `options`, one after the other and from the start again:
    each GPU its workers."""
    workers: int = 1
    interpreter: str = ""
    """Another Python for the workers, with packages of its own; empty for the front's. It sees the
    packages `server` and `models` and nothing else of ours; a factory that lives elsewhere must be
    installed there, or be found by a PYTHONPATH in `environment`."""
    environment: dict[str, str] = {}
    """Environment variables of the workers, on top of the front's."""
    max_requests: int = 0
    """Replace a worker after about so many syntheses, its successor being ready first; 0: never."""
    max_rss_bytes: int = 0
    """Replace a worker whose resident memory passes this; 0: never."""
    warm_up: bool = True
    """Call `SpeechModel.warm_up` before a worker is ready."""
    lazy: bool = False
    """Start no worker before the first request; needs `info`."""
    idle_unload_s: float = 0.0
    """End all workers after so long without a stream, until the next request; 0: never."""
    info: ModelInfo | RecognizerInfo | None = None
    """What is known of the model before a worker has reported it."""

    def of_worker(self, number: int) -> ModelSpec:
        """What one worker hosts; they are counted from 0."""
        if not self.worker_options:
            return self
        own = self.worker_options[number % len(self.worker_options)]
        return msgspec.structs.replace(self, options={**self.options, **own})


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How much the pool lets wait, and for how long."""

    max_queued: int = 256
    """Segments that wait for a worker; one more is refused."""
    ready_timeout_s: float = 10.0
    """A segment fails with MODEL_UNAVAILABLE after it has waited so long without any ready worker,
    or twice as long as the last worker took to start; `start_timeout_s` is for one whose model is
    being loaded for it, and never exceeded."""
    max_enrollments: int = 8
    """Recordings that wait for a worker of their model; one more is refused."""
    max_retries: int = 2
    """How often a segment whose worker died is tried again, if none of it was heard."""
    start_timeout_s: float = 300.0
    """A worker that is not ready after it is killed; segments wait so long for a model that is
    loaded for them."""
    restart_backoff_s: tuple[float, float] = (0.2, 10.0)
    """Wait before the first restart in a row, doubling up to the second number."""
    healthy_after_s: float = 30.0
    """A worker that was ready for so long dies of something new: the back-off starts again."""
    check_interval_s: float = 1.0
    """How often workers are pinged and measured, and waiting segments looked through."""
    heartbeat_timeout_s: float = 15.0
    """A ready worker from which nothing was heard for so many checks' time is killed."""
    stall_timeout_s: float = 120.0
    """A worker that owes a chunk, or the end of a cancelled stream, for so long is killed."""
    close_timeout_s: float = 3.0
    """A worker that was told to exit is killed after this."""
    nice: int = 5
    """Added to the workers' niceness, so that the front answers while all of them compute."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's workers reported of it."""

    name: str
    sample_rate_hz: int
    capabilities: Capabilities
    voices: tuple[Voice, ...]


class RecognizerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a recogniser's workers reported of it."""

    name: str
    sample_rate_hz: int
    capabilities: RecognizerCapabilities


class PoolObserver(Protocol):
    """Hears the pool's figures, for metrics."""

    def queue_waited(self, model: str, seconds: float) -> None:
        """A segment's synthesis began after it had waited."""

    def first_chunk_computed(self, model: str, seconds: float) -> None:
        """The model's own time from the start of a synthesis to its first chunk."""

    def synthesized(self, model: str, audio_s: float, compute_s: float) -> None:
        """A model is done with a segment, or has listened to so much audio."""

    def synthesis_cancelled(self, model: str) -> None:
        """A segment was cancelled before its end."""

    def segment_retried(self, model: str) -> None:
        """A segment of a dead worker was queued again."""

    def worker_started(self, model: str) -> None:
        """A process was started; it is not ready yet."""

    def worker_stopped(self, model: str, reason: StopReason) -> None:
        """A process has ended: by itself or killed for its failure, to be replaced, because nobody
        needed it, or at the end of the pool."""  # noqa: D205, D209

    def incident(self, model: str, name: str, count: int) -> None:
        """A model's own guards have met something so often."""


class SilentObserver:
    """Takes no figures down."""

    def queue_waited(self, model: str, seconds: float) -> None:
        """Nothing."""

    def first_chunk_computed(self, model: str, seconds: float) -> None:
        """Nothing."""

    def synthesized(self, model: str, audio_s: float, compute_s: float) -> None:
        """Nothing."""

    def synthesis_cancelled(self, model: str) -> None:
        """Nothing."""

    def segment_retried(self, model: str) -> None:
        """Nothing."""

    def worker_started(self, model: str) -> None:
        """Nothing."""

    def worker_stopped(self, model: str, reason: StopReason) -> None:
        """Nothing."""

    def incident(self, model: str, name: str, count: int) -> None:
        """Nothing."""
