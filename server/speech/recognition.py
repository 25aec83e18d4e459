"""Speech to text for endpoints: admission, the recogniser of the pool, and the books kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

import structlog

from models.base import Samples
from models.recognition import RecognitionRequest, RecognizerCapabilities, Transcript
from server import limits
from server.accounts import Accounts
from server.errors import SERVER_FAULTS, ErrorCode, SpeechError
from server.metrics import Metrics
from server.pool.admission import Admission, Lease
from server.pool.pool import RecognitionStream, WorkerPool

MODEL = "asr"
"""What the vendors' clients call the model; it is whatever is configured."""
_DEADLINE_S = 0.5
_RETRY_AFTER_S = 5.0
_log = structlog.get_logger(__name__)


class Recognition:
    """One task of listening, which whoever opened it must close.

    Args:
        stream: the pool's.
        on_close: called once.
    """

    def __init__(self, stream: RecognitionStream, on_close: Callable[[Recognition], None]) -> None:
        self.sample_rate_hz = stream.sample_rate_hz or 0
        """Of the audio that it takes."""
        self.audio_s = 0.0
        self.text = ""
        """All that has been understood so far."""
        self.outcome = "cancelled"
        """How it ended: `completed`, `cancelled` or an error's code."""
        self.failure: SpeechError | None = None
        self._stream = stream
        self._on_close = on_close
        self._closed = False

    @property
    def queue_wait_s(self) -> float:
        """Time until a worker took it up."""
        return self._stream.queue_wait_s or 0.0

    @property
    def compute_s(self) -> float:
        """Time that the recogniser computed for it."""
        return self._stream.compute_s or 0.0

    async def append(
        self, samples: Samples, *, patience_s: float = limits.RECOGNITION_WAIT_S
    ) -> None:
        """Add audio of shape (n_samples,); waits while much of it is unread.

        Raises:
            SpeechError: CAPACITY_EXCEEDED, no worker took any for `patience_s`.
        """
        self.audio_s += samples.size / self.sample_rate_hz
        try:
            async with asyncio.timeout(patience_s):
                await self._stream.append(samples)
        except TimeoutError:
            raise too_busy() from None

    def finish(self) -> None:
        """All audio has been added."""
        self._stream.finish()

    async def transcripts(self) -> AsyncGenerator[Transcript]:
        """What is understood, until all has been listened to.

        Raises:
            SpeechError: what the pool or the recogniser says.
        """
        try:
            async for transcript in self._stream:
                self.text = transcript.text
                yield transcript
        except SpeechError as error:
            self.fail(error)
            raise
        if self._stream.audio_ended and not self._closed:
            self.outcome = "completed"

    async def transcribe(self, samples: Samples) -> str:
        """Listen to a whole recording of shape (n_samples,), and nothing more.

        Raises:
            SpeechError: what the pool or the recogniser says.
        """

        async def feed() -> None:
            await self.append(samples, patience_s=limits.RECOGNITION_TIMEOUT_S)
            self.finish()

        feeder = asyncio.create_task(feed())
        try:
            async with asyncio.timeout(limits.RECOGNITION_TIMEOUT_S):
                async for _ in self.transcripts():
                    pass
        except TimeoutError:
            raise too_busy() from None
        finally:
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)
        return self.text

    def fail(self, error: SpeechError) -> None:
        """Note why it ends, for the books; the first reason counts."""
        if self.failure is None:
            self.failure = error
            self.outcome = error.code.value

    def close(self) -> None:
        """Stop it, if it still goes on. A second time has no effect."""
        if self._closed:
            return
        self._closed = True
        self._stream.cancel()
        self._on_close(self)


