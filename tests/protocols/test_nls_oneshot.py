"""One-shot and long synthesis as tables of messages, and connections that mix the namespaces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server import limits
from server.errors import ErrorCode, SpeechError
from server.protocols.nls_connection import Connection
from server.protocols.nls_task import StartTask
from server.protocols.task import CancelTask, FeedText, FinishTask, State
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
SHORT, LONG, FLOWING = "SpeechSynthesizer", "SpeechLongSynthesizer", "FlowingSpeechSynthesizer"
BOTH = pytest.mark.parametrize("namespace", [SHORT, LONG])


def frame(name: str, payload: Any = None, namespace: str = SHORT, task_id: str = TASK) -> str:
    header = {"message_id": "1" * 32, "task_id": task_id, "namespace": namespace, "name": name}
    return json.dumps({"header": {**header, "appkey": "key"}, "payload": payload})


def start(namespace: str = SHORT, **payload: Any) -> str:
    return frame("StartSynthesis", {"text": "你好。", **payload}, namespace)


CANCEL = {"cancel": True}
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
WORDS = tuple(
    WordSubtitle(
        text=text,
        text_begin=place,
        text_end=place + 1,
        begin_s=0.1 + 0.2 * place,
        end_s=0.3 + 0.2 * place,
        estimated=True,
    )
    for place, text in enumerate("你好")
)
SENTENCE = SentenceSubtitle(
    text="你好。", text_begin=0, text_end=3, begin_s=0.1, end_s=0.6, words=WORDS
)


@BOTH
def test_a_task_is_started_with_all_of_its_text(namespace: str) -> None:
    connection = Connection()
    command = connection.receive(start(namespace, voice="x", format="WAV", sample_rate=24000))
    assert isinstance(command, StartTask)
    assert command.text == "你好。"
    assert command.options.voice == "x"
    assert command.options.audio_format is AudioFormat.WAV
    assert connection.state is State.STOPPING


@BOTH
def test_defaults(namespace: str) -> None:
    command = Connection().receive(start(namespace))
    assert isinstance(command, StartTask)
    options = command.options
    assert (options.voice, options.audio_format) == ("xiaoyun", AudioFormat.PCM)
    assert (options.sample_rate_hz, options.subtitles, options.ssml) == (16000, False, True)


@pytest.mark.parametrize("ssml", [True, False])
def test_ssml_can_be_turned_off(ssml: bool) -> None:
    command = Connection().receive(start(enable_ssml=ssml))
    assert isinstance(command, StartTask)
    assert command.options.ssml is ssml


@BOTH
def test_the_text_is_not_cut_at_300_characters(namespace: str) -> None:
    text = "字" * (limits.MAX_TASK_CHARACTERS // 2)
    command = Connection().receive(start(namespace, text=text))
    assert isinstance(command, StartTask)
    assert command.text == text


@BOTH
def test_answers(namespace: str) -> None:
    connection = Connection()
    connection.receive(start(namespace, enable_subtitle=True))
    assert connection.send(SentenceStarted(1, "你好。")) is None
    assert connection.send(AudioProduced(b"\x01\x02")) == b"\x01\x02"
    assert connection.send(SubtitleProduced(1, SENTENCE)) is None
    frames = [
        connection.started(),
        connection.send(SentenceFinished(1, SENTENCE)),
        connection.send(SessionFinished(SUMMARY)),
    ]
    messages = [json.loads(str(one)) for one in frames]
    names = [message["header"]["name"] for message in messages]
    assert names == ["SynthesisStarted", "MetaInfo", "SynthesisCompleted"]
    for message in messages:
        header = message["header"]
        assert (header["namespace"], header["task_id"]) == (namespace, TASK)
        assert header["status"] == 20000000
    assert messages[2]["payload"]["measureLength"] == 5
    assert connection.state is State.IDLE


def meta_info(namespace: str, subtitle: SentenceSubtitle) -> list[dict[str, Any]]:
    connection = Connection()
    connection.receive(start(namespace, enable_subtitle=True))
    message: dict[str, Any] = json.loads(str(connection.send(SentenceFinished(1, subtitle))))
    items: list[dict[str, Any]] = message["payload"]["subtitles"]
    return items


def test_timestamps_of_a_short_text_are_its_words() -> None:
    first, second = meta_info(SHORT, SENTENCE)
    assert first == {
        "text": "你",
        "begin_time": 100,
        "end_time": 300,
        "begin_index": 0,
        "end_index": 1,
        "phoneme": "null",
    }
    assert (second["text"], second["begin_time"], second["begin_index"]) == ("好", 300, 1)


def test_timestamps_of_a_long_text_have_the_sentence_first() -> None:
    sentence, first, _ = meta_info(LONG, SENTENCE)
    assert sentence == {
        "text": "",
        "begin_time": 100,
        "end_time": 600,
        "begin_index": 0,
        "end_index": 3,
        "phoneme": "null",
        "sentence": True,
    }
    assert (first["text"], first["sentence"]) == ("你", False)


def test_without_words_there_are_no_timestamps_of_words() -> None:
    bare = SentenceSubtitle(text="1", text_begin=0, text_end=1, begin_s=0.0, end_s=0.5)
    connection = Connection()
    connection.receive(start(SHORT, enable_subtitle=True))
    assert connection.send(SentenceFinished(1, bare)) is None
    assert [item["text"] for item in meta_info(LONG, bare)] == ["1"]


@BOTH
def test_no_timestamps_unless_asked_for(namespace: str) -> None:
    connection = Connection()
    connection.receive(start(namespace))
    assert connection.send(SentenceFinished(1, None)) is None


@BOTH
def test_barge_in(namespace: str) -> None:
    connection = Connection()
    connection.receive(start(namespace))
    assert connection.receive(frame("StopSynthesis", CANCEL, namespace)) == CancelTask()
    connection.send(SessionFinished(SUMMARY))
    assert connection.receive(frame("StopSynthesis", CANCEL, namespace)) is None


def test_each_task_has_its_own_namespace() -> None:
    connection = Connection()
    for number, namespace in enumerate([FLOWING, SHORT, LONG, SHORT, FLOWING]):
        task_id = f"{number:032}"
        begun = connection.receive(frame("StartSynthesis", {"text": "好。"}, namespace, task_id))
        assert isinstance(begun, StartTask)
        if namespace == FLOWING:
            assert begun.text is None, "the C++ SDK leaves its last text there"
            assert begun.options.voice == "longxiaochun"
            run = frame("RunSynthesis", {"text": "好。"}, namespace, task_id)
            assert connection.receive(run) == FeedText("好。")
            assert connection.receive(frame("StopSynthesis", None, namespace, task_id)) == (
                FinishTask()
            )
        else:
            assert begun.text == "好。"
        header = json.loads(str(connection.send(SessionFinished(SUMMARY))))["header"]
        assert (header["namespace"], header["task_id"]) == (namespace, task_id)
    assert connection.tasks_completed == 5


START_FLOWING = frame("StartSynthesis", {}, FLOWING)


@pytest.mark.parametrize(
    ("frames", "status"),
    [
        ([frame("StartSynthesis")], 40010003),
        ([frame("StartSynthesis", {})], 40010003),
        ([start(text=None)], 40010003),
        ([start(text=5)], 40010003),
        ([start(text="")], 40010003),
        ([start(text=" \n")], 40010003),
        ([start(text="字" * 100_001)], 40000003),
        ([start(format="ogg")], 40010003),
        ([start(sample_rate=1)], 41010101),
        ([start(volume=101)], 40000003),
        ([start(enable_subtitle="yes")], 40000003),
        ([start(), start()], 40010005),
        ([start(), start(LONG)], 40010005),
        ([START_FLOWING, start()], 40010005),
        ([start(), frame("StopSynthesis")], 40010005),
        ([frame("StopSynthesis")], 40010005),
        ([frame("StopSynthesis", CANCEL)], 40010005),
        ([start(), frame("RunSynthesis", {"text": "a"})], 40010002),
        ([start(), frame("FlushText")], 40010002),
        ([frame("RunSynthesis", {"text": "a"}, LONG)], 40010002),
        ([start(), frame("StopSynthesis", CANCEL, LONG)], 40000002),
        ([start(), frame("StopSynthesis", CANCEL, task_id="2" * 32)], 40000002),
        ([START_FLOWING, frame("StopSynthesis")], 40000002),
        ([start(), frame("RunSynthesis", {"text": "a"}, FLOWING)], 40010005),
        ([start(namespace="SpeechTranscriber")], 40010001),
    ],
)
def test_misuse(frames: list[str], status: int) -> None:
    connection = Connection()
    for one in frames[:-1]:
        connection.receive(one)
    with pytest.raises(SpeechError) as caught:
        connection.receive(frames[-1])
    header = json.loads(connection.fail(caught.value))["header"]
    assert (header["name"], header["namespace"]) == ("TaskFailed", "Default")
    assert header["status"] == status
    assert connection.state is State.FAILED


def test_a_refused_start_leaves_no_task() -> None:
    connection = Connection()
    with pytest.raises(SpeechError):
        connection.receive(start(volume=101))
    failed = json.loads(connection.fail(SpeechError(ErrorCode.INTERNAL, "m")))
    assert failed["header"]["task_id"] == TASK
