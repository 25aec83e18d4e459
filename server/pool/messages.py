"""What front and worker say to each other.

A message is a frame of MessagePack (`server.pool.framing`), a tagged array, one type per message.
Everything here is pure: bytes in, messages out, no socket. Both ends use it, so it imports only
msgspec and the models' interface: a worker may run under an interpreter that has nothing else.

The conversation about one stream: the front sends `Synthesize` and later grants credit; the worker
sends `Started`, any number of `Pcm` within the credit, `Computed` when the model is done with it
(its slot is free, though audio may still wait for credit) and exactly one of `Finished`, `Failed`
and `Cancelled`. In between it may send `Parked` and `Resumed` in turns; a parked stream ends only
after `Resumed`, or by `Cancelled`. If its voice is a clone that the worker was not given before,
`AddVoice` goes first; a clone that the model does not take is told by the stream's `Failed`.

A recogniser's worker says `RecognizerReady` instead of `Ready`. Its streams begin with `Recognize`,
their audio comes by `AppendAudio`, as much as the front has room for by the `AudioTaken` that it
hears, and they send `Heard` where others send `Pcm`; all else is the same.

An `Enroll` is answered by `Enrolled` or `EnrollFailed`; the front sends no second one before.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from models.base import Capabilities, ModelErrorCode, SynthesisRequest, Voice, WordTime
from models.recognition import RecognitionRequest, RecognizerCapabilities, Transcript
from server.pool.framing import HEADER_BYTES, MAX_FRAME_BYTES, ChannelError

FRAME_AUDIO_S = 0.25
"""Audio that one `Pcm` carries at most, so that streams on one socket take turns."""
MAX_PAYLOAD_BYTES = MAX_FRAME_BYTES - (1 << 20)
"""Bytes of a recording or of a voice's features, so that a frame holds the rest as well."""

FailureCode = Literal["voice_unknown", "unsupported", "failed"]


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


class AddVoice(msgspec.Struct, array_like=True, tag=8, frozen=True):
    """A clone, for the streams that name it from now on."""

    voice: Voice
    features: bytes
    """What `SpeechModel.enroll` of a model with the same clone format made."""


class RemoveVoice(msgspec.Struct, array_like=True, tag=9, frozen=True):
    """Forget a clone."""

    name: str


class Enroll(msgspec.Struct, array_like=True, tag=10, frozen=True):
    """Make a voice's features from a recording."""

    call: int
    """Chosen by the front, never used twice on one channel."""
    samples: bytes
    """Mono float32, little endian."""
    sample_rate_hz: int
    transcript: str


class Recognize(msgspec.Struct, array_like=True, tag=11, frozen=True):
    """Listen to the audio that comes in `AppendAudio`."""

    stream: int
    request: RecognitionRequest


class AppendAudio(msgspec.Struct, array_like=True, tag=12, frozen=True):
    """The next piece of a stream's audio."""

    stream: int
    samples: bytes
    """Mono float32, little endian, at the recogniser's rate."""
    last: bool


class Ready(msgspec.Struct, array_like=True, tag=32, frozen=True):
    """The model is loaded and warm."""

    sample_rate_hz: int
    capabilities: Capabilities
    voices: tuple[Voice, ...]
    capacity: int | None = None
    """Streams that may compute at once for the time being; None for `slots`."""


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
    """All that it made, delivered or not; or listened to."""
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

    holdings: dict[str, int] = {}
    """What the model holds now, by name."""
    capacity: int | None = None
    """Streams that may compute at once from now on, at most `slots`; None leaves it as it is."""


class Parked(msgspec.Struct, array_like=True, tag=41, frozen=True):
    """The stream gave its slot back until its listener has taken audio, or more text has come."""

    stream: int


class Resumed(msgspec.Struct, array_like=True, tag=42, frozen=True):
    """The stream has a slot again."""

    stream: int


class Enrolled(msgspec.Struct, array_like=True, tag=43, frozen=True):
    """The features are made."""

    call: int
    features: bytes


class EnrollFailed(msgspec.Struct, array_like=True, tag=44, frozen=True):
    """The model cannot make a voice of the recording."""

    call: int
    code: ModelErrorCode
    message: str
    """May be shown to a client."""
    detail: str
    """For the log: a traceback, or empty."""


class Incidents(msgspec.Struct, array_like=True, tag=45, frozen=True):
    """What the model's guards met since the last time, by name."""

    counts: dict[str, int]


class RecognizerReady(msgspec.Struct, array_like=True, tag=46, frozen=True):
    """The recogniser is loaded and warm."""

    sample_rate_hz: int
    capabilities: RecognizerCapabilities


class AudioTaken(msgspec.Struct, array_like=True, tag=47, frozen=True):
    """The recogniser has begun to listen to so much more."""

    stream: int
    samples: int


class Heard(msgspec.Struct, array_like=True, tag=48, frozen=True):
    """What was understood."""

    stream: int
    transcript: Transcript
    compute_s: float
    """Time that the recogniser has computed for this stream so far, without waits for audio."""


FrontMessage: TypeAlias = (
    Synthesize
    | AppendText
    | GrantCredit
    | Cancel
    | Recall
    | Ping
    | Close
    | AddVoice
    | RemoveVoice
    | Enroll
    | Recognize
    | AppendAudio
)
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
    | Enrolled
    | EnrollFailed
    | Incidents
    | RecognizerReady
    | AudioTaken
    | Heard
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
    frame = bytearray(HEADER_BYTES)
    _encoder.encode_into(message, frame, HEADER_BYTES)
    length = len(frame) - HEADER_BYTES
    if length > MAX_FRAME_BYTES:
        raise ChannelError(f"a message of {length} bytes is longer than a frame may be")
    frame[:HEADER_BYTES] = length.to_bytes(HEADER_BYTES, "little")
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
