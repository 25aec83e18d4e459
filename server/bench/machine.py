"""What a figure was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import msgspec
import psutil

from server.version import __version__

_LIBRARIES = ("uvicorn", "starlette", "uvloop", "websockets", "msgspec", "numpy", "av")


class Machine(msgspec.Struct, frozen=True):
    """Processor, memory and versions."""

    processor: str
    cores: int
    """That this process may use."""
    memory_bytes: int
    system: str
    python: str
    versions: dict[str, str]

    @property
    def title(self) -> str:
        """One line."""
        gib = self.memory_bytes / (1 << 30)
        return f"{self.processor}, {self.cores} cores, {gib:.0f} GiB, {self.system}"


def describe_machine() -> Machine:
    """The machine that this runs on."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else psutil.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions={"cosystream": __version__, **versions},
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
