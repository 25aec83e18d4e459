"""Jobs as rows of the store."""

from __future__ import annotations

from typing import Any

import msgspec

from server.errors import ErrorCode
from server.speech.jobs.types import Job, JobOrder, JobState, Segment, SentenceTimes
from server.speech.types import Prosody, SpeechOptions

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    request_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    options BLOB NOT NULL,
    voice TEXT NOT NULL,
    model TEXT NOT NULL,
    sample_rate_hz INTEGER NOT NULL,
    characters INTEGER NOT NULL,
    base_url TEXT NOT NULL,
    notify_url TEXT NOT NULL,
    created_s REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',
    turn_s REAL NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    file_name TEXT NOT NULL DEFAULT '',
    sentences BLOB NOT NULL DEFAULT '[]',
    error_code TEXT,
    error_message TEXT NOT NULL DEFAULT '',
    ended_s REAL,
    notice_due_s REAL,
    notices INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX unfinished ON job (created_s) WHERE state IN ('queued', 'running');
CREATE INDEX to_notify ON job (notice_due_s) WHERE notice_due_s IS NOT NULL;
CREATE TABLE segment (
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    text TEXT NOT NULL,
    spoken TEXT NOT NULL,
    instruction TEXT NOT NULL,
    pause_s REAL NOT NULL,
    speed REAL NOT NULL,
    pitch REAL NOT NULL,
    gain REAL NOT NULL,
    end_samples INTEGER,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
"""
UNFINISHED = "state IN ('queued', 'running')"
ORDER = (
    "id, request_id, tenant, voice, model, sample_rate_hz, characters, base_url, notify_url, "
    "options"
)
STATE = "created_s, state, failures, file_name, sentences, error_code, error_message"
SEGMENT = "number, text, spoken, instruction, pause_s, speed, pitch, gain, end_samples"


def read_job(row: tuple[Any, ...]) -> Job:
    """A row of `ORDER` and `STATE`."""
    *names, options = row[:10]
    created_s, state, failures, file_name, sentences, error_code, error_message = row[10:]
    job_id, request_id, tenant, voice, model, sample_rate_hz, characters, base, notify = names
    return Job(
        order=JobOrder(
            id=job_id,
            request_id=request_id,
            tenant=tenant,
            options=msgspec.json.decode(options, type=SpeechOptions),
            voice=voice,
            model=model,
            sample_rate_hz=sample_rate_hz,
            characters=characters,
            base_url=base,
            notify_url=notify,
        ),
        state=JobState(state),
        created_s=created_s,
        failures=failures,
        file_name=file_name,
        sentences=msgspec.json.decode(sentences, type=tuple[SentenceTimes, ...]),
        error_code=None if error_code is None else ErrorCode(error_code),
        error_message=error_message,
    )


def segment_row(segment: Segment) -> tuple[Any, ...]:
    """The values of `SEGMENT`."""
    shape = segment.prosody
    return (
        *(segment.number, segment.text, segment.spoken, segment.instruction, segment.pause_s),
        *(shape.speed, shape.pitch, shape.gain, segment.end_samples),
    )


def read_segment(row: tuple[Any, ...]) -> Segment:
    """A row of `SEGMENT`."""
    number, text, spoken, instruction, pause_s, speed, pitch, gain, end_samples = row
    return Segment(
        number=number,
        text=text,
        spoken=spoken,
        instruction=instruction,
        pause_s=pause_s,
        prosody=Prosody(speed=speed, pitch=pitch, gain=gain),
        end_samples=end_samples,
    )
