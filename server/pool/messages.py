"""What front and worker say to each other, and how it is framed.

A frame is `[u32 little endian length][msgpack]`; the MessagePack is a tagged array, one type per
message. Everything here is pure: bytes in, messages out, no socket. Both ends use it, so it
imports only msgspec and the models' interface: a worker may run under an interpreter that has
nothing else.

The conversation about one stream: the front sends `Synthesize` and later grants credit; the worker
sends `Started`, any number of `Pcm` within the credit, `Computed` when the model is done with it
(its slot is free, though audio may still wait for credit) and exactly one of `Finished`, `Failed`
and `Cancelled`. In between it may send `Parked` and `Resumed` in turns; a parked stream ends only
after `Resumed`, or by `Cancelled`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from models.base import Capabilities, SynthesisRequest, Voice, WordTime

MAX_FRAME_BYTES = 8 << 20
"""A longer frame means that the two ends lost step; text of a whole task is below 1 MiB."""
FRAME_AUDIO_S = 0.25
"""Audio that one `Pcm` carries at most, so that streams on one socket take turns."""

_HEADER_BYTES = 4
_INITIAL_BUFFER_BYTES = 256 * 1024

FailureCode = Literal["voice_unknown", "unsupported", "failed"]


class ChannelError(Exception):
    """The other end sent what is no frame or no message."""


class Synthesize(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """Speak `text`; if `more_text`, it goes on in `AppendText`."""

    stream: int
    """Chosen by the front, never used twice on one channel."""
    request: SynthesisRequest
    text: str
    more_text: bool
    credit_samples: int


class AppendText(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """The next piece of a stream's text."""

    stream: int
    text: str
    last: bool


class GrantCredit(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """So many samples more may be sent."""

    stream: int
    samples: int


class Cancel(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """Stop; answered by `Cancelled` unless the stream has already ended."""

    stream: int


class Recall(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """Give the stream back if it has not started; then answered by `Cancelled`."""

    stream: int


class Ping(msgspec.Struct, array_like=True, tag=6, frozen=True):
    """Answered by `Pong` at once, by the thread that reads."""


class Close(msgspec.Struct, array_like=True, tag=7, frozen=True):
    """Stop everything, close the model and exit."""


class Ready(msgspec.Struct, array_like=True, tag=32, frozen=True):
    """The model is loaded and warm."""

    sample_rate_hz: int
    capabilities: Capabilities
    voices: tuple[Voice, ...]


class StartFailed(msgspec.Struct, array_like=True, tag=33, frozen=True):
    """The model could not be loaded; the worker exits."""

    message: str


class Started(msgspec.Struct, array_like=True, tag=34, frozen=True):
    """A slot took the stream up."""

    stream: int


class Pcm(msgspec.Struct, array_like=True, tag=35, frozen=True):
    """Audio: mono float32, little endian."""

    stream: int
    samples: bytes
    words: tuple[WordTime, ...]
    compute_s: float
    """Time that the model has computed for this stream so far, without waits for text or room."""


class Computed(msgspec.Struct, array_like=True, tag=36, frozen=True):
    """The model is done with the stream."""

    stream: int
    samples: int
    """All that it made, delivered or not."""
    compute_s: float


class Finished(msgspec.Struct, array_like=True, tag=37, frozen=True):
    """All audio has been sent."""

    stream: int


class Failed(msgspec.Struct, array_like=True, tag=38, frozen=True):
    """The model refused or broke; audio that was not yet sent is dropped."""

    stream: int
    code: FailureCode
    message: str
    """May be shown to a client."""
    detail: str
    """For the log: a traceback, or empty."""


class Cancelled(msgspec.Struct, array_like=True, tag=39, frozen=True):
    """The stream has really stopped, on `Cancel` or `Recall`."""

    stream: int


class Pong(msgspec.Struct, array_like=True, tag=40, frozen=True):
    """The worker's reader lives."""


class Parked(msgspec.Struct, array_like=True, tag=41, frozen=True):
    """The stream gave its slot back until its listener has taken audio, or more text has come."""

    stream: int


class Resumed(msgspec.Struct, array_like=True, tag=42, frozen=True):
    """The stream has a slot again."""

    stream: int


FrontMessage: TypeAlias = Synthesize | AppendText | GrantCredit | Cancel | Recall | Ping | Close
"""What the front sends."""
WorkerMessage: TypeAlias = (
    Pcm
    | Started
    | Parked
    | Resumed
    | Computed
    | Finished
    | Failed
    | Cancelled
    | Pong
    | Ready
    | StartFailed
)
"""What a worker sends."""

_encoder = msgspec.msgpack.Encoder()
_front_decoder: msgspec.msgpack.Decoder[FrontMessage] = msgspec.msgpack.Decoder(FrontMessage)
_worker_decoder: msgspec.msgpack.Decoder[WorkerMessage] = msgspec.msgpack.Decoder(WorkerMessage)


def encode(message: FrontMessage | WorkerMessage) -> bytearray:
    """Make the frame of a message.

    Raises:
        ChannelError: it is longer than `MAX_FRAME_BYTES`.
    """
    frame = bytearray(_HEADER_BYTES)
    _encoder.encode_into(message, frame, _HEADER_BYTES)
    length = len(frame) - _HEADER_BYTES
    if length > MAX_FRAME_BYTES:
        raise ChannelError(f"a message of {length} bytes is longer than a frame may be")
    frame[:_HEADER_BYTES] = length.to_bytes(_HEADER_BYTES, "little")
    return frame


def decode_from_front(payload: memoryview) -> FrontMessage:
    """Read what the front sent.

    Raises:
        ChannelError: it is no such message.
    """
    try:
        return _front_decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise ChannelError(str(error)) from error


def decode_from_worker(payload: memoryview) -> WorkerMessage:
    """Read what a worker sent.

    Raises:
        ChannelError: it is no such message.
    """
    try:
        return _worker_decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise ChannelError(str(error)) from error


class FrameBuffer:
    """Where received bytes are put, and frames found.

    The reader receives into `writable()` and calls `received(n)`. No byte is copied but the rest
    of an unfinished frame, and what the decoder takes out.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(_INITIAL_BUFFER_BYTES)
        self._end = 0

    def writable(self) -> memoryview:
        """Room for the next bytes; never empty."""
        return memoryview(self._buffer)[self._end :]

    def received(self, n_bytes: int) -> Iterator[memoryview]:
        """Take note of bytes received; yields each finished frame's payload.

        A payload is valid until the next one is asked for. The iterator must be exhausted before
        the next `writable()`.

        Raises:
            ChannelError: a frame is longer than `MAX_FRAME_BYTES`.
        """
        self._end += n_bytes
        begin = 0
        view = memoryview(self._buffer)
        while self._end - begin >= _HEADER_BYTES:
            body = begin + _HEADER_BYTES
            length = int.from_bytes(view[begin:body], "little")
            if length > MAX_FRAME_BYTES:
                raise ChannelError(f"a frame of {length} bytes is longer than a frame may be")
            if self._end - body < length:
                self._keep(begin, _HEADER_BYTES + length)
                return
            yield view[body : body + length]
            begin = body + length
        self._keep(begin, _HEADER_BYTES)

    def _keep(self, begin: int, needed_bytes: int) -> None:
        """Move the unfinished rest to the front of a buffer that its frame fits in."""
        rest = self._end - begin
        if needed_bytes > len(self._buffer):
            grown = bytearray(needed_bytes)
            grown[:rest] = memoryview(self._buffer)[begin : self._end]
            self._buffer = grown
        elif begin and rest:
            self._buffer[:rest] = self._buffer[begin : self._end]
        self._end = rest
