"""Aliyun NLS: a task on a WebSocket, whatever its namespace."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from server.protocols import nls
from server.protocols.task import TaskCommand
from server.speech.types import (
    SentenceSubtitle,
    SessionEvent,
    SessionSummary,
    SpeechOptions,
    WordSubtitle,
)

START, STOP = "StartSynthesis", "StopSynthesis"


@dataclass(frozen=True, slots=True)
class StartTask:
    """Open a speech session, then send `Connection.started()`."""

    options: SpeechOptions
    text: str | None = None
    """All that is to be said; None if it comes later, until `FinishTask`."""


class SpeechTask(ABC):
    """What a namespace makes of the messages of one task, and of what its session tells.

    Args:
        namespace: stands in every answer: the Go SDK ends its process at another one.
        task_id: as the client chose it.
    """

    protocol: ClassVar[str]
    """What the namespace is called in logs and metrics."""
    directives: ClassVar[frozenset[str]] = frozenset({START, STOP})
    """Names of messages that a client may send."""

    def __init__(self, namespace: str, task_id: str) -> None:
        self.namespace = namespace
        self._task_id = task_id
        self._session_id = nls.new_id()
        self._characters = 0

    @abstractmethod
    def start(self, payload: dict[str, Any]) -> StartTask:
        """Take StartSynthesis.

        Raises:
            SpeechError: a parameter is wrong.
        """

    def receive(self, name: str, payload: dict[str, Any]) -> TaskCommand | None:  # noqa: ARG002
        """Take one of the other `directives`; here there are none.

        Raises:
            SpeechError: the client made a mistake.
        """
        return None

    def started(self) -> str:
        """The answer to StartSynthesis; SDKs wait 10 s for it."""
        return self._render("SynthesisStarted", {"session_id": self._session_id, "index": 0})

    @abstractmethod
    def send(self, event: SessionEvent) -> str | bytes | None:
        """The frame for an event of the session; None if the client is told nothing."""

    def _completed(self, summary: SessionSummary) -> str:
        payload = {
            "session_id": self._session_id,
            "index": summary.sentences,
            "measureType": "TextLengthHD",
            "measureLength": self._characters,
        }
        return self._render("SynthesisCompleted", payload)

    def _render(self, name: str, payload: dict[str, Any]) -> str:
        return nls.render(name, task_id=self._task_id, namespace=self.namespace, payload=payload)


def place(item: SentenceSubtitle | WordSubtitle) -> dict[str, Any]:
    """A timestamp as all namespaces have it: ms of the audio, and indices into the task's text."""
    return {
        "text": item.text,
        "begin_time": round(item.begin_s * 1000),
        "end_time": round(item.end_s * 1000),
        "begin_index": item.text_begin,
        "end_index": item.text_end,
    }
