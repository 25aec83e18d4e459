"""What has to be said beside figures, so that nobody takes them for more than they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from server.bench.gpu import GpuState
from server.bench.machine import Machine
from server.bench.results import LoadFigures
from server.bench.session import Script


def machine_conditions(machine: Machine, gpus: Sequence[GpuState]) -> Iterator[tuple[str, str]]:
    """Of the machine before any load.

    Args:
        machine: its processors.
        gpus: as NVIDIA's tool has them.
    """
    yield "machine", machine.title
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    yield "load average before", load
    for number, state in enumerate(gpus):
        yield f"GPU {number} before", state.title
    if not gpus:
        yield "GPU", "nvidia-smi shows none; power and clocks are not known"


def load_conditions(
    script: Script, figures: LoadFigures, *, loop: str, ready_s: float | None, warm_up_s: float
) -> Iterator[tuple[str, str]]:
    """Of the load.

    Args:
        script: what sessions did.
        figures: what came of it.
        loop: when they came.
        ready_s: how long the server's start took; None if it was there.
        warm_up_s: how long the sessions before the first that counts took.
    """
    characters = sum(map(len, script.pieces))
    spoken = figures.audio_per_session_s
    whole = "whole" if not script.tokens_per_s else f"in tokens, {script.tokens_per_s:g} a second"
    started = "" if ready_s is None else f"server ready after {ready_s:.1f} s (model included), "
    yield "text", f"{characters} characters, sent {whole}; the same in every session"
    yield "audio of a session", f"{spoken.mean:.2f} s, p99 {spoken.p99:.2f} s"
    yield "loop", loop
    yield "pre-buffer", f"{script.prebuffer_s * 1000:.0f} ms; clients read {script.consume}"
    yield "warm-up, not counted", f"{started}sessions for {warm_up_s:.1f} s"
    sent = "its first token" if script.tokens_per_s else "the text"
    yield "first audio", f"from sending {sent} to the first byte of audio at the client"
    yield "client", "one process on the same host"


def lines(conditions: Mapping[str, str]) -> Iterator[str]:
    """Markdown."""
    for name, value in conditions.items():
        yield f"* {name}: {value}"
