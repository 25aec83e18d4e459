"""Tells whoever asked for it that a job has ended: at least once, or a few times in vain."""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import Callable, Sequence

import structlog

from server.fetching import Fetcher, FetchError
from server.speech.jobs.store import JobStore, JobStoreError
from server.speech.jobs.threads import Threads
from server.speech.jobs.types import Job

BACKOFF_S = (2.0, 10.0, 60.0, 600.0)
"""Between the first try and the second, and so on."""
_TIMEOUT_S = 10.0
_AT_ONCE = 8
_log = structlog.get_logger(__name__)


class Notices:
    """Sends what is due.

    Args:
        store: where jobs say whom to tell.
        fetcher: refuses what lies in the operator's network.
        render: a job's end, as its protocol tells it.
        threads: where the store is asked.
        backoff_s: the waits between tries; one try more is made.
    """

    def __init__(
        self,
        store: JobStore,
        fetcher: Fetcher,
        render: Callable[[Job], bytes],
        threads: Threads,
        *,
        backoff_s: Sequence[float] = BACKOFF_S,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._render = render
        self._threads = threads
        self._backoff_s = backoff_s

    async def send_due(self) -> bool:
        """Send what is due now; whether there may be more.

        Raises:
            JobStoreError: the store cannot be used.
        """
        jobs = await self._threads.run(self._take)
        await asyncio.gather(*(self._send(job) for job in jobs))
        return len(jobs) == _AT_ONCE

    def _take(self) -> list[Job]:
        take = functools.partial(self._store.take_notice, time.time(), self._backoff_s)
        return list(itertools.islice(iter(take, None), _AT_ONCE))

    async def _send(self, job: Job) -> None:
        url = job.order.notify_url
        try:
            await self._fetcher.post(url, self._render(job), timeout_s=_TIMEOUT_S)
            await self._threads.run(self._store.notice_taken, job.id)
        except FetchError as error:
            _log.warning("job's end not told", job=job.id, reason=f"notify_url {error.reason}")
        except JobStoreError as error:
            _log.error("job's end will be told again", job=job.id, reason=str(error))
