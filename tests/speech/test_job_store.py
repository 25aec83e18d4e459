"""Jobs on disk: what is kept, for whom, and for how long."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from job_orders import order, segment

from server.errors import ErrorCode
from server.speech.jobs.store import JobStore, JobStoreError
from server.speech.jobs.types import JobState, SentenceTimes
from server.speech.types import AudioFormat, Prosody, SpeechOptions

BACKOFF_S = (1.0, 10.0)


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs")


def add(store: JobStore, job_id: str = "a", n_segments: int = 2, **changes: object) -> None:
    segments = [segment(number) for number in range(n_segments)]
    assert store.add(order(job_id, **changes), segments, now_s=100.0)


def test_without_a_job_there_is_no_file(store: JobStore, tmp_path: Path) -> None:
    assert store.find("a") is None
    assert store.line() == []
    assert store.take_notice(0.0, BACKOFF_S) is None
    store.expire(50.0, now_s=60.0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(JobStoreError, match="is gone"):
        store.remove("a")


def test_a_job_comes_back_as_it_was(store: JobStore, tmp_path: Path) -> None:
    options = SpeechOptions(
        voice="x", audio_format=AudioFormat.MP3, prosody=Prosody(speed=1.5), subtitles=True, seed=7
    )
    loud = segment(0, pause_s=0.5, instruction="loud", prosody=Prosody(gain=2.0))
    wanted = order(options=options, notify_url="http://there")
    assert store.add(wanted, [loud, segment(1)], now_s=100.0)
    assert (tmp_path / "jobs").stat().st_mode & 0o777 == 0o600
    again = JobStore(tmp_path / "jobs")
    job = again.find("a")
    assert job is not None
    assert (job.order, job.state, job.created_s) == (wanted, JobState.QUEUED, 100.0)
    assert again.segments("a") == [loud, segment(1)]


def test_segments_are_spoken_one_after_the_other(store: JobStore) -> None:
    add(store)
    assert store.next_segment("a") == segment(0)
    assert store.segment_spoken("a", 0, 500)
    assert store.next_segment("a") == segment(1)
    assert store.spoken_samples("a") == 500
    assert store.segment_spoken("a", 1, 900)
    assert store.next_segment("a") is None
    store.forget_after("a", 600)
    assert store.next_segment("a") == segment(1)


def test_failures_in_a_row_are_counted(store: JobStore) -> None:
    add(store)
    assert [store.segment_failed("a"), store.segment_failed("a")] == [1, 2]
    store.segment_spoken("a", 0, 1)
    assert store.segment_failed("a") == 1


def test_a_turn_makes_it_run(store: JobStore) -> None:
    add(store)
    job = store.begin_turn("a", 150.0)
    assert job is not None
    assert job.state is JobState.RUNNING
    assert [one.turn_s for one in store.line()] == [150.0]


def test_the_end(store: JobStore) -> None:
    add(store)
    sentences = [SentenceTimes("Text 0.", 0, 500)]
    assert store.finish("a", "f.wav", sentences, now_s=200.0)
    job = store.find("a")
    assert job is not None
    assert (job.state, job.file_name, list(job.sentences)) == (JobState.DONE, "f.wav", sentences)
    assert job.finished
    assert (store.line(), store.segments("a"), store.begin_turn("a", 1.0)) == ([], [], None)
    assert not store.fail("a", ErrorCode.INTERNAL, "too late", now_s=201.0)


def test_a_failure(store: JobStore) -> None:
    add(store)
    assert store.fail("a", ErrorCode.MODEL_FAILED, "why", now_s=200.0)
    job = store.find("a")
    assert job is not None
    assert (job.error_code, job.error_message) == (ErrorCode.MODEL_FAILED, "why")
    assert not store.finish("a", "f.wav", [], now_s=201.0)


def test_what_is_removed_is_gone(store: JobStore) -> None:
    add(store)
    store.remove("a")
    assert store.find("a") is None
    assert not store.segment_spoken("a", 0, 1)
    assert not store.finish("a", "f.wav", [], now_s=1.0)
    assert store.segments("a") == []


def test_what_is_removed_tells_its_file(store: JobStore) -> None:
    add(store, "new")
    add(store, "done")
    store.finish("done", "f.wav", [], now_s=200.0)
    assert [store.remove(job_id) for job_id in ("new", "done", "none")] == ["", "f.wav", ""]


def test_a_tenant_has_so_many_and_no_more(store: JobStore) -> None:
    add(store, "a")
    assert not store.add(order("b"), [segment(0)], now_s=1.0, most=1)
    assert store.find("b") is None
    assert store.add(order("c", tenant="u"), [segment(0)], now_s=1.0, most=1)
    store.finish("a", "f", [], now_s=1.0)
    assert store.add(order("b"), [segment(0)], now_s=1.0, most=1)


def test_a_notice_is_due_again_until_it_is_taken(store: JobStore) -> None:
    add(store, notify_url="http://there")
    assert store.take_notice(1000.0, BACKOFF_S) is None
    store.finish("a", "f", [], now_s=200.0)
    times_s = (199.0, 200.0, 200.5, 201.0, 210.9, 211.0, 9999.0)
    tries = [now_s for now_s in times_s if store.take_notice(now_s, BACKOFF_S) is not None]
    assert tries == [200.0, 201.0, 211.0]


def test_a_notice_that_was_taken_is_not_sent_again(store: JobStore) -> None:
    add(store, notify_url="http://there")
    store.fail("a", ErrorCode.INTERNAL, "", now_s=200.0)
    assert store.take_notice(200.0, BACKOFF_S) is not None
    store.notice_taken("a")
    assert store.take_notice(9999.0, BACKOFF_S) is None


def test_old_ones_go_and_late_ones_fail(store: JobStore) -> None:
    add(store, "done")
    add(store, "late")
    store.finish("done", "f", [], now_s=200.0)
    store.expire(199.0, now_s=300.0)
    assert store.find("done") is not None
    late = store.find("late")
    assert late is not None
    assert (late.state, late.error_code) == (JobState.FAILED, ErrorCode.MODEL_UNAVAILABLE)
    store.expire(250.0, now_s=300.0)
    assert store.find("done") is None
    assert store.find("late") is not None
    store.expire(301.0, now_s=310.0)
    assert store.find("late") is None


def test_two_servers_share_it(store: JobStore, tmp_path: Path) -> None:
    other = JobStore(tmp_path / "jobs")
    assert other.line() == []
    add(store)
    assert [one.id for one in other.line()] == ["a"]
    other.remove("a")
    assert store.find("a") is None
    store.close()
    add(store)
    assert other.find("a") is not None


def test_a_file_of_somebody_else_is_refused(store: JobStore, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "jobs").execute("CREATE TABLE x (y)").connection.close()
    with pytest.raises(JobStoreError, match="no store of jobs"):
        store.find("a")
