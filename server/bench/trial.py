"""One server under one load: warm up, look, load, look again."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from server.bench import gpu
from server.bench.floor import Frame, Trace
from server.bench.load import Load, LoadShape
from server.bench.memory import Churn, churn_figures, sampling
from server.bench.metrics import (
    MODEL_FIRST_CHUNK,
    MODEL_INCIDENTS,
    SERVER_ADDED,
    Scrape,
    grown_between,
    mean_between,
)
from server.bench.process import MeasuredProcess
from server.bench.results import LoadFigures, ServerMeans, figures, memory_figures
from server.bench.session import Script, SessionRecord, SimulatedClient
from server.bench.soak import look_when_idle, looking, soak_figures
from server.commands.failure import CommandError
from server.commands.options import ServerAddress
from server.commands.speaking import decoded_seconds

_WARM_UP_SESSIONS = 3
_WARM_UP_LIMIT_S = 30.0
"""No further session begins then: a slow model is warm as well."""
_SAMPLES = 200
_SHORTEST_INTERVAL_S = 0.1
_LONGEST_INTERVAL_S = 2.0


@dataclass(slots=True)
class Recording:
    """Every frame of one session, as a client heard it."""

    record: SessionRecord
    frames: list[tuple[float, str | bytes]] = field(default_factory=list)

    def hear(self, at_s: float, frame: str | bytes) -> None:
        """Note a frame."""
        self.frames.append((at_s, frame))

    @property
    def audio(self) -> bytes:
        """The session's one audio file."""
        return b"".join(frame for _, frame in self.frames if isinstance(frame, bytes))

    def trace(self) -> Trace:
        """The same for the floor to repeat."""
        begin_s = self.record.first_text_s
        started = next(frame for _, frame in self.frames if isinstance(frame, str))
        frames = []
        for at_s, frame in self.frames:
            if frame is started:
                continue
            text, size = (frame, 0) if isinstance(frame, str) else ("", len(frame))
            frames.append(Frame(at_s - begin_s, text, size))
        return Trace(started, tuple(frames))


async def warm_up(address: ServerAddress, script: Script) -> Recording:
    """Speak a few times and keep the last one.

    Raises:
        CommandError: it fails, so that a load would be of no use.
    """
    hasty = replace(script, consume="fast")
    limit_s = time.perf_counter() + _WARM_UP_LIMIT_S
    for number in range(_WARM_UP_SESSIONS):
        if number and time.perf_counter() > limit_s:
            break
        recording = Recording(SessionRecord())
        client = SimulatedClient(address, hasty, recording.hear)
        recording.record = await client.run()
        if recording.record.failure:
            reason = recording.record.reason or recording.record.failure
            raise CommandError(f"the first session failed: {reason}")
        if not recording.audio:
            raise CommandError("the first session had no audio; give a --text that can be spoken")
    return recording


def audio_bytes_per_s(audio: bytes, audio_format: str, sample_rate_hz: int) -> float:
    """What a second of audio takes; for compressed formats the mean of a whole recording.

    Raises:
        CommandError: the recording cannot be decoded.
    """
    if audio_format in {"pcm", "wav"}:
        return 2.0 * sample_rate_hz
    with tempfile.TemporaryDirectory(prefix="cosystream-bench-") as folder:
        path = Path(folder) / f"recording.{audio_format}"
        path.write_bytes(audio)
        return len(audio) / decoded_seconds(path)


async def measure(
    address: ServerAddress,
    script: Script,
    shape: LoadShape,
    process: MeasuredProcess | None,
    cores: int,
) -> LoadFigures:
    """Run a load on a warm server.

    Args:
        address: the server.
        script: what every session does.
        shape: when they come.
        process: the server's, None if it is not ours to measure.
        cores: of this machine.
    """
    load = Load(address, script, shape)
    scrape = await Scrape.fetch(address.http_url)
    states: list[list[gpu.GpuState]] = []
    if process is None:
        result, used, memory = await load.run(), None, None
    else:
        before = process.usage()
        interval_s = _interval_s(shape.duration_s)
        async with gpu.watching() as states, sampling(process, load, interval_s) as samples:
            result = await load.run()
        used = process.usage().since(before)
        memory = memory_figures(before.front_rss_bytes, samples, used)
    after = await Scrape.fetch(address.http_url)
    means = ServerMeans(
        model_first_chunk_s=mean_between(scrape, after, MODEL_FIRST_CHUNK),
        added_s=mean_between(scrape, after, SERVER_ADDED),
        incidents=grown_between(scrape, after, MODEL_INCIDENTS),
    )
    return figures(
        result,
        script,
        usage=used,
        means=means,
        memory=memory,
        cores=cores,
        gpu=gpu.use(states),
    )


async def churn(
    address: ServerAddress, script: Script, shape: LoadShape, process: MeasuredProcess
) -> Churn:
    """Let sessions come and go, some of them rudely, and watch what the server holds."""
    load = Load(address, script, replace(shape, churn=True))
    interval_s = _interval_s(shape.duration_s)
    before = await Scrape.fetch(address.http_url)
    async with (
        looking(process, interval_s) as looks,
        sampling(process, load, interval_s) as samples,
    ):
        result = await load.run()
    end = await look_when_idle(process)
    after = await Scrape.fetch(address.http_url)
    failures = Counter(
        f"{record.failure}: {record.reason}" for record in result.records if record.failure
    )
    return churn_figures(
        samples,
        left=result.left,
        failures=failures,
        incidents=grown_between(before, after, MODEL_INCIDENTS),
        soak=soak_figures(looks, end),
    )


def _interval_s(duration_s: float) -> float:
    return min(_LONGEST_INTERVAL_S, max(_SHORTEST_INTERVAL_S, duration_s / _SAMPLES))
