"""DashScope's state machine as tables of messages: what comes in, what is to be done."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import ErrorCode, SpeechError
from server.protocols import dashscope
from server.protocols.dashscope_messages import StartTask
from server.protocols.dashscope_socket import Connection
from server.protocols.task import CancelTask, FeedText, FinishTask, FlushText, State
from server.speech.types import (
    AudioFormat,
    AudioProduced,
    Prosody,
    SentenceFinished,
    SentenceStarted,
    SentenceSubtitle,
    SessionFinished,
    SessionSummary,
    WordSubtitle,
)

TASK = "0" * 32


def frame(action: Any, payload: Any = None, **header: Any) -> str:
    message = {"header": {"action": action, "task_id": TASK, "streaming": "duplex", **header}}
    return json.dumps(message if payload is None else {**message, "payload": payload})


def run(
    streaming: str = "duplex", model: Any = "cosyvoice-v2", text: Any = None, **more: Any
) -> str:
    parameters = {"voice": "longxiaochun_v2", **more}
    payload = {
        "model": model,
        "task_group": "audio",
        "task": "tts",
        "function": "SpeechSynthesizer",
        "input": {} if text is None else {"text": text},
        "parameters": {name: value for name, value in parameters.items() if value != "-"},
    }
    return frame("run-task", payload, streaming=streaming)


def text(value: Any, **header: Any) -> str:
    return frame("continue-task", {"input": {"text": value}}, **header)


FLUSH = frame("continue-task", {"input": {"flush": True}})
FINISH = frame("finish-task", {"input": {}})
CANCEL = frame("finish-task", {"input": {"directive": "cancel"}})


def finished(audio_bytes: int = 100) -> SessionFinished:
    return SessionFinished(
        SessionSummary(
            sentences=1,
            characters=3,
            audio_s=1.0,
            audio_bytes=audio_bytes,
            first_audio_s=0.01,
            text_wait_s=0.0,
            model_first_chunk_s=0.005,
            queue_wait_s=0.0,
            synthesis_s=0.01,
            underruns=0,
        )
    )


def receive(connection: Connection, *frames: str | bytes) -> list[Any]:
    commands = []
    for one in frames:
        commands.append(connection.receive(one))
        if isinstance(commands[-1], StartTask):
            connection.begin(commands[-1])
    return commands


def error_of(*frames: str | bytes) -> SpeechError:
    connection = Connection()
    receive(connection, *frames[:-1])
    with pytest.raises(SpeechError) as caught:
        receive(connection, frames[-1])
    return caught.value


def started(*frames: str | bytes) -> StartTask:
    (task,) = receive(Connection(), *frames)
    assert isinstance(task, StartTask)
    return task


def header_of(message: str | bytes) -> dict[str, Any]:
    return dict(json.loads(message)["header"])


def payload_of(message: str | bytes) -> dict[str, Any]:
    return dict(json.loads(message)["payload"])


# --- Tasks -----------------------------------------------------------------------------------


def test_a_task_from_run_to_finish() -> None:
    connection = Connection()
    commands = receive(connection, run(), text("你好。"), FLUSH, text(""), text("再见。"), FINISH)
    assert isinstance(commands[0], StartTask)
    assert commands[0].streamed
    assert commands[1:] == [
        FeedText("你好。"), FlushText(), None, FeedText("再见。"), FinishTask()
    ]  # fmt: skip
    assert connection.state is State.STOPPING


def test_events_of_a_task() -> None:
    connection = Connection()
    receive(connection, run(), text("你好a。"), FINISH)
    word = WordSubtitle(
        text="好", text_begin=4, text_end=5, begin_s=0.2, end_s=0.41, estimated=False
    )
    subtitle = SentenceSubtitle(
        text="你好a。", text_begin=3, text_end=7, begin_s=0, end_s=1, words=(word,)
    )
    assert header_of(connection.started()) == {
        "task_id": TASK, "event": "task-started", "attributes": {}
    }  # fmt: skip
    (begin,) = connection.send(SentenceStarted(1, "你好a。"))
    assert payload_of(begin) == {
        "output": {
            "type": "sentence-begin",
            "sentence": {"index": 0, "words": []},
            "original_text": "你好a。",
        }
    }
    audio, binary = connection.send(AudioProduced(b"ab"))
    assert payload_of(audio)["output"]["type"] == "sentence-synthesis"
    assert binary == b"ab"
    (end,) = connection.send(SentenceFinished(1, subtitle))
    assert payload_of(end) == {
        "output": {
            "type": "sentence-end",
            "sentence": {
                "index": 0,
                "words": [
                    {
                        "text": "好",
                        "begin_index": 1,
                        "end_index": 2,
                        "begin_time": 200,
                        "end_time": 410,
                    }
                ],
            },
            "original_text": "你好a。",
        },
        "usage": {"characters": 6},
    }
    (last,) = connection.send(finished())
    assert header_of(last)["event"] == "task-finished"
    assert header_of(last)["attributes"]["request_uuid"]
    assert payload_of(last) == {
        "output": {"sentence": {"words": []}}, "usage": {"characters": 6}
    }  # fmt: skip
    assert connection.state is State.IDLE


def test_tasks_follow_one_another() -> None:
    connection = Connection()
    for task_id in ("1", "2"):
        message = json.loads(run())
        message["header"]["task_id"] = task_id
        receive(connection, json.dumps(message), text("好。", task_id=task_id))
        receive(connection, frame("finish-task", {"input": {}}, task_id=task_id))
        (last,) = connection.send(finished())
        assert header_of(last)["task_id"] == task_id
        assert payload_of(last)["usage"] == {"characters": 3}


def test_cancelling_is_no_failure_although_nothing_was_heard() -> None:
    connection = Connection()
    assert receive(connection, run(), CANCEL)[1] == CancelTask()
    (last,) = connection.send(finished(audio_bytes=0))
    assert header_of(last)["event"] == "task-finished"


def test_cancel_after_finish_and_after_the_end() -> None:
    connection = Connection()
    assert receive(connection, run(), text("好。"), FINISH, CANCEL)[3] == CancelTask()
    connection.send(finished())
    assert connection.receive(CANCEL) is None


def test_a_task_without_anything_spoken_fails() -> None:
    connection = Connection()
    receive(connection, run(), text("……"), FINISH)
    with pytest.raises(SpeechError, match="ensure input text is valid"):
        connection.send(finished(audio_bytes=0))


def test_the_older_module() -> None:
    connection = Connection()
    (task,) = receive(connection, run("out", "sambert-zhichu-v1", "你好。", voice="-"))
    assert (task.text, task.streamed, connection.state) == ("你好。", False, State.STOPPING)
    assert task.options.voice == "zhichu"
    assert (task.options.audio_format, task.options.sample_rate_hz) == (AudioFormat.WAV, None)
    assert connection.send(SentenceStarted(1, "你好。")) == ()
    assert connection.send(AudioProduced(b"ab")) == (b"ab",)
    assert connection.send(SentenceFinished(1, None)) == ()
    (last,) = connection.send(finished())
    # Any output but null would be looked through for times.
    assert payload_of(last) == {"output": None, "usage": {"characters": 5}}


def test_an_error_is_told_with_its_task() -> None:
    connection = Connection()
    receive(connection, run())
    failed = connection.fail(SpeechError(ErrorCode.VOICE_UNKNOWN, "Who?"))
    assert header_of(failed) == {
        "task_id": TASK,
        "event": "task-failed",
        "attributes": {},
        "error_code": "InvalidParameter",
        "error_message": "[tts:]Engine return error code: 418: Who?",
    }
    assert connection.state is State.FAILED


# --- Parameters ------------------------------------------------------------------------------


def test_parameters() -> None:
    options = started(
        run(
            format="opus", sample_rate=24000, bit_rate=16, volume=100, rate=0.5, pitch=2, seed=7,
            instruction=" 开心 ", word_timestamp_enabled=True, enable_ssml=True,
            enable_markdown_filter=False, language_hints=["zh"], type=0, text_type="PlainText",
        )
    ).options  # fmt: skip
    assert options.voice == "longxiaochun_v2"
    assert (options.audio_format, options.sample_rate_hz) == (AudioFormat.OPUS, 24_000)
    assert options.bit_rate == 16_000
    assert options.prosody == Prosody(speed=0.5, pitch=2.0, gain=2.0)
    assert (options.seed, options.instruction) == (7, "开心")
    assert (options.subtitles, options.ssml, options.clean_markup) == (True, True, False)


def test_defaults_of_the_package() -> None:
    options = started(run(format="Default", sample_rate=0, seed=0)).options
    assert (options.audio_format, options.sample_rate_hz) == (AudioFormat.MP3, 22_050)
    assert options.prosody == Prosody()
    assert (options.seed, options.ssml, options.subtitles) == (None, False, False)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"voice": "-"}, ErrorCode.PARAMETER_INVALID),
        ({"voice": 3}, ErrorCode.PARAMETER_INVALID),
        ({"format": "ogg"}, ErrorCode.FORMAT_UNSUPPORTED),
        ({"sample_rate": 12345}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ({"sample_rate": True}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ({"sample_rate": False}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ({"sample_rate": "16000"}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ({"volume": 101}, ErrorCode.PARAMETER_INVALID),
        ({"rate": 0.4}, ErrorCode.PARAMETER_INVALID),
        ({"rate": float("nan")}, ErrorCode.PARAMETER_INVALID),
        ({"rate": 10**400}, ErrorCode.PARAMETER_INVALID),
        ({"pitch": "1"}, ErrorCode.PARAMETER_INVALID),
        ({"pitch": True}, ErrorCode.PARAMETER_INVALID),
        ({"seed": 65_536}, ErrorCode.PARAMETER_INVALID),
        ({"format": "opus", "bit_rate": 5}, ErrorCode.PARAMETER_INVALID),
        ({"text_type": "HTML"}, ErrorCode.PARAMETER_INVALID),
        ({"instruction": "x" * 129}, ErrorCode.PARAMETER_INVALID),
        ({"language_hints": "zh"}, ErrorCode.PARAMETER_INVALID),
        ({"hot_fix": {"replace": [{"a": "b"}]}}, ErrorCode.NOT_SUPPORTED),
        ({"streaming": "sideways"}, ErrorCode.PARAMETER_INVALID),
    ],
)
def test_bad_parameters(change: dict[str, Any], code: ErrorCode) -> None:
    error = error_of(run(**change))
    assert error.code is code
    assert dashscope.error_code(error) == "InvalidParameter"


@pytest.mark.parametrize(
    ("text", "ssml", "characters"),
    [("你好a", False, 5), ("<speak>你<break time='1s'/>a</speak>", True, 3), ("<b>", False, 3)],
)
def test_characters(text: str, ssml: bool, characters: int) -> None:
    assert dashscope.count(text, ssml=ssml) == characters


# --- Misuse ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frames",
    [
        [b"\x00\x01"],
        [""],
        ["not json"],
        ["[" * 100_000],
        ["[]"],
        ["null"],
        ['{"payload":{}}'],
        ['{"header":[]}'],
        [frame("run-task", [])],
        [frame("run-task", {}, task_id=5)],
        [frame("run-task", {}, task_id="")],
        [frame("run-task", {}, task_id="x" * 129)],
        [frame("dance-task", {})],
        [frame(None, {})],
        [frame("run-task", {"model": "m", "task": "asr"})],
        [frame("run-task", {"model": "m", "parameters": []})],
        [run(model="-", text=5)],
        [run("out")],
        [run("out", text="")],
        [run(), frame("continue-task", {})],
        [run(), frame("continue-task", {"input": {}})],
        [run(), frame("continue-task", {"input": []})],
        [run(), text(5)],
        [run(), text("字" * 10_001)],
        [run(), *[text("字" * 10_000)] * 10, text("字")],
        [run(), frame("finish-task", {})],
        [run(), frame("finish-task", {"input": {"directive": "dance"}})],
        [run(enable_ssml=True), text("一"), text("二")],
    ],
)
def test_misuse(frames: list[str | bytes]) -> None:
    assert dashscope.error_code(error_of(*frames)) == "InvalidParameter"


@pytest.mark.parametrize(
    "frames",
    [
        [text("一")],
        [FINISH],
        [CANCEL],
        [run(), text("一", task_id="other")],
        [run(), frame("finish-task", {"input": {}}, task_id="other")],
        [run(), FINISH, text("一")],
    ],
)
def test_messages_for_a_task_that_does_not_run(frames: list[str]) -> None:
    assert error_of(*frames).message == "task can not be null"


@pytest.mark.parametrize("model", [None, ""])
def test_no_model(model: str | None) -> None:
    assert error_of(run(model=model)).message == (
        "Missing required parameter 'payload.model'! Please follow the protocol!"
    )


def test_no_voice() -> None:
    assert error_of(run(voice=None)).message == "Request voice is invalid!"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["run-task", "continue-task", "finish-task"]),
    st.dictionaries(
        st.sampled_from(["model", "task", "input", "parameters"]),
        _json
        | st.dictionaries(
            st.sampled_from(
                ["text", "flush", "directive", "voice", "format", "sample_rate", "rate", "seed"]
            ),
            _json,
        ),
    ),
)
def test_whatever_comes_is_understood_or_refused(action: str, payload: dict[str, Any]) -> None:
    for first in ([], [run()]):
        connection = Connection()
        receive(connection, *first)
        with contextlib.suppress(SpeechError):
            receive(connection, frame(action, payload))
