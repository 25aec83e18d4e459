"""Works on jobs in turns, as many at once as the operator allows, and cleans up behind them.

A turn lasts some seconds: a text of hours does not keep a text of a minute waiting. Whoever has a
job's recording open has its turn, so servers that share a data directory share the work, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.errors import SERVER_FAULTS, ErrorCode, SpeechError
from server.metrics import Metrics
from server.speech.jobs.line import in_turn
from server.speech.jobs.notices import Notices
from server.speech.jobs.recording import JobRecording, remove_strays
from server.speech.jobs.rendering import Rendering, RenderingStoppedError
from server.speech.jobs.speaking import JobSpeaking, Progress
from server.speech.jobs.store import JobStore, JobStoreError
from server.speech.jobs.threads import Threads
from server.speech.jobs.types import Job
from server.speech.spoken_files import SpokenFiles
from server.speech.voices import VoiceCatalog, VoiceEntry

_TURN_S = 10.0
_POLL_S = 1.0
"""How often a look is taken at what other servers left, or what is due."""
_CLEANING_INTERVAL_S = 600.0
_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class RunnerParts:
    """What a runner works with."""

    store: JobStore
    files: SpokenFiles
    recordings: Path
    """A folder."""
    speaking: JobSpeaking
    notices: Notices
    threads: Threads
    models: Callable[[], Collection[str]]
    """Those that can speak now."""
    catalog: Callable[[], VoiceCatalog]
    metrics: Metrics
    protocol: str
    """For metrics and the log."""
    lifetime_s: float
    """For which finished jobs are kept."""


class JobRunner:
    """Takes turns while it is open.

    Args:
        parts: what it works with.
        at_once: jobs, all together and of one tenant.
    """

    def __init__(self, parts: RunnerParts, *, at_once: int) -> None:
        self._parts = parts
        self._at_once = at_once
        self._news = asyncio.Event()
        self._served_s: dict[str, float] = {}
        self._stopped = threading.Event()
        self._clean_due_s = 0.0

    def wake(self) -> None:
        """There is a new job."""
        self._news.set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Work while inside. What is under way at the end is gone on with later."""
        steps = [*[self._take_turn] * self._at_once, self._parts.notices.send_due, self._clean]
        workers = [asyncio.create_task(self._keep_on(step)) for step in steps]
        for worker in workers:
            worker.add_done_callback(_report_crash)
        try:
            yield
        finally:
            self._stopped.set()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _keep_on(self, step: Callable[[], Awaitable[bool]]) -> None:
        """Do a step again and again, at once where it says that there may be more to do."""
        while True:
            try:
                busy = await step()
            except (JobStoreError, OSError) as error:
                # A disk that is full will not stay so.
                _log.error("jobs cannot be worked on, trying again", reason=str(error))
                busy = False
            except Exception:  # noqa: BLE001 - a defect must not stop all jobs until a restart
                _log.exception("jobs cannot be worked on, trying again")
                busy = False
            if not busy:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await self._news.wait()
                self._news.clear()

    # --- Turns -------------------------------------------------------------------------------

    async def _take_turn(self) -> bool:
        """Give a job its turn; False if there is none."""
        parts = self._parts
        line = await parts.threads.run(parts.store.line)
        jobs = in_turn(line, models=parts.models(), served_s=self._served_s, at_once=self._at_once)
        for job_id in jobs:
            recording = await parts.threads.run(JobRecording.open, parts.recordings, job_id)
            if recording is None:
                continue
            with contextlib.closing(recording):
                return await self._work(job_id, recording)
        return False

    async def _work(self, job_id: str, recording: JobRecording) -> bool:
        """Work on a job until its turn ends; whether another turn may begin at once."""
        parts = self._parts
        now_s = time.time()
        job = await parts.threads.run(parts.store.begin_turn, job_id, now_s)
        if job is None:
            recording.discard()
            return True
        self._served_s[job.order.tenant] = now_s
        try:
            voice = self._voice(job)
            until_s = time.monotonic() + _TURN_S
            progress = await parts.speaking.go_on(job, voice, recording, until_s=until_s)
            if progress is Progress.SPOKEN:
                await self._complete(job, recording)
        except SpeechError as error:
            await self._give_up(job, error)
            progress = Progress.GONE
        except (JobStoreError, OSError):
            raise
        except Exception:  # noqa: BLE001 - a defect ends its job, not the others
            _log.exception("job broke", task_id=job_id)
            await self._give_up(job, SpeechError(ErrorCode.INTERNAL, "Internal error!"))
            progress = Progress.GONE
        if progress is not Progress.LEFT:
            recording.discard()
        return True

    def _voice(self, job: Job) -> VoiceEntry:
        """The job's voice.

        Raises:
            SpeechError: VOICE_UNKNOWN; it was removed, or is another one now.
        """
        order = job.order
        voice = self._parts.catalog().resolve(order.voice)
        if (voice.model, voice.sample_rate_hz) != (order.model, order.sample_rate_hz):
            raise SpeechError(
                ErrorCode.VOICE_UNKNOWN,
                f"Invalid voice name '{order.options.voice}': it has changed meanwhile!",
            )
        return voice

    async def _complete(self, job: Job, recording: JobRecording) -> None:
        """Make the file, and let it be fetched."""
        parts = self._parts
        with contextlib.suppress(RenderingStoppedError):
            duration_s = await parts.threads.run(self._render, job, recording)
            if duration_s is not None:
                self._note_end(job, "completed", duration_s)

    def _render(self, job: Job, recording: JobRecording) -> float | None:
        """Make the file and note its name down; its duration, None if nobody wants it any more."""
        store, files, options = self._parts.store, self._parts.files, job.order.options
        segments = store.segments(job.id)
        file = files.create(options.audio_format.value)
        noted = False
        try:
            rendering = Rendering(
                job.order,
                recording,
                file,
                stopped=self._stopped,
                max_bytes=files.max_bytes,
            )
            sentences = rendering.run(segments)
            file.finish()
            wanted = sentences if options.subtitles else []
            noted = store.finish(job.id, file.name, wanted, now_s=time.time())
        finally:
            file.discard()
            if not noted:
                # Nobody would ever know its name, and it would take the room of others.
                files.remove(file.name)
        return rendering.duration_s if noted else None

    async def _give_up(self, job: Job, error: SpeechError) -> None:
        store = self._parts.store
        fail = functools.partial(store.fail, now_s=time.time())
        if await self._parts.threads.run(fail, job.id, error.code, error.message):
            self._note_end(job, error.code.value, 0.0, error)

    def _note_end(
        self, job: Job, outcome: str, audio_s: float, error: SpeechError | None = None
    ) -> None:
        parts, order = self._parts, job.order
        parts.metrics.job_ended(parts.protocol, outcome, order.characters, audio_s)
        facts = {
            "protocol": parts.protocol,
            "task_id": job.id,
            "voice": order.voice,
            "characters": order.characters,
            "audio_s": round(audio_s, 2),
            "wall_s": round(time.time() - job.created_s, 2),
        }
        if error is not None:
            facts["reason"] = error.message
        broken = error is not None and error.code in SERVER_FAULTS
        (_log.error if broken else _log.info)(f"task {outcome}", **facts)
        self.wake()

    # --- What else there is to do -------------------------------------------------------------

    async def _clean(self) -> bool:
        if time.monotonic() >= self._clean_due_s:
            self._clean_due_s = time.monotonic() + _CLEANING_INTERVAL_S
            await self._parts.threads.run(self._remove_old)
        return False

    def _remove_old(self) -> None:
        parts = self._parts
        now_s = time.time()
        parts.store.expire(now_s - parts.lifetime_s, now_s=now_s)
        parts.files.sweep()
        remove_strays(parts.recordings, {job.id for job in parts.store.line()})


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("jobs are not worked on any more", exc_info=error)
