"""A bench's report for people: a table, and what to be careful with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from server.bench import capacity, conditions, soak
from server.bench.capacity import Capacity
from server.bench.figures import Distribution
from server.bench.machine import Machine
from server.bench.memory import Churn
from server.bench.results import LoadFigures, Ratio

_BUSY_SHARE = 0.8
"""Of a core: above it this process, a single thread, may be what bounds the load."""
_LAG_MS = 10.0
_FILE_COLUMNS = 120
_FULL_SHARE = 0.95

_Row = tuple[str, Callable[[LoadFigures], str]]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one `cosystream bench` found."""

    machine: dict[str, object]
    load: dict[str, object]
    """The options."""
    conditions: dict[str, str]
    """What has to be said beside the figures."""
    server: LoadFigures
    """With a capacity, those of its step that says most."""
    capacity: Capacity | None = None
    against: dict[str, Any] | None = None
    """The official package beside ours: `models.benchmark.report.Comparison`."""
    floor: LoadFigures | None = None
    ratio: Ratio | None = None
    churn: Churn | None = None
    warnings: tuple[str, ...] = ()

    @property
    def leaks(self) -> dict[str, int]:
        """What was still held when all sessions had gone."""
        return {} if self.churn is None or self.churn.soak is None else self.churn.soak.left


_NOTHING: Mapping[str, int] = {}


def warnings(
    server: LoadFigures, leaks: Mapping[str, int] = _NOTHING, *, name: str = "server"
) -> list[str]:
    """What makes the figures say less than they seem to, and what is wrong.

    Args:
        server: the figures.
        leaks: what is still held when all sessions have gone.
        name: whose figures they are.
    """
    found = []
    if server.client_core_share > _BUSY_SHARE:
        found.append(
            f"{name}: the client used {server.client_core_share:.0%} of a core: it, not the "
            "server, may bound these figures"
        )
    if server.loop_lag_ms.p99 > _LAG_MS:
        found.append(
            f"{name}: the client woke up {server.loop_lag_ms.p99:.0f} ms late (p99), so latencies "
            "are up to that much too high"
        )
    if server.machine_share is not None and server.machine_share > _FULL_SHARE:
        found.append(
            f"{name}: server and client together used {server.machine_share:.0%} of the machine"
        )
    failed = sum(server.failures.values())
    if failed:
        found.append(f"{name}: {failed} of {server.sessions} sessions failed; see failures")
    if server.silent:
        found.append(f"{name}: {server.silent} sessions completed without audio")
    if server.incidents:
        found.append(
            f"{name}: the model's guards met {server.incidents} incidents, so some of what was "
            "said was cut short or said again; see cosystream_model_incidents_total"
        )
    if leaks:
        held = ", ".join(f"{count} {thing}" for thing, count in leaks.items())
        found.append(f"{name}: a leak: {held} are held, and nobody is spoken for")
    if server.sessions == 0:
        found.append(f"{name}: no session began; run longer or faster")
    return found


def print_report(report: Report, machine: Machine) -> None:
    """Machine, load, figures, churn and warnings, on standard output."""
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console = Console(soft_wrap=True, width=_FILE_COLUMNS)
    console.print(f"[bold]{machine.title}[/]")
    versions = " ".join(f"{name} {version}" for name, version in machine.versions.items())
    console.print(f"{machine.python}, {versions}", highlight=False)
    options = " ".join(f"{name}={value}" for name, value in report.load.items())
    console.print(f"load: {options}", highlight=False)
    if report.capacity is not None:
        step = report.capacity.best
        console.print(f"{step.streams} at once ({step.loop} loop):", highlight=False)
    console.print(_table(report))
    if report.ratio is not None:
        _print_ratio(console, report.ratio)
    if report.churn is not None:
        _print_churn(console, report.churn)
    _print_lines(console, "Conditions", conditions.lines(report.conditions))
    if report.capacity is not None:
        _print_lines(console, "Capacity", capacity.lines(report.capacity))
    if report.against is not None:
        _print_lines(console, "Against the official package", report.against["markdown"])
    if report.churn is not None and report.churn.soak is not None:
        _print_lines(console, "Churn", soak.lines(report.churn.soak))
    for warning in report.warnings:
        console.print(f"[bold yellow]warning:[/] {warning}", highlight=False)


def _print_lines(console: Console, title: str, lines: Iterable[str]) -> None:
    """Markdown, as it is to be copied into a page."""
    console.print(f"\n## {title}\n", highlight=False, markup=False)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("server", justify="right")
    if report.floor is not None:
        table.add_column("floor", justify="right")
    for label, value in _rows():
        cells = [value(report.server)]
        if report.floor is not None:
            cells.append(value(report.floor))
        table.add_row(label, *cells)
    return table


