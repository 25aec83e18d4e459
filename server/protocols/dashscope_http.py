"""DashScope's `services/audio/tts/SpeechSynthesizer`: a JSON request in, an address or events out.

Source: the package's `HttpSpeechSynthesizer`, whole and with `X-DashScope-SSE: enable`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from server import limits
from server.errors import ErrorCode, SpeechError
from server.protocols import dashscope, nls
from server.protocols.dashscope import invalid, missing
from server.protocols.dashscope_messages import words_of
from server.speech.types import (
    AudioFormat,
    AudioProduced,
    SentenceFinished,
    SentenceStarted,
    SessionEvent,
    SpeechOptions,
)

SSE_HEADER = "x-dashscope-sse"
EVENT_STREAM = "text/event-stream"
CONTENT_TYPES = {
    AudioFormat.MP3: "audio/mpeg",
    AudioFormat.OPUS: "audio/ogg",
    AudioFormat.WAV: "audio/wav",
    AudioFormat.PCM: "audio/pcm",
}
_OK = 200


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A checked request."""

    model: str
    text: str
    options: SpeechOptions
    characters: int
    """Of the text, as they are billed."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the whole audio can be fetched."""

    url: str
    id: str
    expires_at: int
    """In seconds since 1970."""


def parse_object(body: bytes) -> dict[str, Any]:
    """A request's body.

    Raises:
        SpeechError: it is no JSON object.
    """
    try:
        message = nls.parse_json(body)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise SpeechError(ErrorCode.MESSAGE_INVALID, "Request body is not a JSON object!")
    return message


def read_input(message: dict[str, Any]) -> dict[str, Any]:
    """The `input` of a request.

    Raises:
        SpeechError: it is missing, or no object.
    """
    given = message.get("input")
    if given is None:
        raise missing("input")
    if not isinstance(given, dict):
        raise invalid("Invalid input: not a JSON object!")
    return given


def read_request(body: bytes) -> SpeechRequest:
    """Check a request for speech.

    Raises:
        SpeechError: something is missing, has the wrong type or is out of range.
    """
    message = parse_object(body)
    model = nls.string(message, "model", "")
    if not model:
        raise missing("model")
    given = read_input(message)
    options = dashscope.read_options(given, voice="")
    text = given.get("text")
    if text is not None and not isinstance(text, str):
        raise invalid("Invalid text: not a string!")
    if not text:
        raise dashscope.nothing_to_say()
    characters = dashscope.count(text, ssml=options.ssml)
    if characters > limits.MAX_PIECE_CHARACTERS:
        raise SpeechError(
            ErrorCode.TEXT_TOO_LONG,
            f"Text is over the {limits.MAX_PIECE_CHARACTERS} characters of one request!",
        )
    return SpeechRequest(model, text, options, characters)


class Reply(Protocol):
    """How a request is answered."""

    def send(self, event: SessionEvent) -> bytes:
        """What an event of the session adds to the body."""

    def end(self, address: Address) -> bytes:
        """The end of the body."""

    def broken(self, error: SpeechError) -> bytes:
        """The end of a body that has begun, when there will be no more speech."""


class WholeReply:
    """One JSON object, when all has been spoken."""

    def __init__(self, request_id: str, characters: int) -> None:
        self._request_id = request_id
        self._characters = characters

    def send(self, _event: SessionEvent) -> bytes:
        """Nothing yet."""
        return b""

    def end(self, address: Address) -> bytes:
        """All of it."""
        output = {"finish_reason": "stop", "audio": _audio(address)}
        return _encode(output, self._request_id, self._characters)

    def broken(self, error: SpeechError) -> bytes:
        """It has not begun."""
        raise error


class EventReply:
    """Server-sent events; the first one is not sent before there is audio."""

    def __init__(self, request_id: str, characters: int) -> None:
        self._request_id = request_id
        self._characters = characters
        self._number = 0
        self._index = 0
        self._text = ""
        self._held = b""
        self._began = False

    def send(self, event: SessionEvent) -> bytes:  # noqa: D102 - see Reply
        match event:
            case SentenceStarted(index, text):
                self._index, self._text = index - 1, text
                return self._hold(self._result("sentence-begin", original_text=text))
            case AudioProduced(data):
                self._began = True
                audio = {"data": base64.b64encode(data).decode(), "id": self._request_id}
                return self._hold(self._result("sentence-synthesis", audio=audio))
            case SentenceFinished(_, subtitle):
                words = [] if subtitle is None else words_of(subtitle)
                text = self._text if subtitle is None else subtitle.text
                return self._hold(self._result("sentence-end", words, original_text=text))
            case _:
                return b""

    def end(self, address: Address) -> bytes:  # noqa: D102 - see Reply
        output = {"finish_reason": "stop", "audio": _audio(address)}
        return self._event(_encode(output, self._request_id, self._characters))

    def broken(self, error: SpeechError) -> bytes:  # noqa: D102 - see Reply
        body = dashscope.render_failure(error, request_id=self._request_id)
        return self._event(body, "error", dashscope.http_status(error))

    def _hold(self, data: bytes) -> bytes:
        self._held += data
        if not self._began:
            return b""
        held, self._held = self._held, b""
        return held

    def _result(
        self, kind: str, words: list[dict[str, Any]] | None = None, **more: object
    ) -> bytes:
        sentence = {"index": self._index, "words": words or []}
        output = {"finish_reason": "null", "type": kind, "sentence": sentence, **more}
        return self._event(_encode(output, self._request_id, self._characters))

    def _event(self, data: bytes, kind: str = "result", status: int = _OK) -> bytes:
        self._number += 1
        head = f"id:{self._number}\nevent:{kind}\n:HTTP_STATUS/{status}\n"
        return head.encode() + b"data:" + data + b"\n\n"


def _audio(address: Address) -> dict[str, Any]:
    return {
        "data": "",
        "url": address.url,
        "id": address.id,
        "expires_at": address.expires_at,
    }


def _encode(output: dict[str, Any], request_id: str, characters: int) -> bytes:
    return msgspec.json.encode(
        {"request_id": request_id, "output": output, "usage": {"characters": characters}}
    )
