"""A task of speech on a WebSocket: where it stands, and what is to be done for it.

The vendors' protocols start tasks in ways of their own; what comes after is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a connection stands, on which one task follows another."""

    IDLE = "idle"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FeedText:
    """Give this text to the session."""

    text: str


@dataclass(frozen=True, slots=True)
class FlushText:
    """Speak what is buffered; the task goes on."""


@dataclass(frozen=True, slots=True)
class FinishTask:
    """No more text comes."""


@dataclass(frozen=True, slots=True)
class CancelTask:
    """Barge-in: stop at once, what has not left is thrown away."""


TaskCommand = FeedText | FlushText | FinishTask | CancelTask