def _rows() -> Iterator[_Row]:
    yield "sessions", lambda f: f"{f.completed} of {f.sessions} completed"
    yield "failures", lambda f: _counts(f.failures)
    yield "at once, at most", lambda f: str(f.peak_active)
    yield "wall time, audio", lambda f: f"{f.wall_s:.1f} s, {f.audio_s:.1f} s"
    yield "audio of a session", _lengths
    yield "first audio p50 / p95 / p99 / max", lambda f: _ms(f.first_audio_ms)
    yield "  model's first chunk, mean", lambda f: _one_ms(f.model_first_chunk_ms)
    yield "  added by the server, p50", lambda f: _one_ms(f.server_added_p50_ms)
    yield "  added by the server, mean", lambda f: _one_ms(f.server_added_mean_ms)
    yield "  the same, says the server, mean", lambda f: _one_ms(f.server_reported_added_ms)
    yield "chunk gap p50 / p95 / p99 / max", lambda f: _ms(f.chunk_gap_ms)
    yield "underruns", _underruns
    yield "RTF p50 / p95 / p99 / max", lambda f: _four(f.real_time_factor, "{:.4f}", "")
    yield "CPU per audio second: front", lambda f: _cpu(f.cpu_per_audio_s.front)
    yield "  workers", lambda f: _cpu(f.cpu_per_audio_s.workers)
    yield "  client", lambda f: _cpu(f.cpu_per_audio_s.client)
    yield "client: core, lag p99", _client
    yield "machine in use", lambda f: _share(f.machine_share)
    yield "GPU in use", _gpu
    yield "front memory idle / peak", _memory
    yield "  per active session", _memory_per_session


def _ms(values: Distribution) -> str:
    return _four(values, "{:.1f}", " ms")


def _four(values: Distribution, form: str, unit: str) -> str:
    if values.count == 0:
        return "-"
    four = (values.p50, values.p95, values.p99, values.max)
    return " / ".join(form.format(value) for value in four) + unit


def _one_ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ms"


def _cpu(value: float | None) -> str:
    return "-" if value is None else f"{value * 1000:.3f} ms"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _lengths(f: LoadFigures) -> str:
    if not f.audio_per_session_s.count:
        return "-"
    return f"{f.audio_per_session_s.mean:.2f} s, at most {f.audio_per_session_s.max:.2f} s"


def _gpu(f: LoadFigures) -> str:
    if f.gpu is None:
        return "-"
    power = "" if f.gpu.power_w is None else f", {f.gpu.power_w:.0f} W"
    clock = "" if f.gpu.clock_mhz is None else f", {f.gpu.clock_mhz:.0f} MHz"
    memory = "" if f.gpu.memory_mib is None else f", {f.gpu.memory_mib:.0f} MiB"
    return f"{f.gpu.utilisation:.0%}{power}{clock}{memory}"


def _counts(failures: dict[str, int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(failures.items())) or "none"


def _underruns(f: LoadFigures) -> str:
    if not f.underruns:
        return "none"
    return f"{f.underruns} in {f.sessions_with_underruns} sessions, {f.stalled_s:.2f} s"


def _client(f: LoadFigures) -> str:
    return f"{f.client_core_share:.0%}, {f.loop_lag_ms.p99:.1f} ms"


def _memory(f: LoadFigures) -> str:
    if f.memory is None:
        return "-"
    return f"{f.memory.idle_mib:.1f} / {f.memory.peak_mib:.1f} MiB"


def _memory_per_session(f: LoadFigures) -> str:
    return "-" if f.memory is None else f"{f.memory.per_active_session_mib:.3f} MiB"


def _print_ratio(console: Console, ratio: Ratio) -> None:
    parts = [
        f"{label} {value:.2f}"
        for label, value in (
            ("front CPU", ratio.front_cpu),
            ("front and workers CPU", ratio.server_cpu),
            ("first audio p50", ratio.first_audio_p50),
        )
        if value is not None
    ]
    console.print(f"in multiples of the floor: {', '.join(parts)}", highlight=False)


def _print_churn(console: Console, churn: Churn) -> None:
    console.print(
        f"churn: {churn.sessions} sessions in {churn.duration_s:.0f} s ({churn.left} left in the "
        f"middle, {churn.failed} failed, {churn.incidents or 0} incidents of the model's guards); "
        f"front {churn.rss_begin_mib:.1f} MiB at first, "
        f"{churn.rss_end_mib:.1f} at last, {churn.rss_max_mib:.1f} at most; "
        f"slope {churn.mib_per_hour:+.2f} MiB per hour, "
        f"{churn.kib_per_session:+.3f} KiB per session",
        highlight=False,
    )
    for failure, count in sorted(churn.failures.items()):
        console.print(f"  {count} x {failure}", highlight=False, markup=False)
