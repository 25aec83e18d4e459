"""How a job goes on: what its recording has and its store does not know of, and the reverse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_orders import order, segment

from server.speech.jobs.recording import JobRecording
from server.speech.jobs.speaking import JobSpeaking, Progress
from server.speech.jobs.store import JobStore
from server.speech.jobs.threads import Threads

pytestmark = pytest.mark.anyio
NOBODY: Any = None
"""For what a turn without any time does not ask."""


@pytest.mark.parametrize(
    ("recorded", "noted", "kept", "next_number"),
    [
        (0, [], 0, 0),
        # The server ended between the recording and the note.
        (800, [500], 500, 1),
        # The disk lost the end, or all of it.
        (700, [500, 900], 500, 1),
        (0, [500, 900], 0, 0),
        (900, [500, 900, 900], 900, 3),
    ],
)
async def test_recording_and_store_agree_before_anything_is_spoken(
    tmp_path: Path, recorded: int, noted: list[int], kept: int, next_number: int
) -> None:
    store, threads = JobStore(tmp_path / "jobs"), Threads(1)
    store.add(order(), [segment(number) for number in range(4)], now_s=0.0)
    for number, end in enumerate(noted):
        store.segment_spoken("a", number, end)
    recording = JobRecording.open(tmp_path, "a")
    assert recording is not None
    recording.append(np.zeros(recorded, np.float32))
    speaking = JobSpeaking(NOBODY, NOBODY, store, NOBODY, threads)
    job = store.find("a")
    assert job is not None
    assert await speaking.go_on(job, NOBODY, recording, until_s=0.0) is Progress.LEFT
    following = store.next_segment("a")
    assert following is not None
    assert (recording.n_samples, following.number) == (kept, next_number)
    recording.discard()
    threads.close()
    store.close()


async def test_a_pause_needs_no_model(tmp_path: Path) -> None:
    store, threads = JobStore(tmp_path / "jobs"), Threads(1)
    store.add(order(), [segment(0, spoken="", pause_s=1.0)], now_s=0.0)
    recording = JobRecording.open(tmp_path, "a")
    assert recording is not None
    job = store.find("a")
    assert job is not None
    speaking = JobSpeaking(NOBODY, NOBODY, store, NOBODY, threads)
    assert await speaking.go_on(job, NOBODY, recording, until_s=0.0) is Progress.SPOKEN
    recording.discard()
    threads.close()
    store.close()
