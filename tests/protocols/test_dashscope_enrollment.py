"""DashScope's voice enrollment as tables: what is asked for, what is refused, what is told."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import ErrorCode, SpeechError
from server.protocols import dashscope
from server.protocols import dashscope_enrollment as enrollment
from server.protocols.dashscope_enrollment import (
    CreateVoice,
    DeleteVoice,
    ListVoices,
    QueryVoice,
    Source,
    UpdateVoice,
    VoiceName,
    read_request,
)

URL = "https://example.org/voice.wav"
CREATE = {
    "action": "create_voice",
    "target_model": "cosyvoice-v3.5-plus",
    "prefix": "my_Voice1",
    "url": URL,
}


def body(given: Any, model: Any = "voice-enrollment", **more: Any) -> bytes:
    return json.dumps({"model": model, "input": given, "parameters": {}, **more}).encode()


def test_a_voice_for_a_model() -> None:
    wanted = read_request(body(CREATE))
    assert isinstance(wanted, CreateVoice)
    assert wanted.target_model == "cosyvoice-v3.5-plus"
    assert re.fullmatch(r"cosyvoice-v3\.5-plus-my_Voice1-[0-9a-f]{12}", wanted.voice_id)
    assert wanted.source == Source(url=URL, text="", language="", longest_s=10.0)
    again = read_request(body(CREATE))
    assert isinstance(again, CreateVoice)
    assert wanted.voice_id != again.voice_id


def test_what_is_said_of_a_recording() -> None:
    more = {"text": "Hello.", "language_hints": ["en", "zh"], "max_prompt_audio_length": 20}
    wanted = read_request(body({**CREATE, **more, "enable_preprocess": True}))
    assert isinstance(wanted, CreateVoice)
    assert wanted.source == Source(url=URL, text="Hello.", language="en", longest_s=20.0)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"action": "list_voice"}, ListVoices("", 0, 10)),
        (
            {"action": "list_voice", "prefix": "a", "page_index": 2, "page_size": 5},
            ListVoices("a", 10, 5),
        ),
        ({"action": "list_voice", "prefix": None, "page_index": None}, ListVoices("", 0, 10)),
        ({"action": "query_voice", "voice_id": "m-a-1"}, QueryVoice("m-a-1")),
        ({"action": "delete_voice", "voice_id": "m-a-1"}, DeleteVoice("m-a-1")),
        (
            {"action": "update_voice", "voice_id": "m-a-1", "url": URL},
            UpdateVoice("m-a-1", Source(url=URL, text="", language="", longest_s=10.0)),
        ),
    ],
)
def test_the_other_actions(given: dict[str, Any], wanted: Any) -> None:
    assert read_request(body(given)) == wanted


@pytest.mark.parametrize(
    ("request_body", "said"),
    [
        (b"", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
        (body(CREATE, model=None), "'model'"),
        (body(CREATE, model="qwen-voice-enrollment"), "use voice-enrollment"),
        (body(CREATE, model=5), "Invalid model"),
        (body(None), "'input'"),
        (body([]), "Invalid input"),
        (body({}), "'input.action'"),
        (body({"action": "list_voices"}), "Unknown action 'list_voices'"),
        (body({"action": ["list_voice"]}), "Unknown action"),
        (body({**CREATE, "target_model": None}), "'input.target_model'"),
        (body({**CREATE, "target_model": "a b"}), "Invalid target_model"),
        (body({**CREATE, "target_model": "x" * 41}), "Invalid target_model"),
        (body({**CREATE, "prefix": ""}), "'input.prefix'"),
        (body({**CREATE, "prefix": "elevenchars"}), "Invalid prefix"),
        (body({**CREATE, "prefix": "a-b"}), "Invalid prefix"),
        (body({**CREATE, "prefix": "声音"}), "Invalid prefix"),
        (body({**CREATE, "prefix": 5}), "Invalid prefix"),
        (body({**CREATE, "url": None}), "'input.url'"),
        (body({**CREATE, "url": []}), "Invalid url"),
        (body({**CREATE, "text": 5}), "Invalid text"),
        (body({**CREATE, "language_hints": "en"}), "Invalid language_hints"),
        (body({**CREATE, "max_prompt_audio_length": 2.9}), "from 3 to 30"),
        (body({**CREATE, "max_prompt_audio_length": float("nan")}), "from 3 to 30"),
        (body({**CREATE, "max_prompt_audio_length": True}), "from 3 to 30"),
        (body({**CREATE, "max_prompt_audio_length": 10**400}), "from 3 to 30"),
        (body({**CREATE, "url": None, "voice_prompt": "a calm man"}), "voice_prompt"),
        (body({"action": "list_voice", "page_index": -1}), "Invalid page_index"),
        (body({"action": "list_voice", "page_size": 0}), "Invalid page_size"),
        (body({"action": "list_voice", "page_size": 1001}), "Invalid page_size"),
        (body({"action": "query_voice"}), "'input.voice_id'"),
        (body({"action": "query_voice", "voice_id": "\ud800"}), "Invalid voice_id"),
        (body({"action": "update_voice", "voice_id": "m-a-1"}), "'input.url'"),
    ],
)
def test_misuse(request_body: bytes, said: str) -> None:
    with pytest.raises(SpeechError) as caught:
        read_request(request_body)
    assert said in caught.value.message
    assert (dashscope.error_code(caught.value), dashscope.http_status(caught.value)) == (
        "InvalidParameter", 400
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cosyvoice-v2-me-0123456789ab", VoiceName("cosyvoice-v2", "me")),
        ("a-b-c-d_e-0123456789ab", VoiceName("a-b-c", "d_e")),
        ("me-0123456789ab", None),
        ("m-me-0123456789a", None),
        ("m-me-0123456789AB", None),
        ("m-elevenchars-0123456789ab", None),
        ("My voice", None),
        ("", None),
    ],
)
def test_a_name_says_what_it_was_made_for(name: str, said: VoiceName | None) -> None:
    assert enrollment.parse_voice_id(name) == said


def test_what_is_told_of_a_voice() -> None:
    made, changed = "2026-01-02T23:04:05.678+00:00", "2026-02-03T01:00:00.000+02:00"
    assert enrollment.state(made, "", speaks=True) == {
        "gmt_create": "2026-01-02 23:04:05",
        "gmt_modified": "2026-01-02 23:04:05",
        "status": "OK",
    }
    state = enrollment.state(made, changed, speaks=False)
    assert (state["gmt_modified"], state["status"]) == ("2026-02-02 23:00:00", "UNDEPLOYED")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (enrollment.unknown_voice("x"), "BadRequest.ResourceNotExist"),
        (enrollment.not_downloaded("is not audio"), "BadRequest.InputDownloadFailed"),
        (enrollment.not_decoded("It cannot be read!"), "Audio.DecoderError"),
        (enrollment.refused("too_short", "It is short."), "Audio.AudioShortError"),
        (enrollment.refused("clipped", "It is loud."), "Audio.PreprocessError"),
        (SpeechError(ErrorCode.CAPACITY_EXCEEDED, "Wait!"), "Throttling.RateQuota"),
    ],
)
def test_the_vendors_names_of_errors(error: SpeechError, name: str) -> None:
    assert dashscope.error_code(error) == name
    assert json.loads(dashscope.render_failure(error, request_id="1")) == {
        "code": name, "message": error.message, "request_id": "1"
    }  # fmt: skip


_value = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(
                ["create_voice", "list_voice", "query_voice", "update_voice", "delete_voice"]
            )
            | _value
        },
        optional={
            name: _value | st.lists(_value, max_size=2)
            for name in (
                *("target_model", "prefix", "url", "text", "language_hints", "voice_id"),
                *("max_prompt_audio_length", "page_index", "page_size"),
            )
        },
    )
)
def test_whatever_comes_is_understood_or_refused(given: dict[str, Any]) -> None:
    with contextlib.suppress(SpeechError):
        read_request(body(given))
