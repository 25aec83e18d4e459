"""Frames and bodies of Qiniu's speech recognition, read the way the vendor's sample clients do."""

from __future__ import annotations

import contextlib
import gzip
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ErrorCode, SpeechError
from server.protocols import qiniu_asr
from server.protocols import qiniu_asr_frames as frames

CONFIGURATION = {
    "user": {"uid": "test"},
    "audio": {"format": "pcm", "sample_rate": 16000, "bits": 16, "channel": 1, "codec": "raw"},
    "request": {"model_name": "asr", "enable_punc": True},
}


def client_frame(
    payload: bytes, *, kind: int = 1, flags: int = 1, sequence: int = 1, compression: int = 1
) -> bytes:
    """As both sample clients build it."""
    if compression:
        payload = gzip.compress(payload, mtime=0)
    head = bytes((0x11, kind << 4 | flags, 1 << 4 | compression, 0))
    number = struct.pack(">i", sequence) if flags & 1 else b""
    return head + number + struct.pack(">I", len(payload)) + payload


def configuration(**audio: Any) -> frames.Frame:
    fields = {**CONFIGURATION, "audio": {**CONFIGURATION["audio"], **audio}}
    return frames.parse_frame(client_frame(json.dumps(fields).encode()))


def read_as_python_client(data: bytes) -> dict[str, Any]:
    """What the Python sample makes of a reply."""
    payload = data[(data[0] & 0x0F) * 4 :]
    flags, kind = data[1] & 0x0F, data[1] >> 4
    result: dict[str, Any] = {"last": bool(flags & 2)}
    if flags & 1:
        result["sequence"] = int.from_bytes(payload[:4], "big", signed=True)
        payload = payload[4:]
    if kind == 15:
        result["code"] = int.from_bytes(payload[:4], "big")
        payload = payload[4:]
    else:
        assert kind == 9
    size = int.from_bytes(payload[:4], "big")
    assert size == len(payload) - 4
    assert data[2] == 0x11
    result["message"] = json.loads(gzip.decompress(payload[4:]))
    return result


def test_a_clients_frames_are_read() -> None:
    frame = frames.parse_frame(client_frame(b"\x01\x00" * 80, kind=2, sequence=7))
    assert frame.type is frames.MessageType.AUDIO
    assert frame.sequence == 7
    assert not frame.last
    assert frame.payload == b"\x01\x00" * 80
    assert frames.parse_frame(client_frame(b"", kind=2, flags=3, sequence=-8)).last
    plain = frames.parse_frame(client_frame(b"ab", kind=2, flags=0, compression=0))
    assert (plain.sequence, plain.payload) == (None, b"ab")


