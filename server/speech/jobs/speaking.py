"""Speaks a job's segments into its recording, one after the other, when nobody else needs to."""

from __future__ import annotations

import asyncio
import time
from enum import Enum

import numpy as np
import structlog

from models.base import Samples
from server.accounts import Accounts
from server.errors import SERVER_FAULTS, ErrorCode, SpeechError
from server.pool.pool import PoolStream, WorkerPool
from server.speech.jobs.line import Room
from server.speech.jobs.recording import JobRecording
from server.speech.jobs.store import JobStore
from server.speech.jobs.threads import Threads
from server.speech.jobs.types import Job, Segment
from server.speech.speaker import Speaker
from server.speech.utterance import Utterance
from server.speech.voices import VoiceEntry

MAX_FAILURES = 4
"""Tries of one segment."""
_BACKOFF_S = 0.5
"""Before the second try of a segment; doubled before each further one."""
_ROOM_POLL_S = 0.1
_DEADLINE_S = 60.0
"""Behind everything that listeners wait for."""
_log = structlog.get_logger(__name__)


class Progress(Enum):
    """What came of a turn."""

    SPOKEN = "spoken"
    """All of it is in the recording."""
    LEFT = "left"
    """There is more to speak."""
    GONE = "gone"
    """Nobody wants it any more."""


class _DisplacedError(Exception):
    """A listener needs the slot."""


class JobSpeaking:
    """Speaks.

    Args:
        pool: where models run.
        room: looks after listeners.
        store: where what is spoken is noted down.
        accounts: knows how much a tenant may do at once.
        threads: for what blocks.
    """

    def __init__(
        self,
        pool: WorkerPool,
        room: Room,
        store: JobStore,
        accounts: Accounts,
        threads: Threads,
    ) -> None:
        self._pool = pool
        self._room = room
        self._store = store
        self._accounts = accounts
        self._threads = threads

    async def go_on(
        self, job: Job, voice: VoiceEntry, recording: JobRecording, *, until_s: float
    ) -> Progress:
        """Speak what is not spoken yet.

        Args:
            job: as it stands.
            voice: its voice.
            recording: the job's.
            until_s: when the turn ends, by the monotonic clock; a segment that has begun is
                finished.

        Raises:
            SpeechError: it cannot be spoken.
            JobStoreError: the store cannot be used.
            OSError: the recording cannot be written.
        """
        await self._threads.run(self._restore, job.id, recording)
        while True:
            segment = await self._threads.run(self._store.next_segment, job.id)
            if segment is None:
                return Progress.SPOKEN
            samples = await self._speak(job, voice, segment, until_s)
            if samples is None:
                return Progress.LEFT
            if not await self._threads.run(self._keep, job.id, segment, recording, samples):
                return Progress.GONE

    def _restore(self, job_id: str, recording: JobRecording) -> None:
        """Let recording and store agree on what is spoken."""
        noted = self._store.spoken_samples(job_id)
        if recording.n_samples < noted:
            # Somebody lost it.
            self._store.forget_after(job_id, recording.n_samples)
            noted = self._store.spoken_samples(job_id)
        recording.cut(noted)

    def _keep(
        self, job_id: str, segment: Segment, recording: JobRecording, samples: Samples
    ) -> bool:
        end_samples = recording.append(samples)
        return self._store.segment_spoken(job_id, segment.number, end_samples)

    async def _speak(
        self, job: Job, voice: VoiceEntry, segment: Segment, until_s: float
    ) -> Samples | None:
        """A segment's speech; None if there is no room for it in this turn, or it failed."""
        if not segment.spoken:
            return np.empty(0, np.float32)
        tenant = job.order.tenant
        while time.monotonic() < until_s:
            if self._room.take(voice.model, tenant, self._accounts.max_sessions(tenant)):
                try:
                    return await self._try(job, voice, segment)
                except SpeechError as error:
                    await self._bear(job, segment, error)
                    return None
                except _DisplacedError:
                    pass
                finally:
                    self._room.leave(tenant)
            await asyncio.sleep(_ROOM_POLL_S)
        return None

    async def _try(self, job: Job, voice: VoiceEntry, segment: Segment) -> Samples:
        utterance = Utterance(
            text=segment.text,
            text_begin=0,
            text_end=len(segment.text),
            spoken=segment.spoken,
            instruction=segment.instruction,
        )
        speaker = Speaker(
            self._pool.open, voice=voice, options=job.order.options, tenant=job.order.tenant
        )
        stream = speaker.speak(utterance, deadline_s=time.monotonic() + _DEADLINE_S)
        try:
            return await self._collect(stream, voice.model)
        finally:
            stream.cancel()

    async def _collect(self, stream: PoolStream, model: str) -> Samples:
        chunks: list[Samples] = []
        async for chunk in stream:
            chunks.append(chunk.samples)
            if not stream.ended and self._room.is_wanted(model):
                raise _DisplacedError
        return np.concatenate(chunks) if chunks else np.empty(0, np.float32)

    async def _bear(self, job: Job, segment: Segment, error: SpeechError) -> None:
        """Wait, if it is worth another try.

        Raises:
            SpeechError: it is not.
        """
        if error.code in {ErrorCode.CAPACITY_EXCEEDED, ErrorCode.SHUTTING_DOWN}:
            await asyncio.sleep(_BACKOFF_S)
            return
        if error.code not in SERVER_FAULTS:
            raise error
        failures = await self._threads.run(self._store.segment_failed, job.id)
        _log.warning(
            "segment failed",
            job=job.id,
            segment=segment.number,
            failures=failures,
            code=error.code,
            reason=error.message,
        )
        if failures >= MAX_FAILURES:
            raise error
        await asyncio.sleep(_BACKOFF_S * 2 ** (failures - 1))
