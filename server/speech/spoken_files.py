"""Speech that is kept as a file for a while, for protocols that answer with an address.

    <directory>/<32 hexadecimal digits>.mp3    finished, may be fetched
                <the same>.mp3.part            being written

Whoever knows a name may have the file: names are random, and so as good as a key. What is too old,
and the oldest of what is too much, is deleted when the next file is made (where that takes long,
when some further one is), or by `sweep`. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from pathlib import Path

from server.speech import durable_files

DIRECTORY_NAME = "spoken"
"""In `Settings.data_path`."""
LIFETIME_S = 24 * 3600
"""Of a file there."""
MAX_BYTES = 1 << 30
"""Of all finished files together, before another is begun."""
_NAME = re.compile(r"[0-9a-f]{32}\.[a-z0-9]{2,5}")
_PART = ".part"
_STALE_PART_S = 3600.0
"""Nobody writes to a file any more that was not written to for so long."""
_CHEAP_SWEEP_S = 0.05
_SWEEP_SHARE = 0.01
"""Of the time: with tens of thousands of files a sweep lasts longer than many a text."""
_MOST_WAV_BYTES = 0xFFFFFFFF
"""More is not known to the header, as in a stream's."""
_WAV_SIZES = ((4, 8), (40, 44))
"""Where a WAV file's header has a size, and the bytes that this does not count."""


class SpokenFile:
    """A file that is being written: `finish` or `discard` it."""

    def __init__(
        self, directory: Path, extension: str, lifetime_s: float, *, durable: bool = False
    ) -> None:
        self._lifetime_s = lifetime_s
        self._durable = durable
        self.id = uuid.uuid4().hex
        self.name = f"{self.id}.{extension}"
        self._path = directory / self.name
        self._part = directory / (self.name + _PART)
        self._file = open(self._part, "xb", opener=_owner_only)  # noqa: SIM115 - closed below

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)

    def finish(self) -> int:
        """Let it be fetched.

        Returns:
            Until when, in seconds since 1970.
        """
        if self._path.suffix == ".wav":
            self._write_wav_sizes()
        if self._durable:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        self._part.rename(self._path)
        if self._durable:
            durable_files.sync(self._path.parent)
        return round(time.time() + self._lifetime_s)

    def _write_wav_sizes(self) -> None:
        """A stream's header cannot know them, a file's can."""
        size_bytes = self._file.tell()
        for place, uncounted in _WAV_SIZES:
            self._file.seek(place)
            size = min(size_bytes - uncounted, _MOST_WAV_BYTES)
            self._file.write(size.to_bytes(4, "little"))

    def discard(self) -> None:
        """It will not be finished; to be called more than once, and after `finish`, is no error."""
        # On a full disk even closing fails.
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink()


class SpokenFiles:
    """The files of a directory, which need not exist yet.

    Args:
        directory: where they lie.
        lifetime_s: for how long each is kept.
        max_bytes: see `MAX_BYTES`; a single larger file would not stay.
        durable: what is finished is there after a power cut as well.
    """

    def __init__(
        self,
        directory: Path,
        *,
        lifetime_s: float = LIFETIME_S,
        max_bytes: int = MAX_BYTES,
        durable: bool = False,
    ) -> None:
        self._directory = directory
        self._lifetime_s = lifetime_s
        self.max_bytes = max_bytes
        self._durable = durable
        self._sweep_due_s = 0.0

    def create(self, extension: str) -> SpokenFile:
        """Begin a file.

        Raises:
            OSError: it cannot be made.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        begin_s = time.monotonic()
        if begin_s >= self._sweep_due_s:
            self.sweep()
            end_s = time.monotonic()
            if end_s - begin_s > _CHEAP_SWEEP_S:
                self._sweep_due_s = end_s + (end_s - begin_s) / _SWEEP_SHARE
        return SpokenFile(self._directory, extension, self._lifetime_s, durable=self._durable)

    def find(self, name: str) -> Path | None:
        """A finished file that is not too old."""
        if _NAME.fullmatch(name) is None:
            return None
        path = self._directory / name
        with contextlib.suppress(OSError):
            if path.stat().st_mtime >= time.time() - self._lifetime_s:
                return path
        return None

    def remove(self, name: str) -> None:
        """Delete a finished file, if it is still there."""
        path = self.find(name)
        if path is not None:
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what is too old or too much.

        Raises:
            OSError: the directory cannot be read.
        """
        if not self._directory.exists():
            return
        found: list[tuple[float, int, Path]] = []
        for path in self._directory.iterdir():
            # Another process may delete it first.
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        now_s = time.time()
        room_bytes = self.max_bytes
        for modified_s, size_bytes, path in sorted(found, reverse=True):
            finished = path.suffix != _PART
            room_bytes -= size_bytes if finished else 0
            lifetime_s = self._lifetime_s if finished else _STALE_PART_S
            if now_s - modified_s > lifetime_s or (finished and room_bytes < 0):
                with contextlib.suppress(OSError):
                    path.unlink()


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