def test_a_reply_is_what_the_sample_clients_read() -> None:
    reply = read_as_python_client(
        frames.render_response(3, "七牛", audio_s=1.5, reqid="ab", last=False)
    )
    assert reply["sequence"] == 3
    assert not reply["last"]
    assert reply["message"]["result"] == {"additions": {"duration": "1500"}, "text": "七牛"}
    last = read_as_python_client(frames.render_response(-4, "", audio_s=0, reqid="ab", last=True))
    assert last["last"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ErrorCode.MESSAGE_INVALID, 45_000_001),
        (ErrorCode.TOKEN_INVALID, 45_000_010),
        (ErrorCode.CAPACITY_EXCEEDED, 55_000_031),
        (ErrorCode.MODEL_FAILED, 55_000_000),
    ],
)
def test_an_error_has_a_code_and_a_message(code: ErrorCode, expected: int) -> None:
    reply = read_as_python_client(frames.render_error(SpeechError(code, "what is wrong")))
    assert reply["code"] == expected
    assert reply["message"] == {"error": {"code": expected, "message": "what is wrong"}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no header"),
        (b"\x11\x10", "no header"),
        (b"\x21\x10\x11\x00" + bytes(4), "unknown header"),
        (b"\x10\x10\x11\x00" + bytes(4), "unknown header"),
        (b"\x11\x90\x11\x00" + bytes(4), "unknown message type 9"),
        (b"\x11\x11\x11\x00\x00", "before its sequence"),
        (b"\x11\x10\x11\x00\x00", "before its payload size"),
        (b"\x11\x10\x10\x00" + struct.pack(">I", 9) + b"ab", "payload size is 9, but 2"),
        (b"\x11\x10\x12\x00" + bytes(4), "unknown compression 2"),
        (b"\x11\x10\x11\x00" + struct.pack(">I", 4) + b"abcd", "no gzip"),
        (client_frame(b"x" * 999)[:-9], "payload size"),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        frames.parse_frame(data)


def test_truncated_gzip_is_refused() -> None:
    packed = gzip.compress(b"audio" * 100, mtime=0)[:-9]
    data = b"\x11\x20\x11\x00" + struct.pack(">I", len(packed)) + packed
    with pytest.raises(SpeechError, match="truncated"):
        frames.parse_frame(data)


@pytest.mark.parametrize("compression", [0, 1])
def test_what_inflates_too_far_is_refused(compression: int) -> None:
    bomb = client_frame(bytes(64 << 20), kind=2, compression=compression)
    with pytest.raises(SpeechError, match="is over 1048576 bytes"):
        frames.parse_frame(bomb)


@given(st.binary(max_size=64))
def test_random_bytes_are_a_frame_or_a_refusal(data: bytes) -> None:
    with contextlib.suppress(SpeechError):
        assert len(frames.parse_frame(data).payload) <= frames.MAX_FRAME_BYTES


@given(st.lists(st.tuples(st.text(max_size=8), st.integers(0, 8)), max_size=8))
def test_told_text_only_grows(transcripts: list[tuple[str, int]]) -> None:
    growing, before = frames.GrowingText(), ""
    for text, stable in transcripts:
        told = growing.update(text, stable)
        assert told.startswith(before)
        before = told


def test_only_what_is_stable_is_told() -> None:
    growing = frames.GrowingText()
    assert growing.update("one too", 3) == "one"
    assert growing.update("one two th", 7) == "one two"
    assert growing.update("one two three", 13) == "one two three"


def test_the_configuration_of_the_samples_is_read() -> None:
    assert qiniu_asr.read_configuration(configuration()) == qiniu_asr.StreamFormat(
        sample_rate_hz=16000, channels=1, language="", punctuation=True
    )


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        ({"format": "mp3"}, ErrorCode.FORMAT_UNSUPPORTED),
        ({"codec": "opus"}, ErrorCode.FORMAT_UNSUPPORTED),
        ({"format": 7}, ErrorCode.PARAMETER_INVALID),
        ({"bits": 8}, ErrorCode.FORMAT_UNSUPPORTED),
        ({"bits": True}, ErrorCode.PARAMETER_INVALID),
        ({"channel": 6}, ErrorCode.FORMAT_UNSUPPORTED),
        ({"sample_rate": 4000}, ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        ({"sample_rate": "16000"}, ErrorCode.PARAMETER_INVALID),
        ({"language": 3}, ErrorCode.PARAMETER_INVALID),
    ],
)
def test_a_wrong_configuration_is_refused(audio: dict[str, Any], code: ErrorCode) -> None:
    with pytest.raises(SpeechError) as refused:
        qiniu_asr.read_configuration(configuration(**audio))
    assert refused.value.code is code


def test_audio_before_the_configuration_is_refused() -> None:
    with pytest.raises(SpeechError) as refused:
        qiniu_asr.read_configuration(frames.parse_frame(client_frame(b"", kind=2)))
    assert refused.value.code is ErrorCode.STATE_CONFLICT


def test_a_request_names_a_url_or_brings_its_audio() -> None:
    body = b'{"model":"asr","audio":{"format":"mp3","url":"https://example.com/a.mp3"}}'
    request = qiniu_asr.read_request(body)
    assert (request.container, request.url) == ("mp3", "https://example.com/a.mp3")
    inline = qiniu_asr.read_request(b'{"audio":{"format":"raw","data":"AQID","sample_rate":8000}}')
    assert (inline.data, inline.sample_rate_hz, inline.model) == (b"\x01\x02\x03", 8000, "asr")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON"),
        (b"[1]", "JSON"),
        (b'"' + b"[" * 20000, "JSON"),
        (b"{}", "audio must be an object"),
        (b'{"audio":[]}', "audio must be an object"),
        (b'{"audio":{"url":"http://a"}}', "audio.format"),
        (b'{"audio":{"format":"m4a","url":"http://a"}}', "'m4a' is not one of"),
        (b'{"audio":{"format":"mp3"}}', "either url, or data"),
        (b'{"audio":{"format":"mp3","url":"http://a","data":"AQID"}}', "either url, or data"),
        (b'{"audio":{"format":"mp3","url":5}}', "audio.url must be a string"),
        (b'{"audio":{"format":"mp3","data":"???"}}', "no base64"),
        (b'{"model":5,"audio":{"format":"mp3","url":"http://a"}}', "model must be a string"),
    ],
)
def test_a_wrong_request_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        qiniu_asr.read_request(body)


def test_a_result_is_typed_as_the_seed_has_it() -> None:
    body = qiniu_asr.render_result("one", audio_s=9.336, reqid="bdf5")
    assert body["data"]["audio_info"]["duration"] == 9336
    assert body["data"]["result"] == {"additions": {"duration": "9336"}, "text": "one"}
    assert body["operation"] == "asr"
