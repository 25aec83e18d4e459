"""Worker processes: how one is started, watched and ended."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import msgspec
import psutil
import structlog

import models
import server
from server.pool.channel import PairedSocket
from server.pool.options import ModelSpec
from server.pool.worker import LaunchOrder

log = structlog.get_logger()

_STDERR_TAIL_BYTES = 8192
_STDERR_READ_BYTES = 65_536
_STDERR_PATIENCE_S = 0.5


class PackageView:
    """A directory that shows another interpreter our packages `server` and `models` only.

    Our site-packages must not be on its path: what is installed there was built for another
    version, and would hide what it has of its own.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="cosystream-"))
        for package in (server, models):
            (self.path / package.__name__).symlink_to(Path(package.__path__[0]).resolve())

    def close(self) -> None:
        """Remove the directory; workers that run have imported what they need."""
        shutil.rmtree(self.path)


class WorkerProcess:
    """A running worker: its process, its end of the socket pair, and what it writes on stderr."""

    def __init__(
        self, model: str, process: asyncio.subprocess.Process, address: PairedSocket
    ) -> None:
        self.address = address
        self.pid = process.pid
        self._model = model
        self._process = process
        self._tail = bytearray()
        self._rss_bytes = 0
        self._stderr_task = asyncio.create_task(self._read_stderr())

    @classmethod
    async def launch(cls, spec: ModelSpec, nice: int, view: PackageView | None) -> WorkerProcess:
        """Start a process.

        Args:
            spec: what it hosts.
            nice: added to its niceness.
            view: our packages for another interpreter; None if `spec` names none.

        Raises:
            OSError: the interpreter cannot be started.
        """
        order = LaunchOrder(
            factory=spec.factory, options=spec.options, nice=nice, warm_up=spec.warm_up
        )
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    spec.interpreter or sys.executable,
                    *("-s", "-m", "server.pool.worker"),
                    *("--fd", str(theirs.fileno())),
                    *("--order", msgspec.json.encode(order).decode()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    env=worker_environment(spec, view),
                )
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        return cls(spec.name, process, PairedSocket(ours))

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def stderr_tail(self) -> str:
        """The last that it wrote."""
        return self._tail.decode("utf-8", "replace").strip()

    @property
    def rss_bytes(self) -> int:
        """Resident memory; 0 when the process is gone, what was last seen if it cannot be read.

        Reading opens a file, so it fails when the front has no file descriptors left.
        """
        try:
            self._rss_bytes = int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            self._rss_bytes = 0
        except (psutil.Error, OSError):
            pass
        return self._rss_bytes

    def kill(self) -> None:
        """SIGKILL; nothing happens if it has ended."""
        if self._process.returncode is None:
            self._process.kill()

    async def wait(self) -> None:
        """Wait for its end."""
        await self._process.wait()

    async def end(self, patience_s: float) -> None:
        """Wait for its end, but kill it after `patience_s`."""
        # Not wait_for: before Python 3.12 it may swallow a cancel that comes with the result.
        try:
            async with asyncio.timeout(patience_s):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        # A child of its own may hold the pipe open; it is not waited for.
        done, _ = await asyncio.wait([self._stderr_task], timeout=_STDERR_PATIENCE_S)
        if not done:
            self._stderr_task.cancel()

    async def _read_stderr(self) -> None:
        """Always read, so that a chatty worker never blocks."""
        stderr = self._process.stderr
        if stderr is None:
            raise RuntimeError("the process has no stderr pipe")
        while output := await stderr.read(_STDERR_READ_BYTES):
            self._tail += output
            del self._tail[:-_STDERR_TAIL_BYTES]
            log.debug(
                "worker_output",
                model=self._model,
                pid=self.pid,
                output=output.decode("utf-8", "replace"),
            )


def worker_environment(spec: ModelSpec, view: PackageView | None) -> dict[str, str]:
    """The environment of a worker: the front's, the spec's, and where modules are found.

    Under our own interpreter it gets our sys.path, so it can import whatever the front can.
    """
    environment = {**os.environ, **spec.environment, "PYTHONSAFEPATH": "1"}
    if view is None:
        paths = [entry or str(Path.cwd()) for entry in sys.path]
    else:
        paths = [str(view.path)]
        environment.pop("PYTHONHOME", None)
    if "PYTHONPATH" in spec.environment:
        paths.append(spec.environment["PYTHONPATH"])
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment
