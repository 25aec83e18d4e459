"""The frames of Qiniu's streaming recognition, `WS /voice/asr`.

A frame, all numbers big-endian (sources: the vendor's page, its Node and Python clients):

    byte 0   version 1 << 4 | header size in words, 1
    byte 1   message type << 4 | flags; flag 1: a sequence number follows, flag 2: the last one
    byte 2   serialization << 4 | compression; 1 is JSON, 1 is gzip
    byte 3   0
    int32    sequence, with flag 1
    uint32   size of the payload
             payload

An error frame has a uint32 code before the size. Every frame of the client's gets exactly one
reply, since the Python client waits for one after each; and the text in replies only ever grows,
because the Node client takes what is longer than before for what is new.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from enum import IntEnum
from typing import Any

import msgspec

from server.errors import ErrorCode, SpeechError

MAX_FRAME_BYTES = 1 << 20
"""Of a payload, inflated: half a minute of 16 bit audio at 16 kHz."""
_FIXED = 4
_VERSION = 1
_JSON, _GZIP = 1, 1
_SEQUENCE_FLAG, _LAST_FLAG = 1, 2
_GZIP_WBITS = 31
_HEADER_WORD_BYTES = 4


class MessageType(IntEnum):
    """What a frame is."""

    CONFIGURATION = 1
    AUDIO = 2
    RESPONSE = 9
    ACKNOWLEDGEMENT = 11
    ERROR = 15


class AsrErrorCode(IntEnum):
    """Codes of error frames, on the scale that this frame format has elsewhere (45 is the client's
    fault, 55 the server's).
    """  # noqa: D205

    INVALID_REQUEST = 45_000_001
    NO_AUDIO = 45_000_002
    TIMEOUT = 45_000_081
    INVALID_AUDIO = 45_000_151
    UNAUTHORIZED = 45_000_010
    QUOTA = 45_000_292
    BUSY = 55_000_031
    INTERNAL = 55_000_000


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A client's frame, its payload inflated."""

    type: MessageType
    sequence: int | None
    last: bool
    payload: bytes


def parse_frame(data: bytes) -> Frame:
    """Read one binary message.

    Raises:
        SpeechError: MESSAGE_INVALID; it is no frame, or its payload is too large or no gzip.
    """
    if len(data) < _FIXED:
        raise _invalid(f"a frame of {len(data)} bytes has no header")
    version, words = data[0] >> 4, data[0] & 0x0F
    if version != _VERSION or words < 1:
        raise _invalid(f"unknown header 0x{data[0]:02x}")
    kind, flags = data[1] >> 4, data[1] & 0x0F
    if kind not in (MessageType.CONFIGURATION, MessageType.AUDIO):
        raise SpeechError(ErrorCode.MESSAGE_UNKNOWN, f"unknown message type {kind}")
    rest = memoryview(data)[words * _HEADER_WORD_BYTES :]
    sequence: int | None = None
    if flags & _SEQUENCE_FLAG:
        sequence = _integer(rest, "sequence", signed=True)
        rest = rest[_FIXED:]
    size = _integer(rest, "payload size", signed=False)
    rest = rest[_FIXED:]
    if size != len(rest):
        raise _invalid(f"payload size is {size}, but {len(rest)} bytes follow")
    return Frame(
        type=MessageType(kind),
        sequence=sequence,
        last=bool(flags & _LAST_FLAG) or (sequence is not None and sequence < 0),
        payload=_inflate(rest, data[2] & 0x0F),
    )


def _integer(rest: memoryview, field: str, *, signed: bool) -> int:
    if len(rest) < _FIXED:
        raise _invalid(f"the frame ends before its {field}")
    return int.from_bytes(rest[:_FIXED], "big", signed=signed)


def _inflate(payload: memoryview, compression: int) -> bytes:
    if compression not in (0, _GZIP):
        raise _invalid(f"unknown compression {compression}")
    if compression == 0:
        if len(payload) > MAX_FRAME_BYTES:
            raise _invalid(f"payload is over {MAX_FRAME_BYTES} bytes")
        return bytes(payload)
    # Bounded as it inflates: a few kilobytes of zeros would be gigabytes.
    inflater = zlib.decompressobj(_GZIP_WBITS)
    try:
        data = inflater.decompress(payload, MAX_FRAME_BYTES)
    except zlib.error:
        raise _invalid("payload is no gzip") from None
    if inflater.unconsumed_tail:
        raise _invalid(f"payload is over {MAX_FRAME_BYTES} bytes when inflated")
    if not inflater.eof:
        raise _invalid("payload is truncated gzip")
    return data


def render_response(sequence: int, text: str, *, audio_s: float, reqid: str, last: bool) -> bytes:
    """The reply to one frame.

    Args:
        sequence: of the frame that it answers.
        text: all text so far; must not be shorter than in the reply before.
        audio_s: audio heard so far, in seconds.
        reqid: of the connection.
        last: nothing comes after it.
    """
    duration_ms = round(audio_s * 1000)
    body = {
        "reqid": reqid,
        "operation": "asr",
        "audio_info": {"duration": duration_ms},
        "result": {"additions": {"duration": str(duration_ms)}, "text": text},
    }
    flags = _SEQUENCE_FLAG | (_LAST_FLAG if last else 0)
    return _frame(MessageType.RESPONSE, flags, struct.pack(">i", sequence), body)


def render_error(error: SpeechError) -> bytes:
    """The error frame; the connection is closed after it."""
    code = _CODES.get(error.code, AsrErrorCode.INVALID_REQUEST)
    body = {"error": {"code": int(code), "message": error.message}}
    return _frame(MessageType.ERROR, 0, struct.pack(">I", code), body)


def _frame(kind: MessageType, flags: int, before_size: bytes, body: dict[str, Any]) -> bytes:
    payload = gzip.compress(msgspec.json.encode(body), compresslevel=1, mtime=0)
    header = bytes((_VERSION << 4 | 1, kind << 4 | flags, _JSON << 4 | _GZIP, 0))
    return header + before_size + struct.pack(">I", len(payload)) + payload


_CODES = {
    ErrorCode.TOKEN_INVALID: AsrErrorCode.UNAUTHORIZED,
    ErrorCode.QUOTA_EXCEEDED: AsrErrorCode.QUOTA,
    ErrorCode.IDLE_TIMEOUT: AsrErrorCode.TIMEOUT,
    ErrorCode.FORMAT_UNSUPPORTED: AsrErrorCode.INVALID_AUDIO,
    ErrorCode.SAMPLE_RATE_UNSUPPORTED: AsrErrorCode.INVALID_AUDIO,
    ErrorCode.CAPACITY_EXCEEDED: AsrErrorCode.BUSY,
    ErrorCode.SHUTTING_DOWN: AsrErrorCode.BUSY,
    ErrorCode.MODEL_UNAVAILABLE: AsrErrorCode.BUSY,
    ErrorCode.MODEL_FAILED: AsrErrorCode.INTERNAL,
    ErrorCode.WORKER_LOST: AsrErrorCode.INTERNAL,
    ErrorCode.INTERNAL: AsrErrorCode.INTERNAL,
}


class GrowingText:
    """The text of one connection, which only ever grows.

    What is stable is told; what is not, once told, stays, so it is told only when the stream ends
    or when it has become stable.
    """

    def __init__(self) -> None:
        self.text = ""

    def update(self, text: str, stable_characters: int) -> str:
        """Take a transcript; returns the text to tell."""
        stable = text[:stable_characters]
        if len(stable) > len(self.text) and stable.startswith(self.text):
            self.text = stable
        return self.text


def _invalid(message: str) -> SpeechError:
    return SpeechError(ErrorCode.MESSAGE_INVALID, message)
