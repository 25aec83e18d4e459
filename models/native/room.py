"""How much memory there is to keep things in."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_GIB = 1 << 30
_SHARE = 0.25
"""Of a machine's memory."""
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def flow_memory_bytes(gib: float | None, device: torch.device) -> int:
    """Memory for what the flow keeps of streams.

    Args:
        gib: as the operator wants it; None for the default, which on CUDA is none: whether it pays
            there has not been measured.
        device: of the flow.
    """
    if gib is not None:
        return int(gib * _GIB)
    return int(_SHARE * machine_bytes()) if device.type == "cpu" else 0


def machine_bytes(limit: Path = _CGROUP_LIMIT) -> int:
    """The machine's memory, or what a container may take of it."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(limit.read_text()))
    except (OSError, ValueError):
        return there  # no limit: there is no such file, or it says `max`
