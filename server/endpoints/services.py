"""What endpoints share; `build_app` puts one on `app.state.services`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from server.accounts import Accounts
from server.auth import Authenticator
from server.errors import ErrorCode, SpeechError
from server.fetching import Fetcher
from server.metrics import Metrics
from server.pool.pool import WorkerPool
from server.settings import Settings
from server.speech.cloning import VoiceCloning
from server.speech.jobs.service import LongTexts
from server.speech.previews import PreviewShelf
from server.speech.recognition import RecognitionService
from server.speech.service import SpeechService
from server.speech.spoken_files import SpokenFiles

_DRAIN_POLL_S = 0.05
_ABORT_GRACE_S = 1.0


class Conversation(Protocol):
    """An open connection that may be in the middle of a task."""

    async def drain(self) -> None:
        """Close now if no task runs, else after it."""

    async def abort(self, error: SpeechError) -> None:
        """End the running task with this error."""


@dataclass(slots=True, kw_only=True)
class Services:
    """The parts of one server."""

    settings: Settings
    authenticator: Authenticator
    accounts: Accounts
    metrics: Metrics
    pool: WorkerPool
    speech: SpeechService
    previews: PreviewShelf
    cloning: VoiceCloning
    recognition: RecognitionService
    fetcher: Fetcher
    long_texts: LongTexts
    spoken_files: SpokenFiles
    conversations: set[Conversation] = field(default_factory=set)
    draining: bool = False

    async def drain(self, timeout_s: float) -> None:
        """Take no new tasks, let running ones finish, then fail the rest."""
        self.draining = True
        self.speech.admission.draining = True
        loop = asyncio.get_running_loop()
        limit_s = loop.time() + timeout_s
        # A slow client's close must not use up the time of the others.
        closing = [asyncio.ensure_future(one.drain()) for one in list(self.conversations)]
        # The count also falls by tasks of protocols that have no event to wait for.
        while (  # noqa: ASYNC110
            self.speech.admission.active or self.cloning.in_hand
        ) and loop.time() < limit_s:
            await asyncio.sleep(_DRAIN_POLL_S)
        self.cloning.abort()
        error = SpeechError(ErrorCode.SHUTTING_DOWN, "Server is shutting down, connect again!")
        closing += [asyncio.ensure_future(one.abort(error)) for one in list(self.conversations)]
        if closing:
            await asyncio.wait(closing, timeout=_ABORT_GRACE_S)
