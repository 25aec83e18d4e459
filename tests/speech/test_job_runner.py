"""Turns of jobs: what is left of them, and what goes on after a defect."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flowing import eventually
from job_orders import RATE_HZ, order, segment
from sine_model import sine_samples

from server.errors import ErrorCode
from server.speech.jobs import runner
from server.speech.jobs.recording import JobRecording
from server.speech.jobs.runner import JobRunner, RunnerParts
from server.speech.jobs.speaking import Progress
from server.speech.jobs.store import JobStore, JobStoreError
from server.speech.jobs.threads import Threads
from server.speech.jobs.types import Job, JobState
from server.speech.spoken_files import SpokenFile, SpokenFiles

pytestmark = pytest.mark.anyio
VOICE = SimpleNamespace(model="m", sample_rate_hz=RATE_HZ)


class Studio:
    """Everything that a runner works with; texts are spoken at once."""

    def __init__(self, folder: Path) -> None:
        self.store = JobStore(folder / "jobs")
        self.files: Any = SpokenFiles(folder / "files")
        self.files_folder = folder / "files"
        self.recordings = folder / "recordings"
        self.ended = asyncio.Event()
        self.told = asyncio.Event()
        self.defects = 0
        self._threads = Threads(3)

    async def go_on(self, job: Job, _: Any, recording: JobRecording, *, until_s: float) -> Progress:
        recording.cut(0)
        self.store.segment_spoken(job.id, 0, recording.append(sine_samples(5)))
        return Progress.SPOKEN

    async def send_due(self) -> bool:
        if self.defects:
            self.defects -= 1
            raise ValueError("a defect")
        self.told.set()
        return False

    def job_ended(self, *_: Any) -> None:
        self.ended.set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        me: Any = self
        parts = RunnerParts(
            store=self.store,
            files=self.files,
            recordings=self.recordings,
            speaking=me,
            notices=me,
            threads=self._threads,
            models=lambda: {"m"},
            catalog=lambda: me,
            metrics=me,
            protocol="test",
            lifetime_s=1e9,
        )
        async with JobRunner(parts, at_once=1).open():
            yield
        self._threads.close()
        self.store.close()

    def resolve(self, _: str) -> Any:
        return VOICE

    @property
    def left(self) -> list[str]:
        """All files of speech."""
        folders = (self.files_folder, self.recordings)
        return [path.name for folder in folders for path in folder.iterdir()]


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setattr(runner, "_POLL_S", 0.01)
    studio = Studio(tmp_path)
    studio.store.add(order(), [segment(0)], now_s=time.time())
    return studio


async def test_a_file_for_a_job(studio: Studio) -> None:
    async with studio.open(), asyncio.timeout(10):
        await studio.ended.wait()
    job = JobStore(studio.files_folder.parent / "jobs").find("a")
    assert job is not None
    assert (job.state, studio.left) == (JobState.DONE, [job.file_name])


async def test_a_job_that_is_removed_while_its_file_is_made_leaves_none(studio: Studio) -> None:
    create = studio.files.create

    def removed(extension: str) -> SpokenFile:
        studio.store.remove("a")
        file: SpokenFile = create(extension)
        return file

    studio.files.create = removed
    async with studio.open():
        await eventually(lambda: studio.files_folder.exists() and not studio.left)


async def test_files_that_cannot_be_noted_down_do_not_pile_up(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, tries = studio.store.finish, 3

    def full(*arguments: Any, **options: Any) -> bool:
        nonlocal tries
        tries -= 1
        if tries:
            raise JobStoreError("the disk is full")
        return finish(*arguments, **options)

    monkeypatch.setattr(studio.store, "finish", full)
    async with studio.open(), asyncio.timeout(10):
        await studio.ended.wait()
    assert len(studio.left) == 1


async def test_a_defect_stops_nothing_for_good(studio: Studio) -> None:
    studio.defects = 2
    async with studio.open(), asyncio.timeout(10):
        await studio.told.wait()
        await studio.ended.wait()


async def test_a_file_that_would_take_all_the_room_is_not_made(studio: Studio) -> None:
    studio.files.max_bytes = 1000
    async with studio.open(), asyncio.timeout(10):
        await studio.ended.wait()
        await eventually(lambda: not studio.left)
    job = JobStore(studio.files_folder.parent / "jobs").find("a")
    assert job is not None
    assert job.error_code is ErrorCode.TEXT_TOO_LONG
