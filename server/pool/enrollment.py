"""Recordings that become voices' features, on their way to a worker and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from models.base import ModelErrorCode, Samples
from server.errors import ErrorCode, SpeechError
from server.pool.framing import ChannelError
from server.pool.messages import MAX_PAYLOAD_BYTES, Enroll, Enrolled, EnrollFailed, FrontMessage

log = structlog.get_logger()

EnrollAnswer = Enrolled | EnrollFailed

_PUBLIC_CODES: dict[ModelErrorCode, ErrorCode] = {
    "voice_unknown": ErrorCode.VOICE_UNKNOWN,
    "text_unspeakable": ErrorCode.PARAMETER_INVALID,
    "unsupported": ErrorCode.NOT_SUPPORTED,
    "failed": ErrorCode.MODEL_FAILED,
}
_RETRY_AFTER_S = 5.0


class Enrollment:
    """One recording, and what will have come of it.

    Args:
        samples: shape (n_samples,), float32.
        sample_rate_hz: their rate.
        transcript: what is said.
        timeout_s: patience of whoever waits for it.

    Raises:
        ValueError: the samples have another shape.
        SpeechError: PARAMETER_INVALID, the recording is too long for a message to a worker.
    """

    def __init__(
        self, samples: Samples, sample_rate_hz: int, transcript: str, timeout_s: float
    ) -> None:
        if samples.ndim != 1:
            raise ValueError(f"a recording has one channel, not shape {samples.shape}")
        self.samples = samples.astype("<f4", copy=False).tobytes()
        self.sample_rate_hz = sample_rate_hz
        self.transcript = transcript
        self.timeout_s = timeout_s
        self.features: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        """Cancelled when nobody waits for it any more."""
        if len(self.samples) + len(transcript.encode()) > MAX_PAYLOAD_BYTES:
            raise SpeechError(ErrorCode.PARAMETER_INVALID, "the recording is too long")

    def finish(self, features: bytes) -> None:
        """The worker has made them."""
        if not self.features.done():
            self.features.set_result(features)

    def fail(self, error: SpeechError) -> None:
        """There will be none."""
        if not self.features.done():
            self.features.set_exception(error)


class EnrollmentQueue:
    """The recordings of one model: those that wait for a worker, and those that one has.

    Args:
        model: its name, for messages.
        max_waiting: one more is refused.
        ready: whether the model has a ready worker.
        offer: called when a recording waits here to be taken.
    """

    def __init__(
        self,
        model: str,
        *,
        max_waiting: int,
        ready: Callable[[], bool],
        offer: Callable[[], None],
    ) -> None:
        self._model = model
        self._max_waiting = max_waiting
        self._ready = ready
        self._offer = offer
        self._waiting: list[Enrollment] = []
        self._open: set[Enrollment] = set()

    @property
    def waiting(self) -> int:
        """Recordings that no worker has yet."""
        return len(self._waiting)

    def __len__(self) -> int:
        return len(self._open)

    def take(self) -> Enrollment:
        """The recording that has waited longest, for a worker.

        Raises:
            IndexError: none waits.
        """
        return self._waiting.pop(0)

    async def run(self, enrollment: Enrollment) -> bytes:
        """Wait for a recording's features.

        Raises:
            SpeechError: CAPACITY_EXCEEDED at once if too many wait; after the timeout too if the
                workers had others to do until then, MODEL_UNAVAILABLE if there was none, and
                MODEL_FAILED if one was at it; what the model says; WORKER_LOST, MODEL_UNAVAILABLE
                or SHUTTING_DOWN.
        """
        if len(self._waiting) >= self._max_waiting:
            raise self._busy()
        self._waiting.append(enrollment)
        self._open.add(enrollment)
        try:
            self._offer()
            async with asyncio.timeout(enrollment.timeout_s):
                return await enrollment.features
        except TimeoutError:
            raise self._late(enrollment) from None
        finally:
            self._open.discard(enrollment)
            if enrollment in self._waiting:
                self._waiting.remove(enrollment)

    def fail_all(self, error: SpeechError) -> None:
        """End every wait."""
        for enrollment in self._open:
            enrollment.fail(error)
        self._waiting.clear()

    def _busy(self) -> SpeechError:
        message = "too many recordings are waiting to become voices; try again later"
        return SpeechError(ErrorCode.CAPACITY_EXCEEDED, message, retry_after_s=_RETRY_AFTER_S)

    def _late(self, enrollment: Enrollment) -> SpeechError:
        if enrollment in self._waiting and self._ready():
            return self._busy()
        if enrollment in self._waiting:
            message = f"model {self._model!r} has no ready worker"
            return SpeechError(ErrorCode.MODEL_UNAVAILABLE, message)
        message = f"model {self._model!r} took longer than {enrollment.timeout_s:g} s"
        return SpeechError(ErrorCode.MODEL_FAILED, message)


class WorkerEnrollment:
    """The recording that one worker has, at most one.

    Args:
        model: its name, for the log.
        send: puts a message on its channel.
        clock: monotonic seconds.
    """

    def __init__(
        self, model: str, *, send: Callable[[FrontMessage], None], clock: Callable[[], float]
    ) -> None:
        self._model = model
        self._send = send
        self._clock = clock
        self._call = 0
        self._current: Enrollment | None = None
        self._began_at_s = 0.0

    def __bool__(self) -> bool:
        """Whether the worker has one, be it that nobody waits for it any more."""
        return self._current is not None

    def begin(self, enrollment: Enrollment) -> None:
        """Give the worker a recording."""
        self._call += 1
        self._current = enrollment
        self._began_at_s = self._clock()
        self._send(
            Enroll(self._call, enrollment.samples, enrollment.sample_rate_hz, enrollment.transcript)
        )

    def receive(self, answer: EnrollAnswer) -> None:
        """Pass the answer on, if anybody still waits for it.

        Raises:
            ChannelError: the worker does not have such a recording.
        """
        enrollment = self._current
        if enrollment is None or answer.call != self._call:
            raise ChannelError(f"{type(answer).__name__} for an unknown recording")
        self._current = None
        match answer:
            case Enrolled():
                enrollment.finish(answer.features)
            case EnrollFailed():
                if answer.detail:
                    log.error("enrollment_failed", model=self._model, detail=answer.detail)
                enrollment.fail(SpeechError(_PUBLIC_CODES[answer.code], answer.message))

    def lose(self) -> None:
        """The worker is gone."""
        if self._current is not None:
            message = "the worker that heard this recording has died"
            self._current.fail(SpeechError(ErrorCode.WORKER_LOST, message))
            self._current = None

    def stalled(self, timeout_s: float) -> bool:
        """Whether the worker owes an answer for so long, and for longer than its caller waits."""
        if self._current is None:
            return False
        patience_s = max(timeout_s, self._current.timeout_s)
        return self._clock() - self._began_at_s > patience_s
