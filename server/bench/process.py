"""The server under test: a process of its own, whose work and memory are read from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import msgspec
import psutil

from server.bench.metrics import WORKER_STOPS, Scrape
from server.commands.failure import CommandError

READY_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 15.0
_POLL_S = 0.05
_SHOWN_LINES = 5


class Usage(msgspec.Struct, frozen=True):
    """What a server has used so far; the workers are its child processes."""

    front_cpu_s: float
    workers_cpu_s: float
    front_rss_bytes: int
    workers_rss_bytes: int

    def since(self, before: Usage) -> Usage:
        """CPU since `before`; memory as it is."""
        return Usage(
            self.front_cpu_s - before.front_cpu_s,
            self.workers_cpu_s - before.workers_cpu_s,
            self.front_rss_bytes,
            self.workers_rss_bytes,
        )


class Resources(msgspec.Struct, frozen=True):
    """What a server holds now; handles are open files and sockets."""

    front_rss_bytes: int
    workers_rss_bytes: int
    front_handles: int
    workers_handles: int
    workers_threads: int


class MeasuredProcess:
    """A server that this process starts on a free port, measures and stops.

    Args:
        arguments: for `python -m`; `{port}` in them is replaced.
        ready_path: answers 200 when it can be used.
        environment: added to this process's own.
        ready_timeout_s: for its start.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        ready_path: str,
        environment: Mapping[str, str] | None = None,
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        self.port = _free_port()
        self._arguments = [argument.format(port=self.port) for argument in arguments]
        self._ready_path = ready_path
        self._environment = {**os.environ, **_search_path(), **(environment or {})}
        self._folder = tempfile.TemporaryDirectory(prefix="cosystream-bench-")
        self._log = Path(self._folder.name) / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_timeout_s = ready_timeout_s
        self.ready_s = 0.0
        """How long its start took, models and their warm-up included."""

    @property
    def url(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-m", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
        try:
            await self._wait_ready(self._process)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        begin_s = time.monotonic()
        async with httpx.AsyncClient(trust_env=False) as http:
            while time.monotonic() < begin_s + self._ready_timeout_s:
                if process.poll() is not None:
                    raise CommandError(f"the server ended at once: {self._last_words()}")
                try:
                    answer = await http.get(f"http://{self.url}{self._ready_path}")
                except httpx.TransportError:
                    pass
                else:
                    if answer.status_code == httpx.codes.OK:
                        self.ready_s = time.monotonic() - begin_s
                        return
                    await self._check_workers()
                await asyncio.sleep(_POLL_S)
        raise CommandError(
            f"the server was not ready within {self._ready_timeout_s:.0f} s: {self._last_words()}"
        )

    async def _check_workers(self) -> None:
        """See that a model is still being loaded: the server would try again for ever.

        Raises:
            CommandError: a worker has ended.
        """
        scrape = await Scrape.fetch(f"http://{self.url}")
        if scrape is not None and scrape.samples.get(WORKER_STOPS):
            raise CommandError(f"the model cannot be loaded: {self._last_words()}")

    async def _stop(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, _STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
        self._folder.cleanup()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-_SHOWN_LINES:]) or "it said nothing"

    @property
    def front_rss_bytes(self) -> int:
        """Memory of the front alone; cheap enough to ask often.

        Raises:
            CommandError: it is gone.
        """
        assert self._process is not None  # noqa: S101 - only inside `async with`
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.NoSuchProcess as error:
            raise CommandError(f"the server ended: {self._last_words()}") from error

    def usage(self) -> Usage:
        """What it and its children have used until now.

        Raises:
            CommandError: it is gone.
        """
        assert self._process is not None  # noqa: S101 - only inside `async with`
        try:
            front = psutil.Process(self._process.pid)
            times, memory = front.cpu_times(), front.memory_info()
            workers_cpu_s = times.children_user + times.children_system
            workers_rss_bytes = 0
            for child in front.children(recursive=True):
                try:
                    with child.oneshot():
                        used = child.cpu_times()
                        workers_rss_bytes += child.memory_info().rss
                    workers_cpu_s += used.user + used.system
                except psutil.NoSuchProcess:
                    continue
        except psutil.NoSuchProcess as error:
            raise CommandError(f"the server ended: {self._last_words()}") from error
        return Usage(times.user + times.system, workers_cpu_s, memory.rss, workers_rss_bytes)

    def resources(self) -> Resources:
        """What it and its children hold now.

        Raises:
            CommandError: it is gone.
        """
        assert self._process is not None  # noqa: S101 - only inside `async with`
        rss_bytes = handles = threads = 0
        try:
            front = psutil.Process(self._process.pid)
            for child in front.children(recursive=True):
                try:
                    with child.oneshot():
                        rss_bytes += child.memory_info().rss
                        threads += child.num_threads()
                        handles += child.num_fds()
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            return Resources(front.memory_info().rss, rss_bytes, front.num_fds(), handles, threads)
        except psutil.NoSuchProcess as error:
            raise CommandError(f"the server ended: {self._last_words()}") from error


def _search_path() -> dict[str, str]:
    """Lets a child find this very code when it is run from a checkout, in any directory."""
    root = str(Path(__file__).parents[2])
    if root == sysconfig.get_path("purelib"):
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
