"""Qiniu's clients hold their conversation against a real server process."""

from __future__ import annotations

import io
from contextlib import closing

import av
import pytest
from qiniu_twins import GoClient, GoReply, TypescriptSdk, UnmarshalError, go_post, go_voices

TEXT = "我想测试下语音合成的效果"
PATHS = ("/v1/voice/tts", "/voice/tts")


def duration_s(file: bytes) -> float:
    with av.open(io.BytesIO(file)) as container:
        frames = list(container.decode(audio=0))
    return sum(frame.samples for frame in frames) / frames[0].sample_rate


@pytest.mark.parametrize(
    "message",
    [
        '{"sequence": "1"}',
        '{"sequence": 1.5}',
        '{"sequence": true}',
        '{"addition": {"duration": 1}}',
        '{"data": 1}',
        "[]",
    ],
)
def test_the_twin_is_as_strict_as_go(message: str) -> None:
    with pytest.raises(UnmarshalError):
        GoReply.unmarshal(message)


@pytest.mark.parametrize("data", ["AP8", "AP8=AP8=", "A-8=", "A P8"])
def test_the_twin_reads_standard_base64_only(data: str) -> None:
    with pytest.raises(UnmarshalError):
        _ = GoReply(data=data).audio


@pytest.mark.parametrize("path", PATHS)
def test_the_go_sample_writes_its_file(server_url: str, path: str) -> None:
    with closing(GoClient(server_url, path=path)) as client:
        file = client.speak(TEXT)
    assert file.written
    sequences = [reply.sequence for reply in file.replies]
    assert sequences == [*range(1, len(sequences)), -len(sequences)]
    assert {(reply.reqid, reply.operation) for reply in file.replies} == {
        (file.replies[0].reqid, "query")
    }
    assert len(file.replies[0].reqid) == 32
    assert len(file.replies) > 3, "it streams"
    assert [reply.duration for reply in file.replies[:-1]] == [None] * (len(sequences) - 1)
    told_s = int(file.replies[-1].duration or "") / 1000
    assert duration_s(file.audio) == pytest.approx(told_s, abs=0.1)
    assert 1.5 < told_s < 6


@pytest.mark.parametrize("path", PATHS)
def test_the_http_reply_is_the_same_audio(server_url: str, path: str) -> None:
    reply = go_post(server_url, TEXT, path=path)
    assert (reply.operation, reply.sequence, len(reply.reqid)) == ("query", -1, 32)
    with closing(GoClient(server_url, path=path)) as client:
        streamed = client.speak(TEXT)
    assert reply.audio == streamed.audio
    assert reply.duration == streamed.replies[-1].duration


def test_the_go_sample_ends_without_a_file_on_an_error(server_url: str) -> None:
    with closing(GoClient(server_url, voice="nobody")) as client:
        file = client.speak(TEXT)
    assert (file.written, file.read_error, file.audio) == (False, 1000, b"")


def test_an_sdk_that_drops_the_last_message_has_all_audio(server_url: str) -> None:
    with closing(TypescriptSdk(server_url)) as sdk:
        heard = sdk.stream(TEXT)
    assert heard == go_post(server_url, TEXT).audio


def test_an_sdk_that_skips_what_has_no_sequence_reads_errors(server_url: str) -> None:
    with (
        closing(TypescriptSdk(server_url)) as sdk,
        pytest.raises(RuntimeError, match="text_missing"),
    ):
        sdk.stream("。。。")


@pytest.mark.parametrize("path", ["/v1/voice/list", "/voice/list"])
def test_go_reads_the_voice_list(server_url: str, path: str) -> None:
    voices = go_voices(server_url, path=path)
    types = {voice.voice_type for voice in voices}
    assert {"中文女", "qiniu_zh_female_tmjxxy", "qiniu_zh_female_wwxkjx"} <= types
    assert len(types) == len(voices)
    assert all(voice.updatetime > 1_700_000_000_000 for voice in voices)
