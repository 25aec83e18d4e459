"""What is spoken of a job so far, in a file that only one process at a time has.

    <folder>/<job's id>.s16    signed 16 bit, mono, at the model's rate

The lock goes with the process: after its end, however that came, another one goes on. Everything
here blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Self

import numpy as np

from models.base import Samples
from server.speech.containers import quantise

_SUFFIX = ".s16"
_SAMPLE_BYTES = 2
_FULL_SCALE = np.float32(32_767)
_STRAY_S = 3600.0


class JobRecording:
    """A job's recording; whoever has it has the job. `close` or `discard` it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 - closed below

    @classmethod
    def open(cls, folder: Path, job_id: str) -> Self | None:
        """Take a job; None if another process, or another turn, has it.

        Raises:
            OSError: the file cannot be made.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / (job_id + _SUFFIX)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    @property
    def n_samples(self) -> int:
        """How long it is."""
        return os.fstat(self._file.fileno()).st_size // _SAMPLE_BYTES

    def cut(self, n_samples: int) -> None:
        """Drop what is behind so many samples, which was not noted down in time."""
        self._file.truncate(n_samples * _SAMPLE_BYTES)

    def append(self, samples: Samples) -> int:
        """Add samples, shape (n_samples,); they are there after a power cut as well.

        Returns:
            How long it is now.
        """
        self._file.seek(0, os.SEEK_END)
        data = memoryview(quantise(samples).tobytes())
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())
        return self.n_samples

    def read(self, begin: int, end: int, block_samples: int) -> Iterator[Samples]:
        """The samples from `begin` to `end`, in blocks."""
        self._file.seek(begin * _SAMPLE_BYTES)
        for at in range(begin, end, block_samples):
            data = self._file.read(min(block_samples, end - at) * _SAMPLE_BYTES) or b""
            yield np.frombuffer(data, "<i2").astype(np.float32) / _FULL_SCALE

    def close(self) -> None:
        """Leave the job to the next."""
        self._file.close()

    def discard(self) -> None:
        """Delete it: the job needs it no more."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.close()


def remove_strays(folder: Path, job_ids: Collection[str]) -> None:
    """Delete old recordings of jobs that are not among these."""
    oldest_s = time.time() - _STRAY_S
    for path in folder.glob("*" + _SUFFIX):
        # Another process may delete it first.
        with contextlib.suppress(OSError):
            if path.stem not in job_ids and path.stat().st_mtime < oldest_s:
                path.unlink()
