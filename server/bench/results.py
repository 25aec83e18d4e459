"""What a load came to, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from server.bench.figures import Distribution, describe, gaps, play
from server.bench.gpu import GpuUse
from server.bench.load import LoadResult
from server.bench.memory import Sample
from server.bench.process import Usage
from server.bench.session import Script, SessionRecord

_MIB = 1 << 20


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """CPU seconds per second of audio; None: not measured."""

    front: float | None
    workers: float | None
    client: float

    @property
    def server(self) -> float | None:
        """Front and workers together."""
        if self.front is None or self.workers is None:
            return None
        return self.front + self.workers


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Resident memory of the front."""

    idle_mib: float
    """After the warm-up, before the load."""
    peak_mib: float
    workers_mib: float
    """All workers together, after the load."""
    per_active_session_mib: float
    """What the peak is above idle, divided by the sessions then open."""


class LoadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One load on one server. Times are those of the client."""

    sessions: int
    completed: int
    failures: dict[str, int]
    """NLS status, or what became of the connection: how often."""
    silent: int
    """Completed without any audio."""
    peak_active: int
    wall_s: float
    audio_s: float
    audio_per_session_s: Distribution
    session_s: Distribution
    """How long sessions last, with what is played after the last audio came."""
    first_audio_ms: Distribution
    """First binary frame after the first `RunSynthesis` was sent."""
    model_first_chunk_ms: float | None
    """The mean of the server's own measurements."""
    server_added_p50_ms: float | None
    """The median first audio less the model's first chunk; None if the text comes slowly, because
    the first audio then waits for text."""
    server_added_mean_ms: float | None
    """The mean first audio less the model's first chunk, likewise."""
    server_reported_added_ms: float | None
    """The mean of what the server says it added; it knows how long it waited for text."""
    chunk_gap_ms: Distribution
    underruns: int
    sessions_with_underruns: int
    stalled_s: float
    real_time_factor: Distribution
    cpu_per_audio_s: Cpu
    client_core_share: float
    """CPU of this process per second, 1 being a whole core."""
    machine_share: float | None
    """CPU of all, of all cores."""
    loop_lag_ms: Distribution
    """How late this process woke up."""
    incidents: int | None
    """How often the model's own guards met something, such as speech that went wrong and was said
    again."""
    memory: Memory | None
    gpu: GpuUse | None = None


class ServerMeans(msgspec.Struct, frozen=True, kw_only=True):
    """What a server's own metrics say of a load, in seconds; None if it has none."""

    model_first_chunk_s: float | None = None
    added_s: float | None = None
    incidents: int | None = None


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """The server in multiples of the floor."""

    front_cpu: float | None
    server_cpu: float | None
    """Front and workers, whose synthesis the floor does not have."""
    first_audio_p50: float | None


def figures(
    result: LoadResult,
    script: Script,
    *,
    usage: Usage | None,
    means: ServerMeans,
    memory: Memory | None,
    cores: int,
    gpu: GpuUse | None = None,
) -> LoadFigures:
    """Reduce a load to figures.

    Args:
        result: what the clients saw.
        script: what they did.
        usage: what the server used meanwhile, None if it is not ours to measure.
        means: of the server's own metrics.
        memory: see `memory_figures`.
        cores: of the machine.
        gpu: what it did meanwhile.
    """
    completed = [record for record in result.records if not record.failure]
    audible = [record for record in completed if record.arrivals_s]
    chunks = [record.chunks(script.audio_bytes_per_s) for record in audible]
    lengths_s = [sum(length_s for _, length_s in some) for some in chunks]
    playbacks = [p for some in chunks if (p := play(some, script.prebuffer_s)) is not None]
    heard_bytes = sum(sum(record.sizes_bytes) for record in result.records)
    audio_s = heard_bytes / script.audio_bytes_per_s
    first_ms = describe((r.arrivals_s[0] - r.first_text_s) * 1000 for r in audible)
    model_ms = _to_ms(means.model_first_chunk_s)
    base_ms = None if script.tokens_per_s else model_ms
    return LoadFigures(
        sessions=len(result.records),
        completed=len(completed),
        failures=dict(Counter(r.failure for r in result.records if r.failure)),
        silent=len(completed) - len(audible),
        peak_active=result.peak_active,
        wall_s=result.wall_s,
        audio_s=audio_s,
        audio_per_session_s=describe(lengths_s),
        session_s=describe(record.lasted_s for record in completed),
        first_audio_ms=first_ms,
        model_first_chunk_ms=model_ms,
        server_added_p50_ms=None if base_ms is None else first_ms.p50 - base_ms,
        server_added_mean_ms=None if base_ms is None else first_ms.mean - base_ms,
        server_reported_added_ms=_to_ms(means.added_s),
        chunk_gap_ms=describe(gap * 1000 for r in audible for gap in gaps(r.arrivals_s)),
        underruns=sum(p.underruns.count for p in playbacks),
        sessions_with_underruns=sum(p.underruns.count > 0 for p in playbacks),
        stalled_s=sum(p.underruns.stalled_s for p in playbacks),
        real_time_factor=describe(_factors(audible, lengths_s)),
        cpu_per_audio_s=_cpu(result, usage, audio_s),
        client_core_share=result.client_cpu_s / result.wall_s if result.wall_s else 0.0,
        machine_share=_machine_share(result, usage, cores),
        loop_lag_ms=describe(lag * 1000 for lag in result.loop_lags_s),
        incidents=means.incidents,
        memory=memory,
        gpu=gpu,
    )


def memory_figures(idle_rss_bytes: int, samples: Sequence[Sample], after: Usage) -> Memory:
    """Memory per session, at the moment when the front was largest."""
    peak = max(samples, key=lambda sample: sample.front_rss_bytes)
    grown = max(0, peak.front_rss_bytes - idle_rss_bytes) / _MIB
    return Memory(
        idle_mib=idle_rss_bytes / _MIB,
        peak_mib=peak.front_rss_bytes / _MIB,
        workers_mib=after.workers_rss_bytes / _MIB,
        per_active_session_mib=grown / max(1, *(sample.active for sample in samples)),
    )


def ratio(server: LoadFigures, floor: LoadFigures) -> Ratio:
    """The server in multiples of the floor."""
    return Ratio(
        front_cpu=_divide(server.cpu_per_audio_s.front, floor.cpu_per_audio_s.front),
        server_cpu=_divide(server.cpu_per_audio_s.server, floor.cpu_per_audio_s.front),
        first_audio_p50=_divide(server.first_audio_ms.p50, floor.first_audio_ms.p50),
    )


def _to_ms(value_s: float | None) -> float | None:
    return None if value_s is None else value_s * 1000


def _divide(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None


def _factors(records: Sequence[SessionRecord], lengths_s: Sequence[float]) -> list[float]:
    return [
        (record.arrivals_s[-1] - record.first_text_s) / length_s
        for record, length_s in zip(records, lengths_s, strict=True)
        if length_s > 0
    ]


def _cpu(result: LoadResult, usage: Usage | None, audio_s: float) -> Cpu:
    per = 1 / audio_s if audio_s else 0.0
    return Cpu(
        front=None if usage is None else usage.front_cpu_s * per,
        workers=None if usage is None else usage.workers_cpu_s * per,
        client=result.client_cpu_s * per,
    )


def _machine_share(result: LoadResult, usage: Usage | None, cores: int) -> float | None:
    if usage is None or not result.wall_s:
        return None
    used_s = usage.front_cpu_s + usage.workers_cpu_s + result.client_cpu_s
    return used_s / (result.wall_s * cores)
