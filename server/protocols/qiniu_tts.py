"""Qiniu's `/voice/tts`: one JSON request in; one JSON reply, or many over a WebSocket, out.

Sources: the vendor's page and the clients that are written for it. The page's Go client reads each
message into a struct: `sequence` must be an integer, `duration` a string, `data` standard base64
with its padding; it stops at a negative `sequence` only. Another client drops the `data` of that
last message, so none of ours has any.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from server import limits
from server.errors import ErrorCode, SpeechError
from server.protocols import nls, qiniu
from server.speech.types import (
    AudioFormat,
    AudioProduced,
    Prosody,
    SessionEvent,
    SessionFinished,
    SpeechOptions,
)

DEFAULT_SAMPLE_RATE_HZ = 24_000
"""Raw pcm says nothing of its rate, so it is the same for every voice."""
SPEED_RATIOS = (0.25, 4.0)
_OPERATION = "query"
_WHOLE = -1
"""Sequence of a reply that is the only one."""
_ENCODINGS = {
    **{encoding.value: encoding for encoding in AudioFormat},
    "ogg_opus": AudioFormat.OPUS,
    "ogg": AudioFormat.OPUS,
}
"""The last two are what Volcengine's API calls it, whose messages have the same fields."""
_GROUP_BYTES = 3
"""Base64 writes so many bytes at a time; only the last ones are padded."""


class AudioPart(msgspec.Struct, frozen=True, kw_only=True):
    """How it shall sound; null is as good as absent."""

    voice_type: Annotated[
        str | None,
        Meta(
            description="A name or an alias of the voice list; without one the header `VoiceType` "
            "counts, and one of them must be there."
        ),
    ] = None
    encoding: Annotated[
        str | None,
        Meta(
            description="The container, in any case; must be there. `pcm` is signed 16 bit little "
            "endian mono; the last two are other names of `opus`, which is in Ogg.",
            extra_json_schema={"enum": list(_ENCODINGS)},
        ),
    ] = None
    speed_ratio: Annotated[
        float | None,
        Meta(
            description="Factor on the tempo; 0 is the default.",
            extra_json_schema={"minimum": SPEED_RATIOS[0], "maximum": SPEED_RATIOS[1]},
        ),
    ] = 1.0
    sample_rate: Annotated[
        int | None,
        Meta(
            description="In Hz. A codec that lacks the rate gets the next one above. Ours.",
            extra_json_schema={"enum": list(limits.SAMPLE_RATES_HZ)},
        ),
    ] = DEFAULT_SAMPLE_RATE_HZ


class RequestPart(msgspec.Struct, frozen=True, kw_only=True):
    """What shall be said."""

    text: Annotated[
        str, Meta(extra_json_schema={"minLength": 1, "maxLength": limits.MAX_TASK_CHARACTERS})
    ]


class TtsMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request; unknown fields are dropped."""

    audio: Annotated[AudioPart, Meta(extra_json_schema={"required": ["encoding"]})]
    request: RequestPart


class Addition(msgspec.Struct, kw_only=True):
    """What else there is to say of the audio."""

    duration: str
    """Milliseconds, in digits."""


class TtsReply(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A message to the client."""

    reqid: str
    operation: str
    sequence: int
    data: str
    """Base64; every message of a stream is padded on its own."""
    addition: Addition | None = None
    error: qiniu.ErrorDetail | None = None


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A checked request."""

    options: SpeechOptions
    text: str


_decoder = msgspec.json.Decoder(TtsMessage)
_encoder = msgspec.json.Encoder()


def read_request(body: str | bytes, *, voice_header: str = "") -> SpeechRequest:
    """Check a request.

    Args:
        body: JSON.
        voice_header: the `VoiceType` header, for a request that names no voice itself.

    Raises:
        SpeechError: it is no JSON, or something in it is missing, of the wrong type or out of
            range.
    """
    message = _parse(body)
    text = message.request.text
    if not text.strip():
        raise SpeechError(ErrorCode.TEXT_MISSING, "request.text is empty!")
    if len(text) > limits.MAX_TASK_CHARACTERS:
        raise SpeechError(
            ErrorCode.TEXT_TOO_LONG,
            f"request.text has {len(text)} characters, {limits.MAX_TASK_CHARACTERS} are allowed!",
        )
    voice = message.audio.voice_type or qiniu.read_header(voice_header)
    if not voice:
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID,
            "Missing audio.voice_type, and there is no VoiceType header either!",
        )
    options = SpeechOptions(
        voice=voice,
        audio_format=_audio_format(message.audio.encoding),
        sample_rate_hz=_sample_rate_hz(message.audio.sample_rate),
        prosody=Prosody(speed=_speed(message.audio.speed_ratio)),
    )
    return SpeechRequest(options, text)


def _parse(body: str | bytes) -> TtsMessage:
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        # It names the field and the types, and holds nothing of the value.
        raise SpeechError(ErrorCode.PARAMETER_INVALID, f"{error}!") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise SpeechError(ErrorCode.MESSAGE_INVALID, "Request is not JSON!") from None


def _audio_format(encoding: str | None) -> AudioFormat:
    if not encoding:
        raise SpeechError(ErrorCode.FORMAT_UNSUPPORTED, f"Missing audio.encoding! {_known()}")
    if (audio_format := _ENCODINGS.get(encoding.lower())) is not None:
        return audio_format
    raise SpeechError(
        ErrorCode.FORMAT_UNSUPPORTED, f"Invalid audio.encoding '{nls.echo(encoding)}'! {_known()}"
    )


def _known() -> str:
    return f"It is one of {', '.join(AudioFormat)}."


def _sample_rate_hz(sample_rate: int | None) -> int:
    if sample_rate is None:
        return DEFAULT_SAMPLE_RATE_HZ
    if sample_rate not in limits.SAMPLE_RATES_HZ:
        allowed = ", ".join(str(rate) for rate in limits.SAMPLE_RATES_HZ)
        raise SpeechError(
            ErrorCode.SAMPLE_RATE_UNSUPPORTED,
            f"Invalid audio.sample_rate {nls.echo(sample_rate)}! It is one of {allowed}.",
        )
    return sample_rate


def _speed(ratio: float | None) -> float:
    # Go writes a field that its program has not set as 0.
    if not ratio:
        return 1.0
    low, high = SPEED_RATIOS
    if not low <= ratio <= high:
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID,
            f"Invalid audio.speed_ratio {ratio:g}! It is from {low:g} to {high:g}.",
        )
    return ratio


class Stream:
    """The messages of one WebSocket, which carries one request.

    Args:
        voice_header: the handshake's `VoiceType`, may be empty.
    """

    def __init__(self, *, voice_header: str = "") -> None:
        self._voice_header = voice_header
        self._asked = False
        self._sequence = 0
        self.reqid = qiniu.new_reqid()

    def receive(self, frame: str | bytes) -> SpeechRequest:
        """Take the client's message; it may be a text or a binary frame.

        Raises:
            SpeechError: as `read_request`; or STATE_CONFLICT, it is not the first.
        """
        if self._asked:
            raise SpeechError(
                ErrorCode.STATE_CONFLICT, "This connection has its request, open another!"
            )
        self._asked = True
        return read_request(frame, voice_header=self._voice_header)

    def send(self, event: SessionEvent) -> str | None:
        """The message for an event of the session, None if the client is not told of it.

        Raises:
            SpeechError: TEXT_MISSING, the session is over and had nothing to say.
        """
        match event:
            case AudioProduced(data):
                self._sequence += 1
                return self._render(self._sequence, base64.b64encode(data).decode())
            case SessionFinished(summary):
                if not self._sequence:
                    raise nothing_to_say()
                addition = Addition(duration=_milliseconds(summary.audio_s))
                return self._render(-self._sequence - 1, addition=addition)
            case _:
                return None

    def fail(self, error: SpeechError) -> str:
        """Tell of an error; the endpoint closes then.

        Sequence 0 ends nothing in clients that look for a negative one: they see the close. Others
        look at no message without a sequence.
        """
        return self._render(0, error=qiniu.detail(error))

    def _render(
        self,
        sequence: int,
        data: str = "",
        *,
        addition: Addition | None = None,
        error: qiniu.ErrorDetail | None = None,
    ) -> str:
        reply = TtsReply(
            reqid=self.reqid,
            operation=_OPERATION,
            sequence=sequence,
            data=data,
            addition=addition,
            error=error,
        )
        return _encoder.encode(reply).decode()


class ReplyWriter:
    """The one JSON object of an HTTP reply, written while the audio is still being made.

    An hour of speech is hundreds of megabytes of base64, which nobody has to hold this way.
    """

    def __init__(self, reqid: str) -> None:
        self._reqid = reqid
        self._rest = b""

    def begin(self) -> bytes:
        """Everything before the audio."""
        empty = TtsReply(reqid=self._reqid, operation=_OPERATION, sequence=_WHOLE, data="")
        return _encoder.encode(empty).removesuffix(b'"}')

    def add(self, data: bytes) -> bytes:
        """More audio; what does not fill a group of base64 waits for the next."""
        data = self._rest + data
        whole = len(data) - len(data) % _GROUP_BYTES
        self._rest = data[whole:]
        return base64.b64encode(data[:whole])

    def end(self, audio_s: float) -> bytes:
        """The end of the audio, and its duration."""
        addition = _encoder.encode(Addition(duration=_milliseconds(audio_s)))
        return b"".join([base64.b64encode(self._rest), b'","addition":', addition, b"}"])


def nothing_to_say() -> SpeechError:
    """Why a request without a word in it fails."""
    return SpeechError(ErrorCode.TEXT_MISSING, "request.text has nothing that can be spoken!")


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


# --- Voices ----------------------------------------------------------------------------------


class VoiceItem(msgspec.Struct, kw_only=True):
    """One voice of `GET /voice/list`."""

    voice_name: str
    voice_type: str
    """What a request names it by."""
    url: str
    """Where it can be heard."""
    category: str
    updatetime: int
    """Unix time in milliseconds."""


def render_voices(voices: list[VoiceItem]) -> bytes:
    """The list."""
    return _encoder.encode(voices)
