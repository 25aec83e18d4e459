"""A pool of real worker processes, and what the tests of this folder do with it."""

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from models.base import Capabilities, SynthesisRequest, Voice
from server.errors import SpeechError
from server.pool.options import ModelInfo, ModelSpec

PATIENCE_S = 20.0
"""What a busy machine may need; no test waits for so long unless it fails."""
QUICK = {"restart_backoff_s": (0.01, 0.1), "check_interval_s": 0.05, "close_timeout_s": 0.3}
"""Pool options that make tests fast."""


SINE_INFO = ModelInfo(
    name="sine",
    sample_rate_hz=24_000,
    capabilities=Capabilities(text_stream=True),
    voices=(Voice(name="sine", language="en"),),
)
"""What is known of a sine model before it is loaded."""


@dataclass
class Recorder:
    """A PoolObserver that remembers."""

    queue_waits_s: list = field(default_factory=list)
    first_chunks_s: list = field(default_factory=list)
    syntheses: list = field(default_factory=list)
    cancelled: int = 0
    retried: int = 0
    lives: list = field(default_factory=list)
    incidents: list = field(default_factory=list)

    def clear(self):
        self.__init__()

    def queue_waited(self, model, seconds):
        self.queue_waits_s.append(seconds)

    def first_chunk_computed(self, model, seconds):
        self.first_chunks_s.append(seconds)

    def synthesized(self, model, audio_s, compute_s):
        self.syntheses.append((audio_s, compute_s))

    def synthesis_cancelled(self, model):
        self.cancelled += 1

    def segment_retried(self, model):
        self.retried += 1

    def worker_started(self, model):
        self.lives.append("started")

    def worker_stopped(self, model, reason):
        self.lives.append(reason)

    def incident(self, model, name, count):
        self.incidents.append((model, name, count))


class Bench:
    """A pool with what the tests need around it."""

    def __init__(self, pool, recorder):
        self.pool = pool
        self.seen = recorder

    def open(
        self, text, *, deadline_s=0.0, voice="sine", model="sine", more_text=False, clone=None
    ):
        request = SynthesisRequest(voice=clone.voice.name if clone is not None else voice)
        return self.pool.open(
            model, request, text, deadline_s=deadline_s, more_text=more_text, clone=clone
        )

    async def say(self, text, **settings):
        return await collect(self.open(text, **settings))

    async def fails(self, text, **settings):
        """Speak, and return the SpeechError that comes of it."""
        with pytest.raises(SpeechError) as caught:
            await self.say(text, **settings)
        return caught.value

    def workers(self):
        return self.pool.snapshot().workers

    def pids(self):
        return [worker.pid for worker in self.workers() if worker.state == "ready"]

    def running_pid(self):
        """The first worker that has something to compute, None if there is none."""
        return next(
            (worker.pid for worker in self.workers() if worker.running or worker.parked), None
        )

    def started_pids(self):
        """All workers that have a process, ready or not."""
        return [worker.pid for worker in self.workers() if worker.pid is not None]

    async def checked(self, times):
        """Wait until the pool has looked at its workers and its queue so often."""
        await asyncio.sleep(times * QUICK["check_interval_s"])

    async def idle(self):
        """Wait until no worker has anything to compute."""
        await eventually(
            lambda: all(worker.running == worker.parked == 0 for worker in self.workers())
        )

    @property
    def parked(self):
        """How many streams are parked in all workers."""
        return sum(worker.parked for worker in self.workers())


async def collect(stream):
    """All samples of a stream, as one array."""
    async with asyncio.timeout(PATIENCE_S):
        return np.concatenate([np.float32([]), *[chunk.samples async for chunk in stream]])


async def eventually(condition):
    """Wait until a condition holds that no event announces."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come true"
        await asyncio.sleep(0.005)


def place(path, text=""):
    """Make a file that appears with all that it holds."""
    whole = path.with_name(path.name + ".part")
    whole.write_text(text)
    whole.rename(path)


@dataclass(frozen=True)
class FakeClone:
    """A cloned voice."""

    voice: Voice
    features: bytes


def make_clone(features="sine-2", *, name="clone-1"):
    """A clone that speaks with the tone `sine-2`, or what else `studio_model` makes of features."""
    return FakeClone(Voice(name=name, language="zh", kind="clone"), features.encode())


class Studio:
    """Specs of `StudioModel`, and what its workers have written down."""

    def __init__(self, folder):
        self._journal = folder / "journal"

    def spec(self, *, options=None, **settings):
        return ModelSpec(
            name="sine",
            factory="studio_model:StudioModel",
            options={"journal": str(self._journal)} | (options or {}),
            **settings,
        )

    def noted(self, *words):
        """The lines that begin with one of these words, all of them if there are none."""
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        return [line for line in lines if not words or line.partition(" ")[0] in words]
