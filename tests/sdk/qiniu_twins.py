"""Twins of the clients of Qiniu's `/v1/voice/tts`: the vendor's Go sample, an SDK in TypeScript.

Go's `encoding/json` fills a typed struct: a string where an integer is declared, or an integer for
a string, fails the whole message, and its audio with it. `base64.StdEncoding` wants the standard
alphabet and the padding.
"""

from __future__ import annotations

import base64
import json
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
from websockets.sync.client import connect
from wire import PATIENCE_S

PATH = "/v1/voice/tts"
VOICE = "qiniu_zh_female_tmjxxy"
_GO_TYPES: dict[str, type] = {"reqid": str, "operation": str, "sequence": int, "data": str}


class UnmarshalError(Exception):
    """What `json.Unmarshal` or `DecodeString` would return."""


@dataclass
class GoReply:
    """`RelayTTSResponse`, with Go's zero values."""

    reqid: str = ""
    operation: str = ""
    sequence: int = 0
    data: str = ""
    duration: str | None = None

    @classmethod
    def unmarshal(cls, message: str | bytes) -> GoReply:
        fields = json.loads(message)
        if type(fields) is not dict:
            raise UnmarshalError("not an object")
        reply = cls()
        for name, kind in _GO_TYPES.items():
            if name in fields:
                # `type` and not `isinstance`: a bool is no int, and 1.0 is none either.
                if type(fields[name]) is not kind:
                    raise UnmarshalError(f"{name} is {fields[name]!r}")
                setattr(reply, name, fields[name])
        if "addition" in fields:
            addition = fields["addition"]
            if type(addition) is not dict or type(addition.get("duration")) is not str:
                raise UnmarshalError(f"addition is {addition!r}")
            reply.duration = addition["duration"]
        return reply

    @property
    def audio(self) -> bytes:
        try:
            return base64.b64decode(self.data, validate=True)
        except ValueError as error:
            raise UnmarshalError(str(error)) from error


@dataclass
class GoFile:
    """What the Go sample has in the end."""

    replies: list[GoReply] = field(default_factory=list)
    written: bool = False
    """It writes its file only after a message with a negative sequence."""
    read_error: int | None = None
    """The close code that ended it instead."""

    @property
    def audio(self) -> bytes:
        return b"".join(reply.audio for reply in self.replies)


class GoClient:
    """The sample's `wssStream`, with its two headers and its one binary message."""

    def __init__(
        self, address: str, *, path: str = PATH, token: str = "sk-xx", voice: str = VOICE
    ) -> None:
        headers = {"Authorization": f"Bearer {token}", "VoiceType": voice}
        self._voice = voice
        self._open = ExitStack()
        self._socket = self._open.enter_context(
            connect(
                f"ws://{address}{path}", additional_headers=headers, proxy=None, compression=None
            )
        )

    def speak(self, text: str, *, encoding: str = "mp3", speed_ratio: float = 1.0) -> GoFile:
        audio = {"voice_type": self._voice, "encoding": encoding, "speed_ratio": speed_ratio}
        request = {"audio": audio, "request": {"text": text}}
        self._socket.send(json.dumps(request, ensure_ascii=False).encode())
        file = GoFile()
        while True:
            try:
                message = self._socket.recv(PATIENCE_S)
            except ConnectionClosed as closed:
                file.read_error = closed.rcvd.code if closed.rcvd else 1006
                return file
            file.replies.append(GoReply.unmarshal(message))
            if file.replies[-1].sequence < 0:
                file.written = True
                return file

    def close(self) -> None:
        """`defer c.Close()`: the TCP connection ends without a Close frame."""
        with suppress(OSError):  # the server was faster
            self._socket.socket.shutdown(socket.SHUT_RDWR)
        self._open.close()


def go_post(address: str, text: str, *, path: str = PATH, **audio: Any) -> GoReply:
    """The page's HTTP request, its reply read into the same struct."""
    request = {
        "audio": {"voice_type": VOICE, "encoding": "mp3", **audio},
        "request": {"text": text},
    }
    answer = httpx.post(
        f"http://{address}{path}", json=request, headers={"Authorization": "Bearer sk-xx"}
    )
    assert answer.status_code == 200, answer.text
    return GoReply.unmarshal(answer.content)


@dataclass(frozen=True)
class GoVoice:
    """One voice as Go programs declare it."""

    voice_name: str
    voice_type: str
    url: str
    category: str
    updatetime: int


def go_voices(address: str, *, path: str = "/v1/voice/list") -> list[GoVoice]:
    items = httpx.get(f"http://{address}{path}").json()
    if type(items) is not list:
        raise UnmarshalError("not an array")
    voices = [GoVoice(**item) for item in items]
    for voice in voices:
        kinds = [type(value) for value in vars(voice).values()]
        if kinds != [str, str, str, str, int]:
            raise UnmarshalError(f"{voice}")
    return voices


class TypescriptSdk:
    """`tts.stream` of an SDK in TypeScript: no message counts that has no number as sequence.

    The last message ends the stream before its data is looked at, and so does a close with 1000.
    """

    def __init__(self, address: str, *, path: str = PATH) -> None:
        self._open = ExitStack()
        self._socket = self._open.enter_context(
            connect(f"ws://{address}{path}", additional_headers={"VoiceType": VOICE}, proxy=None)
        )

    def stream(self, text: str) -> bytes:
        audio = {"voice_type": VOICE, "encoding": "mp3", "speed_ratio": 1.0, "volume": 1.0}
        self._socket.send(json.dumps({"audio": audio, "request": {"text": text}}).encode())
        heard = b""
        while True:
            try:
                message = self._socket.recv(PATIENCE_S)
            except ConnectionClosedOK:
                return heard
            frame = json.loads(message)
            if type(frame.get("sequence")) not in {int, float}:
                assert isinstance(message, str), "it would take this for audio"
                continue
            if frame.get("error"):
                raise RuntimeError(str(frame["error"]))
            if frame["sequence"] < 0:
                return heard
            heard += base64.b64decode(frame["data"])

    def close(self) -> None:
        self._open.close()
