"""Wyoming without a socket: framing with bounds, the state machine, voices and languages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wyoming.audio import AudioChunk
from wyoming.event import Event
from wyoming.info import SelectProgram
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeVoice,
)

from models.base import Capabilities, Voice
from server import limits
from server.errors import ErrorCode, SpeechError
from server.pool.options import ModelInfo
from server.protocols import wyoming, wyoming_audio, wyoming_voices
from server.protocols.wyoming import Answer, FeedText, FinishTask, Reply, StartTask, VoiceWish
from server.protocols.wyoming_events import EventReader, encode
from server.speech.types import AudioProduced, SessionFinished
from server.speech.voices import AliasTable, VoiceCatalog

TEXTS = st.text(st.characters(codec="utf-8"))
DATA = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-9, 9) | TEXTS, max_size=3)
EVENTS = st.builds(Event, TEXTS, DATA, st.none() | st.binary(min_size=1, max_size=50))


# --- Bytes -----------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.lists(EVENTS, max_size=4), st.integers(1, 40))
def test_what_the_package_writes_is_read_whatever_the_pieces(
    events: list[Event], size: int
) -> None:
    data = encode(*events)
    reader = EventReader()
    pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
    assert [event for piece in pieces for event in reader.feed(piece)] == events


def test_data_may_stand_in_the_line_too() -> None:
    line = b'{"type": "synthesize", "data": {"text": "a", "x": 1}, "data_length": 13}\n'
    (event,) = EventReader().feed(line + b'{"text": "b"}')
    assert event.data == {"text": "b", "x": 1}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\n", "not JSON"),
        (b"\xff\xfe\n", "not JSON"),
        (b'{"data": {"x": ' + b"[" * 100_000 + b"\n", "not JSON"),
        (b"[]\n", "object"),
        (b"{}\n", "type"),
        (b'{"type": 1}\n', "type"),
        (b'{"type": "x", "data": []}\n', "data"),
        (b'{"type": "x", "data_length": -1}\n', "data_length"),
        (b'{"type": "x", "data_length": 1e99}\n', "data_length"),
        (b'{"type": "x", "payload_length": "5"}\n', "payload_length"),
        (b'{"type": "x", "data_length": 2}\n[]', "object"),
        (b'{"type": "x", "data_length": 2}\n{{', "not JSON"),
    ],
)
def test_garbage_is_refused(sent: bytes, said: str) -> None:
    with pytest.raises(SpeechError, match=said) as raised:
        list(EventReader().feed(sent))
    assert raised.value.code is ErrorCode.MESSAGE_INVALID


@pytest.mark.parametrize(
    "sent",
    [
        b"x" * 101,
        b'{"type": "' + b"x" * 100 + b'"}\n',
        b'{"type": "x", "data_length": 90}\n',
        b'{"type": "x", "payload_length": 90}\n',
        b'{"type": "x", "data_length": 45, "payload_length": 45}\n',
    ],
)
def test_large_events_are_refused_before_they_are_there(sent: bytes) -> None:
    with pytest.raises(SpeechError, match="larger than 100 bytes"):
        list(EventReader(max_bytes=100).feed(sent))


# --- Tasks -----------------------------------------------------------------------------------


def types(events: tuple[Event, ...]) -> list[str]:
    return [event.type for event in events]


def test_a_whole_text_is_a_whole_task() -> None:
    voice = SynthesizeVoice(name="anna", speaker="b")
    start, *rest = wyoming.Connection().receive(Synthesize("Hello", voice, "ssml").event())
    assert isinstance(start, StartTask)
    assert start.voice == VoiceWish(name="anna", speaker="b")
    assert start.ssml
    assert rest == [FeedText("Hello"), FinishTask()]


def test_a_streamed_text_is_not_spoken_twice() -> None:
    connection = wyoming.Connection()
    (start,) = connection.receive(SynthesizeStart().event())
    assert isinstance(start, StartTask)
    assert connection.receive(SynthesizeChunk("Hello").event()) == (FeedText("Hello"),)
    assert connection.receive(Synthesize("Hello").event()) == ()
    assert connection.receive(SynthesizeStop().event()) == (FinishTask(),)


def test_the_rest_of_a_failed_stream_is_dropped() -> None:
    connection = wyoming.Connection()
    connection.receive(SynthesizeStart().event())
    error = SpeechError(ErrorCode.VOICE_UNKNOWN, "No!")
    assert types(connection.fail(error)) == ["error", "synthesize-stopped"]
    for event in (SynthesizeChunk("x"), Synthesize("x"), SynthesizeStop()):
        assert connection.receive(event.event()) == ()
    assert len(connection.receive(Synthesize("x").event())) == 3


@pytest.mark.parametrize(
    ("before", "event"),
    [
        ([], SynthesizeChunk("x")),
        ([], SynthesizeStop()),
        ([SynthesizeStart()], SynthesizeStart()),
    ],
)
def test_what_comes_at_the_wrong_time_harms_no_task(before: list[Any], event: Any) -> None:
    connection = wyoming.Connection()
    for one in before:
        connection.receive(one.event())
    state = connection.state
    (answer,) = connection.receive(event.event())
    assert isinstance(answer, Answer)
    assert answer.event.data["code"] == "state_conflict"
    assert connection.state is state


@pytest.mark.parametrize(
    ("event_type", "data", "named"),
    [
        ("synthesize", {}, "text"),
        ("synthesize", {"text": None}, "text"),
        ("synthesize", {"text": 5}, "text"),
        ("synthesize", {"text": "x", "voice": "anna"}, "voice"),
        ("synthesize", {"text": "x", "voice": {"name": 5}}, "name"),
        ("synthesize-start", {"text_format": "html"}, "text_format"),
        ("synthesize-start", {"voice": {"language": []}}, "language"),
    ],
)
def test_wrong_fields_are_named(event_type: str, data: dict[str, Any], named: str) -> None:
    connection = wyoming.Connection()
    with pytest.raises(SpeechError, match=named) as raised:
        connection.receive(Event(event_type, data))
    last = "synthesize-stopped" if event_type == "synthesize-start" else "audio-stop"
    assert types(connection.fail(raised.value)) == ["error", last]


def test_nulls_and_unknown_fields_are_nothing() -> None:
    data = {"text": "x", "voice": None, "text_format": None, "context": {"a": 1}, "new": 1}
    start, *_ = wyoming.Connection().receive(Event("synthesize", data))
    assert isinstance(start, StartTask)
    assert start.voice == VoiceWish()


def test_text_has_a_limit_over_all_chunks() -> None:
    connection = wyoming.Connection()
    connection.receive(SynthesizeStart().event())
    connection.receive(SynthesizeChunk("x" * limits.MAX_TASK_CHARACTERS).event())
    with pytest.raises(SpeechError) as raised:
        connection.receive(SynthesizeChunk("x").event())
    assert raised.value.code is ErrorCode.TEXT_TOO_LONG


def test_unknown_events_are_dropped() -> None:
    assert wyoming.Connection().receive(Event("detect", {"names": ["hey"]})) == ()


@pytest.mark.parametrize(("name", "n_answers"), [("cosystream", 0), ("piper", 1)])
def test_there_is_one_program(name: str, n_answers: int) -> None:
    assert len(wyoming.Connection().receive(SelectProgram(name).event())) == n_answers


# --- Replies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_audio_is_framed_once(streamed: bool) -> None:
    reply = Reply(streamed=streamed)
    reply.sample_rate_hz = 8000
    events = [*reply.send(AudioProduced(b"12")), *reply.send(AudioProduced(b"34"))]
    events += reply.send(SessionFinished(None))  # type: ignore[arg-type]  # not looked at
    ends = ["audio-stop", *(["synthesize-stopped"] if streamed else [])]
    assert types(tuple(events)) == ["audio-start", "audio-chunk", "audio-chunk", *ends]
    assert events[1] == AudioChunk(8000, 2, 1, b"12").event()


def test_an_error_within_the_audio_ends_both() -> None:
    reply = Reply(streamed=True)
    reply.send(AudioProduced(b"12"))
    error = SpeechError(ErrorCode.MODEL_FAILED, "Broken!")
    assert types(reply.fail(error)) == ["error", "audio-stop", "synthesize-stopped"]
    assert types(reply.fail(error)) == ["error"]


# --- Voices ----------------------------------------------------------------------------------


def catalog(**languages: str) -> VoiceCatalog:
    voices = tuple(Voice(name=name, language=tag) for name, tag in languages.items())
    info = ModelInfo(
        name="model", sample_rate_hz=24_000, voices=voices, capabilities=Capabilities()
    )
    return VoiceCatalog.build({"model": info}, AliasTable({"alias": ("anna",)}))


VOICES = catalog(
    hua="cmn", anna="en-US", bob="en-GB", mei="yue", lin="cmn-Latn-pinyin", eva="es-419"
)


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        (VoiceWish(), "hua"),
        (VoiceWish(name="anna"), "anna"),
        (VoiceWish(name="alias"), "anna"),
        (VoiceWish(name="model", speaker="bob"), "bob"),
        (VoiceWish(name="bob", language="zh"), "bob"),
        (VoiceWish(language="en"), "anna"),
        (VoiceWish(language="en_GB"), "bob"),
        (VoiceWish(language="en-AU"), "anna"),
        (VoiceWish(language="zh-CN"), "hua"),
        (VoiceWish(language="zh-Hans"), "hua"),
        (VoiceWish(language="cmn"), "hua"),
        (VoiceWish(language="zh-HK"), "mei"),
        (VoiceWish(language="yue"), "mei"),
        (VoiceWish(language="es"), "eva"),
    ],
)
def test_the_voice_that_is_meant(wish: VoiceWish, name: str) -> None:
    assert wyoming_voices.choose(wish, VOICES).name == name


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (VoiceWish(name="ann"), "anna"),
        (VoiceWish(name="anna", speaker="5"), "anna/5"),
        (VoiceWish(language="de"), "'de'"),
    ],
)
def test_a_voice_that_is_not_there(wish: VoiceWish, said: str) -> None:
    with pytest.raises(SpeechError, match=said) as raised:
        wyoming_voices.choose(wish, VOICES)
    assert raised.value.code is ErrorCode.VOICE_UNKNOWN


def test_without_voices_the_client_is_to_try_again() -> None:
    with pytest.raises(SpeechError) as raised:
        wyoming_voices.choose(VoiceWish(), catalog())
    assert raised.value.code is ErrorCode.MODEL_UNAVAILABLE


def test_languages_are_listed_as_home_assistant_knows_them() -> None:
    info = wyoming_voices.describe(VOICES.entries(), None)
    listed = {voice.name: voice.languages for voice in info.tts[0].voices}
    assert listed["hua"] == listed["lin"] == ["zh-CN"]
    assert (listed["mei"], listed["bob"]) == (["zh-HK"], ["en-GB"])
    assert info.asr == []
    json.dumps(info.event().data)


# --- Audio that comes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"rate": 16_000, "width": 4, "channels": 1}, "4 bytes"),
        ({"rate": 0, "width": 2, "channels": 1}, "rate"),
        ({"rate": 16_000, "width": 2, "channels": 7}, "channels"),
        ({"width": 2, "channels": 1}, "rate"),
    ],
)
def test_audio_that_is_not_understood(data: dict[str, Any], named: str) -> None:
    with pytest.raises(SpeechError, match=named):
        wyoming_audio.read(Event("audio-start", data))


@pytest.mark.parametrize(
    ("asked", "own"),
    [("zh-CN", "cmn"), ("zh-HK", "yue"), ("en", "en"), ("de", "de"), ("", "")],
)
def test_the_recognisers_own_name_of_a_language(asked: str, own: str) -> None:
    assert wyoming_audio.own_tag(asked, ("cmn", "yue", "en")) == own
