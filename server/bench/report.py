"""A bench's report for people: a table, and what to be careful with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from server.bench.figures import Distribution
from server.bench.machine import Machine
from server.bench.memory import Churn
from server.bench.results import LoadFigures, Ratio, Report

_BUSY_SHARE = 0.8
"""Of a core: above it this process, a single thread, may be what bounds the load."""
_LAG_MS = 10.0
_FILE_COLUMNS = 120
_FULL_SHARE = 0.95

_Row = tuple[str, Callable[[LoadFigures], str]]


def warnings(server: LoadFigures, *, name: str = "server") -> list[str]:
    """What makes the figures say less than they seem to."""
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
    console.print(_table(report))
    if report.ratio is not None:
        _print_ratio(console, report.ratio)
    if report.churn is not None:
        _print_churn(console, report.churn)
    for warning in report.warnings:
        console.print(f"[bold yellow]warning:[/] {warning}", highlight=False)


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
        f"middle, {churn.failed} failed); front {churn.rss_begin_mib:.1f} MiB at first, "
        f"{churn.rss_end_mib:.1f} at last, {churn.rss_max_mib:.1f} at most; "
        f"slope {churn.mib_per_hour:+.2f} MiB per hour, "
        f"{churn.kib_per_session:+.3f} KiB per session",
        highlight=False,
    )
