"""Orders and segments for tests of jobs."""

from __future__ import annotations

from typing import Any

from server.speech.jobs.types import JobOrder, Segment
from server.speech.types import Prosody, SpeechOptions

RATE_HZ = 24_000


def order(job_id: str = "a", **changes: Any) -> JobOrder:
    facts: dict[str, Any] = {
        "id": job_id,
        "request_id": "r",
        "tenant": "t",
        "options": SpeechOptions(voice="sine"),
        "voice": "sine",
        "model": "m",
        "sample_rate_hz": RATE_HZ,
        "characters": 3,
        "base_url": "http://here",
        "notify_url": "",
    }
    return JobOrder(**{**facts, **changes})


def segment(number: int, **changes: Any) -> Segment:
    facts: dict[str, Any] = {
        "text": f"Text {number}.",
        "spoken": f"text {number}",
        "instruction": "",
        "pause_s": 0.0,
        "prosody": Prosody(),
    }
    return Segment(number=number, **{**facts, **changes})
