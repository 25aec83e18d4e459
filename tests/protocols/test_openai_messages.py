"""OpenAI's requests and replies as tables."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import SERVER_FAULTS, ErrorCode, SpeechError
from server.protocols import openai, openai_speech
from server.speech.types import AudioFormat

MINIMAL = {"model": "tts-1", "input": "Hello.", "voice": "alloy"}


def read(**change: Any) -> openai_speech.SpeechRequest:
    return openai_speech.read_request(json.dumps({**MINIMAL, **change}).encode())


def refused(body: bytes) -> dict[str, Any]:
    with pytest.raises(SpeechError) as caught:
        openai_speech.read_request(body)
    return told(caught.value)


def told(error: SpeechError) -> dict[str, Any]:
    """What the client sees, and the status."""
    envelope = openai.Failure(error=openai.detail(error))
    body: dict[str, Any] = json.loads(openai.render(envelope))["error"]
    assert body.keys() == {"message", "type", "param", "code"}
    assert body["message"]
    return {**body, "status": openai.http_status(error)}


# --- Requests --------------------------------------------------------------------------------


def test_defaults() -> None:
    wanted = read()
    assert (wanted.model, wanted.text, wanted.events) == ("tts-1", "Hello.", False)
    options = wanted.options
    assert (options.voice, options.audio_format) == ("alloy", AudioFormat.MP3)
    assert (options.sample_rate_hz, options.prosody.speed) == (24_000, 1.0)
    assert (options.instruction, options.ssml) == ("", False)


def test_every_field() -> None:
    wanted = read(
        model="any",
        voice={"id": "voice_1234"},
        response_format="PCM",
        speed=0.25,
        instructions=" Whisper. ",
        stream_format="sse",
    )
    options = wanted.options
    assert (wanted.model, wanted.events) == ("any", True)
    assert (options.voice, options.audio_format) == ("voice_1234", AudioFormat.PCM)
    assert (options.prosody.speed, options.instruction) == (0.25, "Whisper.")


@pytest.mark.parametrize(
    "change",
    [
        # Dify
        {"instruction": None, "response_format": "mp3"},
        # RAGFlow for SiliconFlow
        {"sample_rate": 123, "gain": 0, "speed": 1, "stream": True},
        # null is as good as absent
        {"speed": None, "response_format": None, "instructions": None, "stream_format": None},
        {"voice": {"id": "alloy", "more": 1}},
    ],
)
def test_what_clients_add(change: dict[str, Any]) -> None:
    assert read(**change) == read()


@pytest.mark.parametrize("speed", [0.25, 1, 4])
def test_ends_of_the_range(speed: float) -> None:
    assert read(speed=speed).options.prosody.speed == speed


def test_longest_input() -> None:
    assert len(read(input="字" * 4096).text) == 4096


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "missing_required_parameter"),
        ({"input": None}, "input", "missing_required_parameter"),
        ({"voice": None}, "voice", "missing_required_parameter"),
        ({"model": 5}, "model", "invalid_type"),
        ({"input": ["a"]}, "input", "invalid_type"),
        ({"voice": 5}, "voice", "invalid_type"),
        ({"voice": {}}, "voice", "invalid_type"),
        ({"voice": {"id": 5}}, "voice", "invalid_type"),
        ({"speed": "1"}, "speed", "invalid_type"),
        ({"speed": True}, "speed", "invalid_type"),
        ({"instructions": {}}, "instructions", "invalid_type"),
        ({"response_format": 3}, "response_format", "invalid_type"),
        ({"response_format": "mp4"}, "response_format", "invalid_value"),
        ({"stream_format": "websocket"}, "stream_format", "invalid_value"),
        ({"speed": 0.24}, "speed", "decimal_below_min_value"),
        ({"speed": 4.01}, "speed", "decimal_above_max_value"),
        ({"input": ""}, "input", "string_below_min_length"),
        ({"input": "a" * 4097}, "input", "string_above_max_length"),
    ],
)
def test_misuse(change: dict[str, Any], param: str, code: str) -> None:
    body = refused(json.dumps({**MINIMAL, **change}).encode())
    assert (body["status"], body["type"]) == (400, "invalid_request_error")
    assert (body["param"], body["code"]) == (param, code)
    assert param in body["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"a"', b"\xff", b'{"a":"\xff"}', b"[" * 100_000,
             b'{"input":"\\ud800"}', b'{"speed":NaN}', b'{"speed":1e999}'],
)  # fmt: skip
def test_a_body_that_is_no_json_object(body: bytes) -> None:
    answer = refused(body)
    assert (answer["status"], answer["type"]) == (400, "invalid_request_error")
    assert (answer["param"], answer["code"]) == (None, None)


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from([*MINIMAL, "speed", "response_format", "stream_format", "instructions"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.none()),
    )
)
def test_nothing_breaks_it(change: dict[str, Any]) -> None:
    body = json.dumps({**MINIMAL, **change}, ensure_ascii=False).encode("utf-8", "replace")
    try:
        openai_speech.read_request(body)
    except SpeechError as error:
        status = told(error)["status"]
    else:
        return
    assert status == 400


# --- Errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "kind", "param", "reason"),
    [
        (ErrorCode.VOICE_UNKNOWN, 400, "invalid_request_error", "voice", "invalid_value"),
        (ErrorCode.NOT_SUPPORTED, 400, "invalid_request_error", None, "unsupported_value"),
        (ErrorCode.TOKEN_INVALID, 401, "invalid_request_error", None, "invalid_api_key"),
        (ErrorCode.IDLE_TIMEOUT, 408, "invalid_request_error", None, "request_timeout"),
        (ErrorCode.CAPACITY_EXCEEDED, 429, "requests", None, "rate_limit_exceeded"),
        (ErrorCode.QUOTA_EXCEEDED, 429, "insufficient_quota", None, "insufficient_quota"),
        (ErrorCode.MODEL_FAILED, 500, "server_error", None, "model_failed"),
        (ErrorCode.SHUTTING_DOWN, 503, "server_error", None, "shutting_down"),
    ],
)
def test_errors(code: ErrorCode, status: int, kind: str, param: str | None, reason: str) -> None:
    body = told(SpeechError(code, "Because!"))
    assert body == {
        "message": "Because!",
        "type": kind,
        "param": param,
        "code": reason,
        "status": status,
    }


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_has_its_side(code: ErrorCode) -> None:
    status = told(SpeechError(code, "Because!"))["status"]
    ours = code in SERVER_FAULTS or code is ErrorCode.SHUTTING_DOWN
    assert (status >= 500) == ours


# --- Replies ---------------------------------------------------------------------------------


def event(data: bytes) -> dict[str, Any]:
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    assert data.count(b"\n") == 2
    parsed: dict[str, Any] = json.loads(data.removeprefix(b"data: "))
    return parsed


def test_events() -> None:
    audio = event(openai_speech.render_audio(b"\x00\xff"))
    assert audio["type"] == "speech.audio.delta"
    assert base64.b64decode(audio["audio"], validate=True) == b"\x00\xff"
    done = event(openai_speech.render_done(characters=12, audio_s=1.01))
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 12, "output_tokens": 26, "total_tokens": 38},
    }
    broken = event(openai_speech.render_broken(SpeechError(ErrorCode.WORKER_LOST, "Gone!")))
    assert broken["type"] == "error"
    assert broken["error"] == {
        "message": "Gone!",
        "type": "server_error",
        "param": None,
        "code": "worker_lost",
    }


def test_every_format_has_its_type() -> None:
    assert openai_speech.CONTENT_TYPES.keys() == set(AudioFormat)
