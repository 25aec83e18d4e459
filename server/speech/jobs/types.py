"""What a job is: a long text on its way to a file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from server.errors import ErrorCode
from server.speech.types import Prosody, SpeechOptions


class JobState(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    """It had a turn; it may wait for the next one."""
    DONE = "done"
    FAILED = "failed"


class SentenceTimes(msgspec.Struct, frozen=True):
    """Where a sentence is heard in the file."""

    text: str
    begin_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What is spoken in one go, or a pause."""

    number: int
    """0, 1, 2 ... within the job."""
    text: str
    """As subtitles show it; empty where nothing is announced."""
    spoken: str
    """What the model gets; empty if there is nothing to say."""
    instruction: str
    pause_s: float
    """Silence after it."""
    prosody: Prosody
    """What its SSML asks for, on top of the task's own."""
    end_samples: int | None = None
    """Where it ends in the recording; None while it is not spoken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """Who wants something spoken, and how."""

    id: str
    """Random: whoever knows it has been told."""
    request_id: str
    tenant: str
    options: SpeechOptions
    base_url: str
    """Where the client reached the server, without a slash at the end."""
    notify_url: str = ""
    """Who is told of the end; empty for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder(JobRequest):
    """A request that was checked."""

    voice: str
    """What always names it in the catalog."""
    model: str
    sample_rate_hz: int
    """The model's."""
    characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stands."""

    order: JobOrder
    state: JobState
    created_s: float
    """Seconds since 1970."""
    failures: int
    """How often the next segment has failed."""
    file_name: str
    """Of a job that is done."""
    sentences: tuple[SentenceTimes, ...]
    """Of a job that is done, if it asked for subtitles."""
    error_code: ErrorCode | None
    error_message: str

    @property
    def id(self) -> str:
        """The order's."""
        return self.order.id

    @property
    def finished(self) -> bool:
        """Nothing will be done with it any more."""
        return self.state in {JobState.DONE, JobState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInLine:
    """A job that is not finished, as far as its turn is concerned."""

    id: str
    tenant: str
    model: str
    turn_s: float
    """When it last had a turn, in seconds since 1970; 0 if never."""
