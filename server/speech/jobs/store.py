"""The jobs of a data directory, in one SQLite file that servers share.

    job       one row each, until some days after its end
    segment   what is left to speak and what is spoken; gone when the job is finished

A segment counts as spoken when its row says where it ends in the recording, which is written before
that. Everything here blocks.
"""

# ruff: noqa: S608 - the statements are our own text, all values are bound

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from server import sqlite_file
from server.errors import ErrorCode
from server.speech.jobs.rows import (
    ORDER,
    SCHEMA,
    SCHEMA_VERSION,
    SEGMENT,
    STATE,
    UNFINISHED,
    read_job,
    read_segment,
    segment_row,
)
from server.speech.jobs.types import Job, JobInLine, JobOrder, JobState, Segment, SentenceTimes

_BUSY_TIMEOUT_S = 5.0


class JobStoreError(Exception):
    """The store cannot be used; the message says why, for the operator."""


class JobStore:
    """The file, which is made with the first job.

    Args:
        path: of the file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    # --- The client's side -------------------------------------------------------------------

    def add(
        self, order: JobOrder, segments: Sequence[Segment], *, now_s: float, most: int = 0
    ) -> bool:
        """Take a job on, unless its tenant has `most` unfinished ones; 0 is no limit."""
        options = msgspec.json.encode(order.options)
        with self._writing(create=True) as connection:
            if most and _count(connection, order.tenant) >= most:
                return False
            connection.execute(
                f"INSERT INTO job ({ORDER}, created_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(order.id, order.request_id, order.tenant, order.voice, order.model),
                    *(order.sample_rate_hz, order.characters, order.base_url, order.notify_url),
                    *(options, now_s),
                ),
            )
            connection.executemany(
                f"INSERT INTO segment (job, {SEGMENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(order.id, *segment_row(segment)) for segment in segments],
            )
        return True

    def find(self, job_id: str) -> Job | None:
        """A job, None if there is none, or no more."""
        rows = self._read(f"SELECT {ORDER}, {STATE} FROM job WHERE id = ?", job_id)
        return read_job(rows[0]) if rows else None

    def remove(self, job_id: str) -> str:
        """Forget a job, whatever its state.

        Returns:
            The name of its file, which it may have got a moment ago; empty if it has none.
        """
        with self._writing() as connection:
            removed = connection.execute(
                "DELETE FROM job WHERE id = ? RETURNING file_name", (job_id,)
            ).fetchall()
        return "".join(name for (name,) in removed)

    # --- Speaking ----------------------------------------------------------------------------

    def line(self) -> list[JobInLine]:
        """All unfinished jobs, the oldest first."""
        rows = self._read(
            f"SELECT id, tenant, model, turn_s FROM job WHERE {UNFINISHED} ORDER BY created_s, id"
        )
        return [JobInLine(id=row[0], tenant=row[1], model=row[2], turn_s=row[3]) for row in rows]

    def begin_turn(self, job_id: str, now_s: float) -> Job | None:
        """Note that a job is worked on; None if that is not needed any more."""
        with self._writing() as connection:
            changed = connection.execute(
                f"UPDATE job SET state = ?, turn_s = ? WHERE id = ? AND {UNFINISHED}",
                (JobState.RUNNING, now_s, job_id),
            )
            if not changed.rowcount:
                return None
        return self.find(job_id)

    def segments(self, job_id: str) -> list[Segment]:
        """All segments of an unfinished job, in order."""
        rows = self._read(f"SELECT {SEGMENT} FROM segment WHERE job = ? ORDER BY number", job_id)
        return [read_segment(row) for row in rows]

    def next_segment(self, job_id: str) -> Segment | None:
        """The first segment that is not spoken."""
        rows = self._read(
            f"SELECT {SEGMENT} FROM segment WHERE job = ? AND end_samples IS NULL "
            "ORDER BY number LIMIT 1",
            job_id,
        )
        return read_segment(rows[0]) if rows else None

    def spoken_samples(self, job_id: str) -> int:
        """Where the last spoken segment ends in the recording."""
        rows = self._read("SELECT max(end_samples) FROM segment WHERE job = ?", job_id)
        return (rows[0][0] or 0) if rows else 0

    def segment_spoken(self, job_id: str, number: int, end_samples: int) -> bool:
        """Note that a segment is in the recording; False if the job is gone."""
        with self._writing() as connection:
            connection.execute("UPDATE job SET failures = 0 WHERE id = ?", (job_id,))
            changed = connection.execute(
                "UPDATE segment SET end_samples = ? WHERE job = ? AND number = ?",
                (end_samples, job_id, number),
            )
            return changed.rowcount > 0

    def segment_failed(self, job_id: str) -> int:
        """Count a failure of the next segment; how many there are in a row."""
        with self._writing() as connection:
            connection.execute("UPDATE job SET failures = failures + 1 WHERE id = ?", (job_id,))
        job = self.find(job_id)
        return 0 if job is None else job.failures

    def forget_after(self, job_id: str, samples: int) -> None:
        """Speak again what lies, or begins, beyond so many samples of the recording."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE segment SET end_samples = NULL WHERE job = ? AND end_samples > ?",
                (job_id, samples),
            )

    def finish(
        self, job_id: str, file_name: str, sentences: Sequence[SentenceTimes], *, now_s: float
    ) -> bool:
        """Note that a job's file can be fetched; False if nobody wants it any more."""
        return self._end(
            job_id,
            "state = ?, file_name = ?, sentences = ?",
            (JobState.DONE, file_name, msgspec.json.encode(sentences)),
            now_s=now_s,
        )

    def fail(self, job_id: str, code: ErrorCode, message: str, *, now_s: float) -> bool:
        """Give a job up; False if it is finished, or gone."""
        return self._end(
            job_id,
            "state = ?, error_code = ?, error_message = ?",
            (JobState.FAILED, code, message),
            now_s=now_s,
        )

    def _end(self, job_id: str, change: str, values: tuple[Any, ...], *, now_s: float) -> bool:
        with self._writing() as connection:
            changed = connection.execute(
                f"UPDATE job SET {change}, ended_s = ?, "
                "notice_due_s = CASE notify_url WHEN '' THEN NULL ELSE ? END "
                f"WHERE id = ? AND {UNFINISHED}",
                (*values, now_s, now_s, job_id),
            )
            connection.execute("DELETE FROM segment WHERE job = ?", (job_id,))
            return changed.rowcount > 0

    # --- Telling -----------------------------------------------------------------------------

    def take_notice(self, now_s: float, backoff_s: Sequence[float]) -> Job | None:
        """A job of whose end somebody is to be told now.

        Whoever takes it and dies has tried: it is due again after the wait that follows, or never,
        when all waits are used up.
        """
        due = "SELECT id, notices FROM job WHERE notice_due_s <= ? ORDER BY notice_due_s LIMIT 1"
        if not self._read(due, now_s):
            # Usually; and it costs no lock.
            return None
        with self._writing() as connection:
            row = connection.execute(due, (now_s,)).fetchone()
            if row is None:
                return None
            job_id, notices = row
            due_s = now_s + backoff_s[notices] if notices < len(backoff_s) else None
            connection.execute(
                "UPDATE job SET notices = notices + 1, notice_due_s = ? WHERE id = ?",
                (due_s, job_id),
            )
        return self.find(job_id)

    def notice_taken(self, job_id: str) -> None:
        """Somebody was told; that is enough."""
        with self._writing() as connection:
            connection.execute("UPDATE job SET notice_due_s = NULL WHERE id = ?", (job_id,))

    # --- Forgetting --------------------------------------------------------------------------

    def expire(self, before_s: float, *, now_s: float) -> None:
        """Forget jobs that ended before a time, give up those that were made before it."""
        late = self._read(f"SELECT id FROM job WHERE {UNFINISHED} AND created_s < ?", before_s)
        for (job_id,) in late:
            message = "it could not be spoken within the time for which jobs are kept"
            self.fail(job_id, ErrorCode.MODEL_UNAVAILABLE, message, now_s=now_s)
        if self._read("SELECT 1 FROM job WHERE ended_s < ? LIMIT 1", before_s):
            with self._writing() as connection:
                connection.execute("DELETE FROM job WHERE ended_s < ?", (before_s,))

    # --- The file ----------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock, self._explained():
            connection = self._open(create=False)
            return [] if connection is None else connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _writing(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            connection = self._open(create=create)
            if connection is None:
                raise JobStoreError(f"{self._path} is gone")
            with sqlite_file.writing(connection):
                yield connection

    def _open(self, *, create: bool) -> sqlite3.Connection | None:
        """The connection; None if there is no file, and none is to be made."""
        if self._connection is not None:
            return self._connection
        if not self._path.exists():
            if not create:
                return None
            sqlite_file.make(self._path, SCHEMA, SCHEMA_VERSION, lambda _: None)
        connection = sqlite_file.connect(self._path, _BUSY_TIMEOUT_S, one_thread=False)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
                raise JobStoreError(f"{self._path} is no store of jobs that this program can read")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise JobStoreError(f"{self._path} cannot be used: {error}") from error


def _count(connection: sqlite3.Connection, tenant: str) -> int:
    statement = f"SELECT count(*) FROM job WHERE {UNFINISHED} AND tenant = ?"
    count: int = connection.execute(statement, (tenant,)).fetchone()[0]
    return count
