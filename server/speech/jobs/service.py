"""Takes long texts and makes files of them: what endpoints ask.

<data directory>/long_texts/jobs.sqlite3    the jobs
                            recordings/     what is spoken of jobs that are not finished
                            files/          results, for some days
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from server.accounts import Accounts
from server.errors import ErrorCode, SpeechError
from server.fetching import Fetcher
from server.metrics import Metrics
from server.pool.pool import WorkerPool
from server.settings import Settings
from server.speech.jobs.line import Room
from server.speech.jobs.notices import Notices
from server.speech.jobs.plan import check_sound, read_segments
from server.speech.jobs.runner import JobRunner, RunnerParts
from server.speech.jobs.speaking import JobSpeaking
from server.speech.jobs.store import JobStore
from server.speech.jobs.threads import Threads
from server.speech.jobs.types import Job, JobOrder, JobRequest, JobState, Segment
from server.speech.service import SpeechService
from server.speech.spoken_files import SpokenFiles
from server.speech.voices import VoiceEntry

DIRECTORY_NAME = "long_texts"
"""In `Settings.data_path`."""
LIFETIME_S = 7 * 24 * 3600
"""Of a finished job and its file; also the longest that a job may take."""
_STORE_NAME = "jobs.sqlite3"
_OTHER_THREADS = 2
"""Besides one for each job that is worked on: for notices, cleaning and whoever asks."""
_RETRY_AFTER_S = 60.0


class LongTexts:
    """The jobs of one server, and of those that share its data directory.

    Args:
        settings: where files lie, and how much is done at once.
        pool: where models run.
        speech: knows voices, and who is listened to.
        accounts: what tenants may do, and where their text is charged.
        fetcher: sends notices.
        metrics: told of each job's end.
        protocol: for metrics and the log.
        render_notice: a job's end, as its protocol tells it.
    """

    def __init__(
        self,
        settings: Settings,
        pool: WorkerPool,
        speech: SpeechService,
        *,
        accounts: Accounts,
        fetcher: Fetcher,
        metrics: Metrics,
        protocol: str,
        render_notice: Callable[[Job], bytes],
    ) -> None:
        folder = settings.data_path / DIRECTORY_NAME
        self._pool = pool
        self._speech = speech
        self._accounts = accounts
        self._metrics = metrics
        self._folder = folder
        self._most_of_tenant = settings.max_jobs_per_token
        self._store = JobStore(folder / _STORE_NAME)
        self._files = SpokenFiles(
            folder / "files",
            lifetime_s=LIFETIME_S,
            max_bytes=settings.job_files_max_bytes,
            durable=True,
        )
        self._threads = Threads(settings.max_jobs + _OTHER_THREADS)
        room = Room(pool, speech.admission)
        parts = RunnerParts(
            store=self._store,
            files=self._files,
            recordings=folder / "recordings",
            speaking=JobSpeaking(pool, room, self._store, accounts, self._threads),
            notices=Notices(self._store, fetcher, render_notice, self._threads),
            threads=self._threads,
            models=lambda: set(pool.models),
            catalog=lambda: speech.catalog,
            metrics=metrics,
            protocol=protocol,
            lifetime_s=LIFETIME_S,
        )
        self._runner = JobRunner(parts, at_once=settings.max_jobs)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Work on jobs while inside."""
        try:
            async with self._runner.open():
                yield
        finally:
            self._threads.close()
            self._store.close()

    async def submit(self, request: JobRequest, text: str) -> None:
        """Take a text on, all of it, which is charged at once.

        Raises:
            SpeechError: what a session would refuse; CAPACITY_EXCEEDED, the tenant has too many.
            JobStoreError: the store cannot be used.
        """
        try:
            await self._submit(request, text)
        except SpeechError as error:
            self._metrics.session_refused(error.code)
            raise
        self._runner.wake()

    async def _submit(self, request: JobRequest, text: str) -> None:
        if self._speech.admission.draining:
            raise SpeechError(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
        self._accounts.admit(request.tenant)
        voice = self._speech.find_voice(request.options)
        segments = await read_segments(
            text,
            request.options,
            language=voice.voice.language,
            capabilities=self._pool.models[voice.model].capabilities,
        )
        check_sound(request.options, voice, segments)
        order = _order(request, voice, len(text))
        if not await self._threads.run(self._add, order, segments):
            raise SpeechError(
                ErrorCode.CAPACITY_EXCEEDED,
                f"this token already has {self._most_of_tenant} texts that are not finished, "
                "which is its limit",
                retry_after_s=_RETRY_AFTER_S,
            )
        try:
            self._accounts.charge(request.tenant, len(text))
        except SpeechError:
            await self._threads.run(self._store.remove, request.id)
            raise

    def _add(self, order: JobOrder, segments: Sequence[Segment]) -> bool:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._store.add(order, segments, now_s=time.time(), most=self._most_of_tenant)

    async def find(self, job_id: str, tenant: str) -> Job:
        """A tenant's job.

        Raises:
            SpeechError: PARAMETER_INVALID; there is none, or no more.
            JobStoreError: the store cannot be used.
        """
        job = await self._threads.run(self._store.find, job_id)
        if job is None or job.order.tenant != tenant:
            raise SpeechError(ErrorCode.PARAMETER_INVALID, f"Invalid task_id '{job_id[:64]}'!")
        if job.state is JobState.DONE and await self.file(job.file_name) is None:
            message = f"The result of task '{job_id}' has expired!"
            raise SpeechError(ErrorCode.PARAMETER_INVALID, message)
        return job

    async def remove(self, job: Job) -> None:
        """Stop a job, and delete what there is of it.

        Raises:
            JobStoreError: the store cannot be used.
        """
        file_name = await self._threads.run(self._store.remove, job.id)
        if file_name:
            await self._threads.run(self._files.remove, file_name)

    async def file(self, name: str) -> Path | None:
        """A result, None if there is none, or no more."""
        return await self._threads.run(self._files.find, name)


def _order(request: JobRequest, voice: VoiceEntry, characters: int) -> JobOrder:
    return JobOrder(
        id=request.id,
        request_id=request.request_id,
        tenant=request.tenant,
        options=request.options,
        base_url=request.base_url,
        notify_url=request.notify_url,
        voice=voice.id,
        model=voice.model,
        sample_rate_hz=voice.sample_rate_hz,
        characters=characters,
    )
