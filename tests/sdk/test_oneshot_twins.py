"""Clients that send all text at once hold their conversation against a real server process."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from conversation import Conversation, TaskFailedError, check_complete, check_one_shot
from oneshot_twins import GoOneShot, JavaOneShot, PythonOneShot

TEXT = "今天的天气很好，我们一起去公园走一走吧。晚上再回家吃饭！"
WORDS = "今天的天气很好我们一起去公园走一走吧晚上再回家吃饭"
DOCUMENTS = "<speak>你好。<break time='1s'/>再见。</speak>好的。<speak>明天见。</speak>"


def speak(kind: Any, address: str, text: str, *, is_long: bool, **extra: Any) -> Conversation:
    if kind is PythonOneShot:
        with closing(PythonOneShot(address)) as python:
            return python.speak(text, long_tts=is_long, **extra)
    if kind is GoOneShot:
        with closing(GoOneShot(address, realtime_long_text=is_long)) as go:
            return go.speak(text, **extra)
    with closing(JavaOneShot(address)) as java:
        return java.speak_text(text, is_long=is_long, **extra)


every_sdk = pytest.mark.parametrize("kind", [PythonOneShot, GoOneShot, JavaOneShot])
both = pytest.mark.parametrize("is_long", [False, True], ids=["short", "long"])


@every_sdk
@both
def test_conversation_succeeds(kind: Any, is_long: bool, server_url: str) -> None:
    talk = speak(kind, server_url, TEXT, is_long=is_long)
    check_one_shot(talk)
    assert "MetaInfo" not in talk.order
    assert 3.0 < talk.duration_s < 12.0


@every_sdk
@both
def test_timestamps_reach_the_clients_that_ask(kind: Any, is_long: bool, server_url: str) -> None:
    talk = speak(kind, server_url, TEXT, is_long=is_long, enable_subtitle=True)
    check_one_shot(talk)
    items = [one for payload in talk.payloads("MetaInfo") for one in payload["subtitles"]]
    words = [one for one in items if not one.get("sentence")]
    assert "".join(word["text"] for word in words) == WORDS
    assert all(type(word[key]) is int for word in words for key in ("begin_time", "end_time"))
    times = [word["begin_time"] for word in words]
    assert times == sorted(times)
    assert 800 * talk.duration_s < words[-1]["end_time"] <= 1000 * talk.duration_s + 1


@every_sdk
def test_long_texts_may_hold_documents(kind: Any, server_url: str) -> None:
    plain = speak(kind, server_url, "你好。再见。好的。明天见。", is_long=True)
    talk = speak(kind, server_url, DOCUMENTS, is_long=True)
    check_one_shot(talk)
    assert talk.duration_s == pytest.approx(plain.duration_s + 1.0, abs=0.6)


def test_namespaces_take_turns_on_one_connection_of_the_java_sdk(server_url: str) -> None:
    with closing(JavaOneShot(server_url)) as client:
        short = client.speak_text(TEXT)
        long = client.speak_text(TEXT, is_long=True)
        flowing = client.speak([TEXT])
        again = client.speak_text(TEXT)
    check_complete(flowing)
    for talk in (short, long, again):
        check_one_shot(talk)
        assert talk.duration_s == pytest.approx(short.duration_s, rel=0.01)


@pytest.mark.parametrize("kind", [PythonOneShot, GoOneShot])
def test_a_client_reads_why_it_is_refused(kind: Any, server_url: str) -> None:
    with closing(kind(server_url)) as client:
        with pytest.raises(TaskFailedError, match="nobody") as failure:
            client.speak(TEXT, voice="nobody")
        assert failure.value.header["namespace"] == "Default"
        if kind is GoOneShot:
            assert client.wait_for_close() == 1000