class RecognitionService:
    """What endpoints ask for text.

    Args:
        pool: where the recogniser runs.
        name: of the recogniser in the pool; None if there is none.
        admission: shared with those who speak.
        accounts: what tenants may do. Their quota of characters is of those spoken.
        metrics: hears of tasks.
        log_texts: write what was understood into the log.
    """

    def __init__(
        self,
        pool: WorkerPool,
        name: str | None,
        *,
        admission: Admission,
        accounts: Accounts,
        metrics: Metrics,
        log_texts: bool,
    ) -> None:
        self._pool = pool
        self._name = name
        self._admission = admission
        self._accounts = accounts
        self._metrics = metrics
        self._log_texts = log_texts

    def open(
        self, model: str, request: RecognitionRequest, *, tenant: str, protocol: str, task_id: str
    ) -> Recognition:
        """Admit a task.

        Raises:
            SpeechError: PARAMETER_INVALID for another model, NOT_SUPPORTED for a language that it
                does not know or if there is no recogniser, CAPACITY_EXCEEDED, QUOTA_EXCEEDED,
                TOKEN_INVALID, SHUTTING_DOWN or MODEL_UNAVAILABLE.
        """
        try:
            return self._open(model, request, tenant, protocol, task_id)
        except SpeechError as error:
            self._metrics.session_refused(error.code)
            raise

    @property
    def dictates(self) -> bool:
        """What is understood may stand unread."""
        info = None if self._name is None else self._pool.recognizers.get(self._name)
        return info is not None and info.capabilities.dictation

    def _open(
        self, model: str, request: RecognitionRequest, tenant: str, protocol: str, task_id: str
    ) -> Recognition:
        if self._name is None:
            raise SpeechError(ErrorCode.NOT_SUPPORTED, "This server has no recogniser!")
        if model not in {MODEL, self._name}:
            raise SpeechError(
                ErrorCode.PARAMETER_INVALID, f"model {model[:40]!r} is unknown; use {MODEL!r}"
            )
        info = self._pool.recognizers.get(self._name)
        if info is not None:
            _check_language(request.language, info.capabilities)
        lease = self._admission.admit(tenant, self._accounts.admit(tenant))
        try:
            stream = self._pool.recognize(
                self._name, request, deadline_s=time.monotonic() + _DEADLINE_S
            )
        except SpeechError:
            lease.release()
            raise
        began_s = time.monotonic()
        self._metrics.session_started()
        return Recognition(
            stream, lambda recognition: self._close(recognition, lease, protocol, task_id, began_s)
        )

    def _close(
        self, recognition: Recognition, lease: Lease, protocol: str, task_id: str, began_s: float
    ) -> None:
        """One line and one set of figures for every task, however it ended."""
        lease.release()
        outcome = recognition.outcome
        self._metrics.recognition_ended(protocol, outcome, recognition.audio_s)
        facts = {
            "protocol": protocol,
            "task_id": task_id,
            "audio_s": round(recognition.audio_s, 2),
            "characters": len(recognition.text),
            "queue_ms": round(recognition.queue_wait_s * 1000, 1),
            "compute_s": round(recognition.compute_s, 2),
            "wall_s": round(time.monotonic() - began_s, 2),
        }
        if recognition.failure is not None:
            facts["reason"] = recognition.failure.message
        if self._log_texts:
            facts["text"] = recognition.text
        level = _log.error if outcome in SERVER_FAULTS else _log.info
        level(f"task {outcome}", **facts)


def too_busy() -> SpeechError:
    """No worker has had time for a task."""
    return SpeechError(
        ErrorCode.CAPACITY_EXCEEDED,
        "The recogniser is busy, try again later!",
        retry_after_s=_RETRY_AFTER_S,
    )


def _check_language(language: str, capabilities: RecognizerCapabilities) -> None:
    known = capabilities.languages
    primary = language.lower().partition("-")[0]
    if primary and known and primary not in {tag.lower().partition("-")[0] for tag in known}:
        raise SpeechError(
            ErrorCode.NOT_SUPPORTED,
            f"Language {language[:20]!r} is not understood here, only {', '.join(known)}!",
        )
