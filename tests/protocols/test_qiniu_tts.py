"""Qiniu's `/voice/tts` as tables of messages."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ErrorCode, SpeechError
from server.protocols import qiniu, qiniu_tts
from server.protocols.qiniu_tts import ReplyWriter, Stream, VoiceItem, read_request
from server.speech.types import (
    AudioFormat,
    AudioProduced,
    SentenceFinished,
    SentenceStarted,
    SessionFinished,
    SessionSummary,
)

AUDIO = {"voice_type": "qiniu_zh_female_wwxkjx", "encoding": "mp3", "speed_ratio": 1.0}
REQUEST = {"audio": AUDIO, "request": {"text": "你好,世界!"}}


def request_with(**audio: Any) -> str:
    return json.dumps({**REQUEST, "audio": {**AUDIO, **audio}})


def finished(audio_s: float) -> SessionFinished:
    return SessionFinished(
        SessionSummary(
            sentences=1,
            characters=1,
            audio_s=audio_s,
            audio_bytes=1,
            first_audio_s=None,
            text_wait_s=0,
            model_first_chunk_s=None,
            queue_wait_s=0,
            synthesis_s=0,
            underruns=0,
        )
    )


# --- Requests --------------------------------------------------------------------------------


def test_the_pages_example() -> None:
    wanted = read_request(json.dumps(REQUEST))
    assert wanted.text == "你好,世界!"
    assert wanted.options.voice == "qiniu_zh_female_wwxkjx"
    assert wanted.options.audio_format is AudioFormat.MP3
    assert wanted.options.sample_rate_hz == 24_000
    assert wanted.options.prosody.speed == 1.0


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *((name, AudioFormat(name)) for name in ("pcm", "wav", "mp3", "opus", "aac", "flac")),
        ("MP3", AudioFormat.MP3),
        ("ogg_opus", AudioFormat.OPUS),
        ("ogg", AudioFormat.OPUS),
    ],
)
def test_encodings(written: str, meant: AudioFormat) -> None:
    assert read_request(request_with(encoding=written)).options.audio_format is meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [(0.25, 0.25), (0.5, 0.5), (1, 1.0), (4, 4.0), (None, 1.0), (0, 1.0), (0.0, 1.0)],
)
def test_speed_ratio(written: float | None, meant: float) -> None:
    """Go's zero value of a field that its program did not set is no speed."""
    assert read_request(request_with(speed_ratio=written)).options.prosody.speed == meant


@pytest.mark.parametrize(
    ("body", "header", "voice"),
    [
        ("own", "", "own"),
        ("own", "headers", "own"),
        ("", "headers", "headers"),
        (None, "headers", "headers"),
        (None, "中文女".encode().decode("latin-1"), "中文女"),
        (None, "中文女", "中文女"),
        (None, "\xe9t\xe9", "été"),
    ],
)
def test_the_voice_is_the_bodys_or_the_headers(body: str | None, header: str, voice: str) -> None:
    wanted = read_request(request_with(voice_type=body), voice_header=header)
    assert wanted.options.voice == voice


def test_unknown_fields_and_a_rate_of_our_own() -> None:
    body = request_with(sample_rate=8000, volume=1.0, emotion="happy")
    assert read_request(body).options.sample_rate_hz == 8000
    assert read_request(body.replace('"request"', '"user": {"uid": 1}, "request"'))


MISUSE = {
    "no JSON": ("nonsense", ErrorCode.MESSAGE_INVALID, "JSON"),
    "empty": ("", ErrorCode.MESSAGE_INVALID, "JSON"),
    "half a surrogate pair": (
        '{"audio":{"encoding":"mp3"},"request":{"text":"\\ud800"}}',
        ErrorCode.MESSAGE_INVALID,
        "JSON",
    ),
    "no UTF-8": (b"\xff", ErrorCode.MESSAGE_INVALID, "JSON"),
    "nested without end": ('{"x":' + "[" * 100_000, ErrorCode.MESSAGE_INVALID, "JSON"),
    "no object": ("[]", ErrorCode.PARAMETER_INVALID, "object"),
    "null": ("null", ErrorCode.PARAMETER_INVALID, "object"),
    "no audio": ('{"request":{"text":"a"}}', ErrorCode.PARAMETER_INVALID, "audio"),
    "no request": ('{"audio":{}}', ErrorCode.PARAMETER_INVALID, "request"),
    "audio is null": (
        '{"audio":null,"request":{"text":"a"}}',
        ErrorCode.PARAMETER_INVALID,
        "$.audio",
    ),
    "no text": ('{"audio":{},"request":{}}', ErrorCode.PARAMETER_INVALID, "text"),
    "text is a number": (
        '{"audio":{},"request":{"text":1}}',
        ErrorCode.PARAMETER_INVALID,
        "$.request.text",
    ),
    "blank text": (
        '{"audio":{"encoding":"mp3","voice_type":"a"},"request":{"text":" \\n"}}',
        ErrorCode.TEXT_MISSING,
        "request.text",
    ),
    "text without end": (
        json.dumps({**REQUEST, "request": {"text": "a" * 200_001}}),
        ErrorCode.TEXT_TOO_LONG,
        "200001",
    ),
    "no voice": (request_with(voice_type=""), ErrorCode.PARAMETER_INVALID, "VoiceType"),
    "voice is a number": (
        request_with(voice_type=1),
        ErrorCode.PARAMETER_INVALID,
        "$.audio.voice_type",
    ),
    "no encoding": (request_with(encoding=None), ErrorCode.FORMAT_UNSUPPORTED, "audio.encoding"),
    "unknown encoding": (request_with(encoding="mp4"), ErrorCode.FORMAT_UNSUPPORTED, "'mp4'"),
    "speed is a string": (
        request_with(speed_ratio="1"),
        ErrorCode.PARAMETER_INVALID,
        "$.audio.speed_ratio",
    ),
    "speed is a bool": (
        request_with(speed_ratio=True),
        ErrorCode.PARAMETER_INVALID,
        "$.audio.speed_ratio",
    ),
    "too slow": (request_with(speed_ratio=0.2), ErrorCode.PARAMETER_INVALID, "speed_ratio 0.2"),
    "too fast": (request_with(speed_ratio=4.1), ErrorCode.PARAMETER_INVALID, "speed_ratio 4.1"),
    "backwards": (request_with(speed_ratio=-1), ErrorCode.PARAMETER_INVALID, "speed_ratio -1"),
    "not a number": (
        request_with(speed_ratio=1.5).replace("1.5", "NaN"),
        ErrorCode.MESSAGE_INVALID,
        "JSON",
    ),
    "no rate": (request_with(sample_rate=1), ErrorCode.SAMPLE_RATE_UNSUPPORTED, "sample_rate 1"),
    "rate is a bool": (
        request_with(sample_rate=True),
        ErrorCode.PARAMETER_INVALID,
        "$.audio.sample_rate",
    ),
}


