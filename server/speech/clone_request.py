"""What somebody who wants a cloned voice brings, and what may come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from models.recognition import RecognitionRequest
from server.errors import ErrorCode, SpeechError
from server.speech.recognition import Recognition
from server.speech.recording_report import RecordingReport


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneRequest:
    """A voice that somebody wants, as they said it."""

    name: str
    transcript: str
    """What is said in the recording; empty to have it written down, if somebody here can."""
    audio: bytes
    """A file in any format that `server.speech.recording` reads."""
    model: str = ""
    """Empty for the first one that clones."""
    language: str = ""
    """BCP 47 tag; empty for what the transcript's script speaks for."""
    tenant: str = ""
    """Who wants it."""
    mark: str = ""
    """`VoiceFacts.mark`."""
    longest_s: float | None = None
    """What is longer is cut, at a quiet place, if nobody has written down what is said in it."""


class Dictation(Protocol):
    """Writes down what is said; `RecognitionService` does."""

    @property
    def dictates(self) -> bool:
        """It does so well enough."""

    def open(
        self, model: str, request: RecognitionRequest, *, tenant: str, protocol: str, task_id: str
    ) -> Recognition:
        """Begin a task of listening."""


class RecordingRefusedError(SpeechError):
    """No voice can be made of a recording.

    Args:
        report: says why, `SpeechError.message` with its first remark.
    """

    def __init__(self, report: RecordingReport) -> None:
        super().__init__(ErrorCode.PARAMETER_INVALID, report.remarks[0].text)
        self.report = report
