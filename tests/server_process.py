"""Starts a real `cosystream serve` for tests, and stops it by its process id."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

ROOT = Path(__file__).parent.parent
_READY_TIMEOUT_S = 60


class ServerProcess:
    """A server on a port of 127.0.0.1, ready when the constructor returns.

    Args:
        log: where its standard error goes.
        patience_s: how long it may take to become ready.
        port: 0 for any that is free.
        environment: settings, without the prefix and in lower case: `max_sessions="4"`.
        arguments: for `cosystream serve`.
    """

    def __init__(
        self,
        log: Path,
        *arguments: str,
        port: int = 0,
        patience_s: float = _READY_TIMEOUT_S,
        **environment: str,
    ) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("COSYSTREAM_")}
        inherited.pop("APPTOKEN", None)
        # What lies in the developer's own data directory is not the tests' business.
        environment = {"data_directory": str(log.parent / "data"), **environment}
        settings = {f"COSYSTREAM_{name.upper()}": value for name, value in environment.items()}
        search = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        self.log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server", "serve", "--port", str(port), *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**inherited, "PYTHONPATH": search, **settings},
                cwd=log.parent,
            )
        try:
            self.address = self._read_address()
            self._wait_ready(patience_s)
        except BaseException:
            self.stop()
            raise

    def _read_address(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = re.search(rb"//(127\.0\.0\.1:\d+)", line)
            if found:
                return found.group(1).decode()
        raise AssertionError(f"the server did not start:\n{self.log.read_text()}")

    def _wait_ready(self, patience_s: float) -> None:
        limit = time.monotonic() + patience_s
        while time.monotonic() < limit:
            if httpx.get(f"http://{self.address}/readyz").status_code == 200:
                return
            time.sleep(0.02)
        raise AssertionError(f"the server did not become ready:\n{self.log.read_text()}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def flowing_url(self) -> str:
        return f"ws://{self.address}/ws/v1/tts"

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{self.address}{path}")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over its samples with these labels; 0 before anything was counted."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        samples = [
            line.rsplit(" ", 1)
            for line in self.get("/metrics").text.splitlines()
            if re.match(rf"{name}(\{{| )", line)
        ]
        return sum(float(value) for key, value in samples if all(one in key for one in wanted))

    def announced(self, name: str) -> str:
        """What stands behind this name on standard output, after its first address."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.split()[:1] == [name.encode()]:
                return line.split()[1].decode()
        raise AssertionError(f"{name} was not announced")

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = 30) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        if self._process.poll() is None:
            self.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()
