"""Twins of Aliyun's own SDKs: the same bytes on the wire, written from the SDKs' sources.

Each twin speaks one task (or several, where its original does) and returns what it heard. Sources:
the Python SDK as vendored in andforce/AI-Phone-Call ebf5c64 (2024), the C++ SDK v3.4 f29517c (2025)
and the base classes of the Java SDK 2.1.1 d80b6a6 (2019; 2.2 with its flowing class is closed).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any, ClassVar

from conversation import NAMESPACE, Conversation
from wire import BINARY, PING, PONG, TEXT, WireSocket, accept_of, random_key

PATH = "/ws/v1"
TOKEN = "token-of-a-test"
APPKEY = "appkey-of-a-test"


def new_id() -> str:
    return uuid.uuid4().hex


class PythonCore:
    """`nls.core.NlsCore`, on which all classes of the Python SDK stand.

    It sends two keys and two versions in its handshake and checks Accept against the first, and
    after SynthesisCompleted waits for the answer to its Close.
    """

    CONSTANT_KEY = "x3JJHMbDL1EzLkh9GBhXDw=="
    VALID_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1014})

    def __init__(self, address: str, *, path: str = PATH, token: str = TOKEN) -> None:
        key = random_key()
        self._socket = WireSocket(
            address,
            [
                f"GET {path} HTTP/1.1",
                "Upgrade: websocket",
                f"Host: {address}",
                f"Origin: http://{address}",
                f"Sec-WebSocket-Key: {key}",
                "Sec-WebSocket-Version: 13",
                "Connection: Upgrade",
                f"Sec-WebSocket-Key: {self.CONSTANT_KEY}",
                "Sec-WebSocket-Version: 13",
                f"X-NLS-Token: {token}",
            ],
        )
        response = self._socket.response
        assert response.status == 101, response
        assert "websocket" in response.headers["upgrade"].lower().split(", ")
        assert "upgrade" in response.headers["connection"].lower().split(", ")
        accept = response.headers["sec-websocket-accept"]
        assert accept.lower() == accept_of(key).lower(), "Accept is not for the first key"
        self._task_id = new_id()
        self.close_code: int | None = None

    def _hear_until(self, talk: Conversation, name: str) -> None:
        while True:
            frame = self._socket.receive_frame()
            if frame.opcode == PING:
                self._socket.send_frame(PONG, frame.payload)
            elif frame.opcode == BINARY:
                talk.hear_audio(frame.payload)
            else:
                assert frame.opcode == TEXT
                if talk.hear_text(frame.payload.decode()) == name:
                    return

    def _shut_down(self) -> None:
        self._socket.send_close(1000)
        self.wait_for_close()

    def wait_for_close(self) -> None:
        """It accepts no other close codes than those it knows."""
        self.close_code = self._socket.wait_for_close().close_code
        assert self.close_code in self.VALID_CLOSE_CODES

    def close(self) -> None:
        self._socket.close()


class PythonSdk(PythonCore):
    """`nls.NlsStreamInputTtsSynthesizer`: it spells `volumn`, and sends every piece at once."""

    sample_rate_hz = 24000
    voice = "longxiaochun"

    def _command(self, name: str, payload: dict[str, Any] | None = None) -> str:
        header = {
            "message_id": new_id(),
            "task_id": self._task_id,
            "name": name,
            "namespace": NAMESPACE,
            "appkey": APPKEY,
        }
        return json.dumps({"header": header} | ({} if payload is None else {"payload": payload}))

    def speak(self, pieces: Iterable[str], *, voice: str | None = None) -> Conversation:
        talk = Conversation(self._task_id, self.sample_rate_hz)
        start = {
            "session_id": new_id(),
            "voice": voice or self.voice,
            "format": "pcm",
            "sample_rate": self.sample_rate_hz,
            "volumn": 50,
            "speech_rate": 0,
            "pitch_rate": 0,
        }
        self._socket.send_text(self._command("StartSynthesis", start))
        self._hear_until(talk, "SynthesisStarted")
        for piece in pieces:
            self._socket.send_text(self._command("RunSynthesis", {"text": piece}))
        self._socket.send_text(self._command("StopSynthesis"))
        self._hear_until(talk, "SynthesisCompleted")
        self._shut_down()
        return talk


class CppSdk:
    """`FlowingSynthesizerRequest`.

    A fixed key and a fixed mask, no look at Accept, no tolerance for server pings, fragments or
    unknown event names. RunSynthesis repeats the parameters of StartSynthesis without a context;
    on a reused connection StartSynthesis still holds the text of the last RunSynthesis.
    """

    FIXED_KEY = "x1LDbMHJJ3EzLkh9GBhXDw=="
    FIXED_MASK = bytes((0x12, 0x34, 0x56, 0x78))
    CONTEXT: ClassVar = {
        "sdk": {"language": "C++", "name": "nls-cpp-sdk3.x-linux", "version": "3.4.0a"}
    }
    sample_rate_hz = 16000
    voice = "longxiaochun"

    def __init__(self, address: str, *, path: str = PATH, token: str = TOKEN) -> None:
        self._socket = WireSocket(
            address,
            [
                f"GET {path} HTTP/1.1",
                f"Host: {address}",
                "Upgrade: websocket",
                "Connection: Upgrade",
                f"Sec-WebSocket-Key: {self.FIXED_KEY}",
                "Sec-WebSocket-Version: 13",
                f"X-NLS-Token: {token}",
            ],
            mask=self.FIXED_MASK,
        )
        assert self._socket.response.status == 101, self._socket.response
        self._payload: dict[str, Any] = {
            "enable_subtitle": True,
            "format": "pcm",
            "pitch_rate": 0,
            "sample_rate": self.sample_rate_hz,
            "speech_rate": 0,
            "voice": self.voice,
            "volume": 50,
        }
        self._task_id = ""

    def _send(self, name: str, **parts: Any) -> None:
        header = {
            "appkey": APPKEY,
            "message_id": new_id(),
            "name": name,
            "namespace": NAMESPACE,
            "task_id": self._task_id,
        }
        message = {"header": header, **parts}
        self._socket.send_text(json.dumps(message, sort_keys=True, separators=(",", ":")))

    def _run(self, text: str) -> None:
        self._payload["text"] = text
        self._send("RunSynthesis", payload=self._payload)

    def speak(self, pieces: Iterable[str]) -> Conversation:
        """A flush with parameters follows the first piece, a ping each piece."""
        talk = self._start()
        for index, piece in enumerate(pieces):
            self._run(piece)
            if index == 0:
                self._send("FlushText", payload={"enable_long_silence": True})
            self._socket.send_frame(PING)
        self._send("StopSynthesis", context=self.CONTEXT)
        self._hear_until(talk, "SynthesisCompleted")
        return talk

    def speak_single_round(self, text: str) -> Conversation:
        """`setSingleRoundText`: SSML is on, and Run and Stop follow each other."""
        self._payload["enable_ssml"] = True
        talk = self._start()
        self._run(text)
        self._send("StopSynthesis", context=self.CONTEXT)
        self._hear_until(talk, "SynthesisCompleted")
        return talk

    def _start(self) -> Conversation:
        self._task_id = new_id()
        talk = Conversation(self._task_id, self.sample_rate_hz)
        self._send("StartSynthesis", payload=self._payload, context=self.CONTEXT)
        self._hear_until(talk, "SynthesisStarted")
        return talk

    def _hear_until(self, talk: Conversation, name: str) -> None:
        while True:
            frame = self._socket.receive_frame()
            assert frame.final, "it does not join fragments"
            if frame.opcode == PONG:
                assert not frame.payload, "it skips only the two bytes of an empty PONG"
            elif frame.opcode == BINARY:
                talk.hear_audio(frame.payload)
            else:
                assert frame.opcode == TEXT, "a PING would stay at the head of its buffer for ever"
                if talk.hear_text(frame.payload.decode()) == name:
                    return

    def wait_for_close(self) -> int | None:
        frame = self._socket.wait_for_close()
        assert len(frame.payload) >= 2, "it waits for two bytes of status"
        return frame.close_code

    def close(self) -> None:
        """What it does after SynthesisCompleted: no Close frame."""
        self._socket.close()


class JavaSdk:
    """`SpeechReqProtocol` over Netty: one message_id for ever, many tasks on one connection.

    Netty refuses frames above 64 KiB, and the SDK's handler lets pings pass unanswered.
    """

    sample_rate_hz = 16000
    voice = "longxiaochun"

    def __init__(self, address: str, *, path: str = PATH, token: str = TOKEN) -> None:
        key = random_key()
        self._socket = WireSocket(
            address,
            [
                f"GET {path} HTTP/1.1",
                "X-NLS-Token: " + token,
                "upgrade: websocket",
                "connection: upgrade",
                f"sec-websocket-key: {key}",
                f"host: {address}",
                "sec-websocket-version: 13",
            ],
        )
        response = self._socket.response
        assert response.status == 101, response
        assert response.headers["sec-websocket-accept"] == accept_of(key)
        self._header = {"message_id": new_id(), "namespace": NAMESPACE, "appkey": APPKEY}
        self._context = {
            "sdk": {"name": "nls-sdk-java", "version": "2.1.1"},
            "network": {"connect_cost": 1, "upgrade_cost": 2},
        }

    def _send(self, name: str, payload: dict[str, Any] | None) -> None:
        message: dict[str, Any] = {"header": self._header | {"name": name}}
        if payload is not None:
            message |= {"payload": payload, "context": self._context}
        self._socket.send_text(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    def speak(self, pieces: Iterable[str]) -> Conversation:
        self._header |= {"task_id": new_id(), "namespace": NAMESPACE}
        talk = Conversation(self._header["task_id"], self.sample_rate_hz)
        start = {
            "volume": 50,
            "voice": self.voice,
            "format": "pcm",
            "sample_rate": self.sample_rate_hz,
        }
        self._send("StartSynthesis", start)
        self._hear_until(talk, "SynthesisStarted")
        for piece in pieces:
            self._send("RunSynthesis", {"text": piece})
        self._send("StopSynthesis", None)
        self._hear_until(talk, "SynthesisCompleted")
        return talk

    def _hear_until(self, talk: Conversation, name: str) -> None:
        while True:
            frame = self._socket.receive_frame()
            if frame.opcode == BINARY:
                talk.hear_audio(frame.payload)
            elif frame.opcode == TEXT:
                if talk.hear_text(frame.payload.decode()) == name:
                    return
            else:
                assert frame.opcode in {PING, PONG}, f"unexpected opcode {frame.opcode}"

    def close(self) -> None:
        """`channel.close()`: no Close frame."""
        self._socket.close()
