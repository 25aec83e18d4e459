"""Twins of Aliyun's SDKs for one-shot and long synthesis: the same bytes on the wire.

Sources: the Python SDK 9d459a0 (2023), the Go SDK d28aea1 (2023) and the Java SDK 2.1.1 d80b6a6
(2019), all public.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, ClassVar

from conversation import Conversation, TaskFailedError
from vendor_twins import APPKEY, PATH, TOKEN, JavaSdk, PythonCore, new_id
from wire import BINARY, CLOSE, PING, PONG, TEXT, WireClosedError, WireSocket, accept_of, random_key

SHORT, LONG = "SpeechSynthesizer", "SpeechLongSynthesizer"


class PythonOneShot(PythonCore):
    """`nls.NlsSpeechSynthesizer`: an object has a connection for each `start`.

    A TaskFailed does not make it close: it waits for the server to do so.
    """

    sample_rate_hz = 16000
    _CONTEXT: ClassVar = {
        "sdk": {"name": "nls-python-sdk", "version": "0.0.1", "language": "python"}
    }

    def speak(self, text: str, *, long_tts: bool = False, **ex: Any) -> Conversation:
        """`start(text, ex=ex)`; `ex` goes into the payload as it is."""
        namespace = LONG if long_tts else SHORT
        talk = Conversation(self._task_id, self.sample_rate_hz, namespace)
        header = {
            "message_id": new_id(),
            "task_id": self._task_id,
            "namespace": namespace,
            "name": "StartSynthesis",
            "appkey": APPKEY,
        }
        payload = {
            "text": text,
            "voice": "xiaoyun",
            "format": "pcm",
            "sample_rate": self.sample_rate_hz,
            "volume": 50,
            "speech_rate": 0,
            "pitch_rate": 0,
        }
        message = {"header": header, "payload": payload | ex, "context": self._CONTEXT}
        self._socket.send_text(json.dumps(message))
        try:
            self._hear_until(talk, "SynthesisCompleted")
        except TaskFailedError:
            self.wait_for_close()
            raise
        self._shut_down()
        return talk


class FatalError(Exception):
    """`logger.Fatalf`: the process of the Go SDK's user ends."""


class GoOneShot:
    """`nls.SpeechSynthesis` on gorilla's websocket.

    Args:
        realtime_long_text: chooses the namespace. The SDK keeps it in a global of the package: once
            an object was long, all short ones end the process at their first answer.
    """

    sample_rate_hz = 16000
    _CONTEXT: ClassVar = {"sdk": {"name": "nls-go-sdk", "version": "0.0.1fix", "language": "go"}}

    def __init__(
        self, address: str, *, realtime_long_text: bool = False, token: str = TOKEN
    ) -> None:
        self._namespace = LONG if realtime_long_text else SHORT
        key = random_key()
        self._socket = WireSocket(
            address,
            [
                f"GET {PATH} HTTP/1.1",
                f"Host: {address}",
                "User-Agent: Go-http-client/1.1",
                "Connection: Upgrade",
                f"Sec-WebSocket-Key: {key}",
                "Sec-WebSocket-Version: 13",
                "Upgrade: websocket",
                f"X-NLS-Token: {token}",
            ],
        )
        response = self._socket.response
        assert response.status == 101, response
        assert response.headers["sec-websocket-accept"] == accept_of(key)

    def speak(self, text: str, **extra: Any) -> Conversation:
        """`Start` with `DefaultSpeechSynthesisParam`, but pcm for wav; then wait."""
        talk = Conversation(new_id(), self.sample_rate_hz, self._namespace)
        header = {
            "message_id": new_id(),
            "task_id": talk.task_id,
            "namespace": self._namespace,
            "name": "StartSynthesis",
            "appkey": APPKEY,
        }
        payload = {
            "enable_subtitle": False,
            "format": "pcm",
            "pitch_rate": 0,
            "sample_rate": self.sample_rate_hz,
            "speech_rate": 0,
            "text": text,
            "voice": "xiaoyun",
            "volume": 50,
        }
        message = {"header": header, "payload": payload | extra, "context": self._CONTEXT}
        written = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        for character in "<>&":  # as Go's encoder does
            written = written.replace(character, f"\\u{ord(character):04x}")
        self._socket.send_text(written)
        while True:
            frame = self._socket.receive_frame()
            if frame.opcode == BINARY:
                talk.hear_audio(frame.payload)
            elif frame.opcode == TEXT:
                self._check_namespace(frame.payload)
                if talk.hear_text(frame.payload.decode()) == "SynthesisCompleted":
                    return talk
            else:
                assert frame.opcode in {PING, PONG}, f"unexpected opcode {frame.opcode}"

    def _check_namespace(self, text: bytes) -> None:
        namespace = json.loads(text)["header"]["namespace"]
        if namespace not in {"Default", self._namespace}:
            raise FatalError(f"namespace mismatch expect {self._namespace} but {namespace}")

    def wait_for_close(self) -> int | None:
        """Its close handler closes the TCP connection without a word."""
        with suppress(WireClosedError):
            while (frame := self._socket.receive_frame()).opcode != CLOSE:
                pass
            return frame.close_code
        return None

    def close(self) -> None:
        """`Shutdown`: no Close frame."""
        self._socket.close()


class JavaOneShot(JavaSdk):
    """`SpeechSynthesizer` over Netty: `start()` again on one connection, short or long."""

    def speak_text(self, text: str, *, is_long: bool = False, **custom: Any) -> Conversation:
        """`setText` or `setLongText`, `addCustomedParam`, `start`, `waitForComplete`."""
        namespace = LONG if is_long else SHORT
        self._header |= {"task_id": new_id(), "namespace": namespace}
        talk = Conversation(self._header["task_id"], self.sample_rate_hz, namespace)
        payload = {
            "volume": 50,
            "voice": "siyue",
            "format": "pcm",
            "sample_rate": self.sample_rate_hz,
            "text": text,
            "method": 0,
        }
        self._send("StartSynthesis", payload | custom)
        self._hear_until(talk, "SynthesisCompleted")
        return talk
