"""The Aliyun state machine as tables of messages: what comes in, what is to be done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.nls_connection import Connection
from server.protocols.nls_options import count_characters, rate_factor
from server.protocols.nls_task import StartTask
from server.protocols.task import CancelTask, FeedText, FinishTask, FlushText, State
from server.speech.types import (
    AudioFormat,
    AudioProduced,
    SentenceFinished,
    SentenceStarted,
    SentenceSubtitle,
    SessionFinished,
    SessionSummary,
    SubtitleProduced,
    WordSubtitle,
)

TASK = "0" * 32


def frame(name: str, payload: Any = None, task_id: str = TASK, **header: Any) -> str:
    message: dict[str, Any] = {
        "header": {
            "message_id": "1" * 32,
            "task_id": task_id,
            "namespace": "FlowingSpeechSynthesizer",
            "name": name,
            "appkey": "key",
            **header,
        }
    }
    if payload is not None:
        message["payload"] = payload
    return json.dumps(message)


START = frame("StartSynthesis", {"voice": "x"})
RUN = frame("RunSynthesis", {"text": "你好。"})
STOP = frame("StopSynthesis")
SUMMARY = SessionSummary(
    sentences=2,
    characters=3,
    audio_s=1.0,
    audio_bytes=32000,
    first_audio_s=0.01,
    text_wait_s=0.0,
    model_first_chunk_s=0.005,
    queue_wait_s=0.0,
    synthesis_s=0.01,
    underruns=0,
)


def receive_all(*frames: str | bytes) -> list[Any]:
    connection = Connection()
    return [connection.receive(one) for one in frames]


def error_of(*frames: str | bytes) -> SpeechError:
    connection = Connection()
    for one in frames[:-1]:
        connection.receive(one)
    with pytest.raises(SpeechError) as caught:
        connection.receive(frames[-1])
    return caught.value


def test_a_task_from_start_to_stop() -> None:
    commands = receive_all(START, RUN, frame("FlushText"), RUN, STOP)
    assert isinstance(commands[0], StartTask)
    assert commands[1:] == [FeedText("你好。"), FlushText(), FeedText("你好。"), FinishTask()]


def test_many_tasks_on_one_connection() -> None:
    connection = Connection()
    for number in range(3):
        task_id = f"{number:032}"
        assert isinstance(connection.receive(frame("StartSynthesis", {}, task_id)), StartTask)
        connection.receive(frame("StopSynthesis", task_id=task_id))
        completed = json.loads(connection.send(SessionFinished(SUMMARY)))
        assert completed["header"]["name"] == "SynthesisCompleted"
        assert completed["header"]["task_id"] == task_id
        assert connection.state is State.IDLE
    assert connection.tasks_completed == 3


@pytest.mark.parametrize(
    "stop",
    [STOP, frame("StopSynthesis", {}), frame("StopSynthesis", {"cancel": False})],
    ids=["absent", "empty", "false"],
)
def test_stop_takes_any_payload(stop: str) -> None:
    assert receive_all(START, stop)[-1] == FinishTask()


def test_stop_with_cancel_is_barge_in_also_while_stopping() -> None:
    cancel = frame("StopSynthesis", {"cancel": True})
    assert receive_all(START, cancel)[-1] == CancelTask()
    assert receive_all(START, STOP, cancel)[-1] == CancelTask()


def test_a_cancel_that_crosses_with_the_end_is_no_error() -> None:
    connection = Connection()
    connection.receive(START)
    connection.receive(STOP)
    connection.send(SessionFinished(SUMMARY))
    assert connection.receive(frame("StopSynthesis", {"cancel": True})) is None
    assert connection.state is State.IDLE
    with pytest.raises(SpeechError):
        connection.receive(frame("StopSynthesis", {"cancel": True}, task_id="2" * 32))


def test_half_a_surrogate_pair_is_text() -> None:
    """As `JSON.stringify` writes text that was cut by UTF-16 units."""
    run = frame("RunSynthesis", {"text": "?"})
    commands = receive_all(START, run.replace("?", "好\\ud83d"), run.replace("?", "\\ude00"))
    assert commands[1:] == [FeedText("好\ud83d"), FeedText("\ude00")]


def test_a_broken_payload_is_told_under_its_task_id() -> None:
    connection = Connection()
    with pytest.raises(SpeechError) as caught:
        connection.receive(frame("StartSynthesis", []))
    assert json.loads(connection.fail(caught.value))["header"]["task_id"] == TASK


@pytest.mark.parametrize(
    ("payload", "field", "value"),
    [
        ({}, "audio_format", AudioFormat.PCM),
        ({"format": "PCM"}, "audio_format", AudioFormat.PCM),
        ({"format": "Mp3"}, "audio_format", AudioFormat.MP3),
        ({"format": None}, "audio_format", AudioFormat.PCM),
        ({}, "sample_rate_hz", 16000),
        ({"sample_rate": 24000}, "sample_rate_hz", 24000),
        ({"sample_rate": 24000.0}, "sample_rate_hz", 24000),
        ({"sample_rate": None}, "sample_rate_hz", 16000),
        ({}, "voice", "longxiaochun"),
        ({"voice": ""}, "voice", "longxiaochun"),
        ({"voice": "中文女"}, "voice", "中文女"),
        ({}, "subtitles", False),
        ({"enable_subtitle": True}, "subtitles", True),
        ({"enable_ssml": True}, "ssml", True),
        ({"enable_markdown_filter": False}, "clean_markup", False),
        ({"enable_text_normalization": False}, "expand_text", False),
        ({"seed": 7}, "seed", 7),
        ({"instruction": "轻声"}, "instruction", "轻声"),
        ({"platform": "javascript", "ex": {"a": [1]}, "text": "stale"}, "voice", "longxiaochun"),
    ],
)
def test_start_parameters(payload: dict[str, Any], field: str, value: object) -> None:
    command = Connection().receive(frame("StartSynthesis", payload))
    assert isinstance(command, StartTask)
    assert getattr(command.options, field) == value


@pytest.mark.parametrize(
    ("payload", "field", "value"),
    [
        ({}, "gain", 1.0),
        ({"volume": 100}, "gain", 2.0),
        ({"volume": 0}, "gain", 0.0),
        ({"volumn": 25}, "gain", 0.5),
        ({"volume": 75, "volumn": 25}, "gain", 1.5),
        ({"volume": None, "volumn": 25}, "gain", 0.5),
        ({"speech_rate": 500}, "speed", 2.0),
        ({"speech_rate": -500}, "speed", 0.5),
        ({"speech_rate": 250}, "speed", 2**0.5),
        ({"pitch_rate": -500}, "pitch", 0.5),
    ],
)
def test_prosody_is_normalised(payload: dict[str, Any], field: str, value: float) -> None:
    command = Connection().receive(frame("StartSynthesis", payload))
    assert isinstance(command, StartTask)
    assert getattr(command.options.prosody, field) == pytest.approx(value)


def test_rate_zero_is_exactly_one() -> None:
    assert rate_factor(0) == 1.0


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"format": "ogg"}, ErrorCode.FORMAT_UNSUPPORTED),
        ({"format": 1}, ErrorCode.FORMAT_UNSUPPORTED),
        ({"format": ["pcm"]}, ErrorCode.FORMAT_UNSUPPORTED),
        ({"sample_rate": 12345}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ({"sample_rate": "16000"}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ({"sample_rate": True}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ({"sample_rate": {"a": 1}}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ({"volume": 101}, ErrorCode.PARAMETER_INVALID),
        ({"volume": -1}, ErrorCode.PARAMETER_INVALID),
        ({"volume": 50.5}, ErrorCode.PARAMETER_INVALID),
        ({"volume": True}, ErrorCode.PARAMETER_INVALID),
        ({"volumn": "50"}, ErrorCode.PARAMETER_INVALID),
        ({"speech_rate": 501}, ErrorCode.PARAMETER_INVALID),
        ({"pitch_rate": -501}, ErrorCode.PARAMETER_INVALID),
        ({"pitch_rate": 1e300}, ErrorCode.PARAMETER_INVALID),
        ({"voice": 5}, ErrorCode.PARAMETER_INVALID),
        ({"voice": "\ud83d"}, ErrorCode.PARAMETER_INVALID),
        ({"volume": float("nan")}, ErrorCode.PARAMETER_INVALID),
        ({"volume": float("inf")}, ErrorCode.PARAMETER_INVALID),
        ({"enable_subtitle": "true"}, ErrorCode.PARAMETER_INVALID),
        ({"enable_subtitle": 1}, ErrorCode.PARAMETER_INVALID),
        ({"seed": -1}, ErrorCode.PARAMETER_INVALID),
    ],
)
def test_wrong_parameters_are_named(payload: dict[str, Any], code: ErrorCode) -> None:
    error = error_of(frame("StartSynthesis", payload))
    assert error.code is code
    if code is ErrorCode.PARAMETER_INVALID:
        assert next(iter(payload)) in error.message


@pytest.mark.parametrize(
    ("frames", "status"),
    [
        (["not json"], 40000002),
        ([""], 40000002),
        (["[]"], 40000002),
        (["5"], 40000002),
        (["null"], 40000002),
        (["[" * 100_000], 40000002),
        (['{"header":NaN}'], 40000002),
        (["{}"], 40000002),
        (['{"header":[]}'], 40000002),
        (['{"header":{}}'], 40000002),
        ([b"\x00\x01"], 40000002),
        ([frame("StartSynthesis", {}, task_id="")], 40000002),
        ([frame("StartSynthesis", {}, task_id=None)], 40000002),
        ([frame("StartSynthesis", {}, task_id=5)], 40000002),
        ([frame("StartSynthesis", {}, task_id="x" * 1000)], 40000002),
        ([frame("StartSynthesis", {}, task_id="a\nb")], 40000002),
        ([frame("StartSynthesis", {}, task_id="\ud83d")], 40000002),
        ([frame("", {})], 40000002),
        ([frame("StartSynthesis", {}, namespace=None)], 40000002),
        ([frame("StartSynthesis", {}, message_id=[])], 40000002),
        ([frame("StartSynthesis", [])], 40000002),
        ([frame("StartSynthesis", "x")], 40000002),
        ([frame("Dance", {})], 40010002),
        ([frame("StartSynthesis", {}, namespace="SpeechTranscriber")], 40010001),
        ([RUN], 40010005),
        ([STOP], 40010005),
        ([frame("FlushText")], 40010005),
        ([START, START], 40010005),
        ([START, frame("StartSynthesis", {}, task_id="2" * 32)], 40010005),
        ([START, STOP, RUN], 40010005),
        ([START, STOP, STOP], 40010005),
        ([START, frame("RunSynthesis", {"text": "a"}, task_id="2" * 32)], 40000002),
        ([START, frame("StopSynthesis", task_id="2" * 32)], 40000002),
        ([START, frame("RunSynthesis")], 40010003),
        ([START, frame("RunSynthesis", {})], 40010003),
        ([START, frame("RunSynthesis", {"text": None})], 40010003),
        ([START, frame("RunSynthesis", {"text": 5})], 40010003),
        ([START, frame("RunSynthesis", {"text": "字" * 10_001})], 40000003),
        ([START, *[frame("RunSynthesis", {"text": "a" * 20_000})] * 11], 40000003),
        ([frame("StartSynthesis", {"format": "ogg"})], 40010003),
        ([frame("StartSynthesis", {"sample_rate": 1})], 41010101),
    ],
)
def test_misuse(frames: list[str | bytes], status: int) -> None:
    connection = Connection()
    for one in frames[:-1]:
        connection.receive(one)
    with pytest.raises(SpeechError) as caught:
        connection.receive(frames[-1])
    header = json.loads(connection.fail(caught.value))["header"]
    assert header["name"] == "TaskFailed"
    assert header["namespace"] == "Default"
    assert header["status"] == status
    assert header["status_text"] == header["status_message"] != ""
    assert connection.state is State.FAILED


@pytest.mark.parametrize(
    "good",
    [
        frame("StartSynthesis"),
        frame("StartSynthesis", None, context={"a": 1}, appkey=None, message_id=None),
        frame("StartSynthesis", {}, unknown=[1, {}]),
    ],
)
def test_what_real_clients_leave_out_is_tolerated(good: str) -> None:
    assert isinstance(receive_all(good)[0], StartTask)


def test_appkey_can_be_required() -> None:
    connection = Connection(require_appkey=True)
    with pytest.raises(SpeechError, match="appkey not set"):
        connection.receive(frame("StartSynthesis", {}, appkey=None))


def test_empty_text_is_ignored() -> None:
    assert receive_all(START, frame("RunSynthesis", {"text": ""}))[-1] is None


def test_repeated_start_parameters_in_run_are_ignored() -> None:
    run = frame("RunSynthesis", {"text": "a", "format": "ogg", "volume": 9000})
    assert receive_all(START, run)[-1] == FeedText("a")


def test_a_failure_before_a_task_carries_the_task_id_of_its_message() -> None:
    connection = Connection()
    with pytest.raises(SpeechError):
        connection.receive(frame("StartSynthesis", {"format": "x"}, task_id="abc"))
    failed = json.loads(connection.fail(SpeechError(ErrorCode.INTERNAL, "m")))
    assert failed["header"]["task_id"] == "abc"


def test_every_code_has_a_status() -> None:
    assert set(nls.STATUS_BY_CODE) == set(ErrorCode)


def test_messages_to_the_client() -> None:
    connection = Connection()
    connection.receive(START)
    word = WordSubtitle(
        text="你", text_begin=0, text_end=1, begin_s=0.1, end_s=0.25, estimated=True
    )
    subtitle = SentenceSubtitle(
        text="你好。", text_begin=0, text_end=3, begin_s=0.1, end_s=0.5, words=(word,)
    )
    sent = [
        connection.started(),
        connection.send(SentenceStarted(1, "你好。")),
        connection.send(SubtitleProduced(1, subtitle)),
        connection.send(SentenceFinished(1, subtitle)),
        connection.send(SentenceFinished(2, None)),
    ]
    messages = [json.loads(one) for one in sent]
    names = [message["header"]["name"] for message in messages]
    assert names == [
        "SynthesisStarted",
        "SentenceBegin",
        "SentenceSynthesis",
        "SentenceEnd",
        "SentenceEnd",
    ]
    for message in messages:
        header = message["header"]
        assert header["status"] == 20000000
        assert header["status_text"] == header["status_message"] == "GATEWAY|SUCCESS|Success."
        assert header["task_id"] == TASK
        assert header["namespace"] == "FlowingSpeechSynthesizer"
        assert len(header["message_id"]) == 32
    assert len({message["header"]["message_id"] for message in messages}) == len(messages)
    assert messages[1]["payload"]["index"] == 1
    sentence, first_word = messages[3]["payload"]["subtitles"]
    assert (sentence["sentence"], sentence["text"]) == (True, "")
    assert first_word == {
        "text": "你",
        "begin_time": 100,
        "end_time": 250,
        "begin_index": 0,
        "end_index": 1,
        "sentence": False,
        "phoneme_list": [],
        "estimated": True,
    }
    assert messages[4]["payload"]["subtitles"] == []


def test_audio_goes_out_as_it_is() -> None:
    connection = Connection()
    connection.receive(START)
    assert connection.send(AudioProduced(b"\x01\x02")) == b"\x01\x02"


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("abc", 3), ("你好", 4), ("你a。", 4), ("한국", 2), ("かな", 2), ("𠀀〇", 4)],
)
def test_han_characters_count_twice(text: str, count: int) -> None:
    assert count_characters(text) == count
