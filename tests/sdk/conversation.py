"""What a client heard: events and audio in the order of arrival, and what every SDK insists on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NAMESPACE = "FlowingSpeechSynthesizer"
_ANY_NAMES = frozenset({"SynthesisStarted", "SynthesisCompleted", "TaskFailed"})
_FLOWING_NAMES = _ANY_NAMES | {"SentenceBegin", "SentenceSynthesis", "SentenceEnd"}
_ONE_SHOT_NAMES = _ANY_NAMES | {"MetaInfo"}
"""An unknown name makes the C++ SDK fail the task and close the connection."""
NETTY_MAX_FRAME_BYTES = 65_536
SUCCESS = 20_000_000


class TaskFailedError(Exception):
    """The server sent TaskFailed."""

    def __init__(self, header: dict[str, Any]) -> None:
        super().__init__(f"{header.get('status')} {header.get('status_text')}")
        self.header = header


@dataclass
class Conversation:
    """One task as its client saw it."""

    task_id: str
    sample_rate_hz: int
    namespace: str = NAMESPACE
    events: list[dict[str, Any]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    """Event names, and `audio` for each binary frame."""
    frames: list[bytes] = field(default_factory=list)

    def hear_text(self, text: str) -> str:
        """Take a text frame; return the event's name.

        Raises:
            TaskFailedError: it was a TaskFailed.
        """
        event = json.loads(text)
        check_header(event["header"], self.task_id, self.namespace)
        name: str = event["header"]["name"]
        self.events.append(event)
        self.order.append(name)
        if name == "TaskFailed":
            raise TaskFailedError(event["header"])
        return name

    def hear_audio(self, data: bytes) -> None:
        assert 0 < len(data) <= NETTY_MAX_FRAME_BYTES, "Netty and DashScope clients die of others"
        self.frames.append(data)
        self.order.append("audio")

    @property
    def audio(self) -> bytes:
        return b"".join(self.frames)

    @property
    def samples(self) -> np.ndarray:
        """Mono PCM in [-1, 1]. Clients decode frames singly, so each holds whole samples."""
        assert all(len(frame) % 2 == 0 for frame in self.frames), "half a sample in a frame"
        return np.frombuffer(self.audio, "<i2").astype(np.float64) / 32768

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz

    def payloads(self, name: str) -> list[dict[str, Any]]:
        return [e.get("payload") or {} for e in self.events if e["header"]["name"] == name]


def check_header(header: dict[str, Any], task_id: str, namespace: str) -> None:
    """What the strictest of the SDKs needs in every message of the server."""
    names = _FLOWING_NAMES if namespace == NAMESPACE else _ONE_SHOT_NAMES
    assert header["name"] in names
    assert header["namespace"] in {namespace, "Default"}, "the Go SDK exits the process"
    assert type(header["status"]) is int, "Java casts to Integer, C++ asks isInt"
    assert header["status"] < 2**31
    assert isinstance(header["message_id"], str)
    assert len(header["message_id"]) == 32
    assert header["task_id"] == task_id
    assert isinstance(header["status_text"], str)
    assert header["status_message"] == header["status_text"]
    assert (header["status"] == SUCCESS) == (header["name"] != "TaskFailed")


def check_complete(talk: Conversation) -> None:
    """A finished task's events stand in the documented order, and audio was heard."""
    assert talk.order[0] == "SynthesisStarted"
    assert talk.order[-1] == "SynthesisCompleted"
    assert talk.order.count("SynthesisStarted") == talk.order.count("SynthesisCompleted") == 1
    speaking = False
    for step in talk.order[1:-1]:
        if step == "SentenceBegin":
            assert not speaking, "sentences do not overlap"
            speaking = True
        elif step == "SentenceEnd":
            assert speaking, "a sentence ends that did not begin"
            speaking = False
        else:
            assert step in {"audio", "SentenceSynthesis"}
            assert speaking, f"{step} outside a sentence"
    assert not speaking
    assert talk.order.count("SentenceBegin") >= 1
    assert np.sqrt(np.mean(talk.samples**2)) > 0.005, "the audio is silence"


def check_one_shot(talk: Conversation) -> None:
    """A task that had all of its text at once is finished, and audio was heard."""
    assert talk.order[0] == "SynthesisStarted"
    assert talk.order[-1] == "SynthesisCompleted"
    assert set(talk.order[1:-1]) <= {"audio", "MetaInfo"}
    assert np.sqrt(np.mean(talk.samples**2)) > 0.005, "the audio is silence"
