"""The command line in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
WAIT_S = 20
"""For what comes at once."""


@contextmanager
def running(
    *arguments: str, environment: Mapping[str, str] | None = None, **pipes: int
) -> Iterator[subprocess.Popen[bytes]]:
    """`cosystream ARGUMENTS`, with SIGINT as a terminal's shell leaves it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "server", *arguments],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        **pipes,
    )
    try:
        with process:
            yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