@pytest.mark.parametrize(("body", "code", "named"), MISUSE.values(), ids=MISUSE.keys())
def test_misuse(body: str | bytes, code: ErrorCode, named: str) -> None:
    with pytest.raises(SpeechError) as caught:
        read_request(body)
    assert caught.value.code is code
    assert named in caught.value.message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["audio", "request", "text", "encoding", "voice_type", "speed_ratio"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_breaks_it(message: Any) -> None:
    with contextlib.suppress(SpeechError):
        read_request(json.dumps(message), voice_header="a")


# --- A stream of messages --------------------------------------------------------------------


def test_a_stream() -> None:
    stream = Stream()
    assert stream.receive(json.dumps(REQUEST).encode()).text == "你好,世界!"
    assert stream.send(SentenceStarted(1, "你好")) is None
    first = stream.send(AudioProduced(b"\x00\xff"))
    second = stream.send(AudioProduced(b"abcd"))
    assert stream.send(SentenceFinished(1, None)) is None
    last = stream.send(finished(1.6734))
    same = {"reqid": stream.reqid, "operation": "query"}
    messages = [json.loads(message) for message in (first, second, last) if message]
    assert messages == [
        {**same, "sequence": 1, "data": "AP8="},
        {**same, "sequence": 2, "data": "YWJjZA=="},
        {**same, "sequence": -3, "data": "", "addition": {"duration": "1673"}},
    ]
    assert len(stream.reqid) == 32


def test_a_stream_has_one_request() -> None:
    stream = Stream(voice_header="a")
    stream.receive(json.dumps(REQUEST))
    with pytest.raises(SpeechError) as caught:
        stream.receive(json.dumps(REQUEST))
    assert caught.value.code is ErrorCode.STATE_CONFLICT


def test_a_stream_without_sound_fails() -> None:
    stream = Stream()
    stream.receive(json.dumps(REQUEST))
    with pytest.raises(SpeechError) as caught:
        stream.send(finished(0))
    assert caught.value.code is ErrorCode.TEXT_MISSING


def test_an_error_in_a_stream_ends_no_file() -> None:
    """A negative sequence would make the vendor's client keep what it has as if it were whole."""
    stream = Stream()
    message = json.loads(stream.fail(SpeechError(ErrorCode.VOICE_UNKNOWN, "Who?")))
    assert message == {
        "reqid": stream.reqid,
        "operation": "query",
        "sequence": 0,
        "data": "",
        "error": {"code": "voice_unknown", "message": "Who?"},
    }


# --- One reply -------------------------------------------------------------------------------


def reply_of(*pieces: bytes, audio_s: float = 1.673) -> dict[str, Any]:
    writer = ReplyWriter("r" * 32)
    parts = [writer.begin(), *map(writer.add, pieces), writer.end(audio_s)]
    reply: dict[str, Any] = json.loads(b"".join(parts))
    return reply


def test_the_pages_reply() -> None:
    assert reply_of(b"data") == {
        "reqid": "r" * 32,
        "operation": "query",
        "sequence": -1,
        "data": "ZGF0YQ==",
        "addition": {"duration": "1673"},
    }


@given(st.lists(st.binary(max_size=10), max_size=10))
def test_pieces_of_any_size_are_one_base64(pieces: list[bytes]) -> None:
    data = reply_of(*pieces)["data"]
    assert base64.b64decode(data, validate=True) == b"".join(pieces)


# --- Errors and voices -----------------------------------------------------------------------


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_has_a_status(code: ErrorCode) -> None:
    status = qiniu.http_status(code)
    assert 400 <= status < 600
    body = json.loads(qiniu.render_failure(SpeechError(code, "Why."), reqid="1"))
    assert body == {"reqid": "1", "error": {"code": code.value, "message": "Why."}}


def test_the_voice_list_is_a_bare_array() -> None:
    voice = VoiceItem(
        voice_name="中文女", voice_type="a", url="http://x/", category="传统音色", updatetime=1
    )
    assert json.loads(qiniu_tts.render_voices([voice])) == [
        {
            "voice_name": "中文女",
            "voice_type": "a",
            "url": "http://x/",
            "category": "传统音色",
            "updatetime": 1,
        }
    ]
