"""Twins of clients written by hand on a WebSocket library: xiaozhi-esp32-server and the seed's.

The seed's are the clients of `aliyun_flowing_websocket.md`: an interactive one in Python, an LLM
example on top of it, and a page in JavaScript.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from conversation import NAMESPACE, Conversation
from vendor_twins import APPKEY, PATH, TOKEN, new_id
from websockets.sync.client import connect
from websockets.typing import Origin
from wire import PATIENCE_S

SEED_PATH = "/ws/v1/tts"


class Xiaozhi:
    """`aliyun_stream.py`: Start and Run go out at once, and the socket is used again.

    Args:
        one_message_id: older versions make one message_id for a whole session.
    """

    sample_rate_hz = 16000
    voice = "longxiaochun"

    def __init__(
        self, address: str, *, path: str = PATH, token: str = TOKEN, one_message_id: bool = True
    ) -> None:
        self._open = ExitStack()
        self._websocket = self._open.enter_context(
            connect(
                f"ws://{address}{path}",
                additional_headers={"X-NLS-Token": token},
                ping_interval=30,
                ping_timeout=10,
                close_timeout=10,
                proxy=None,
            )
        )
        self._one_message_id = one_message_id

    def speak(self, pieces: Iterable[str]) -> Conversation:
        talk = Conversation(new_id(), self.sample_rate_hz)
        session_message_id = new_id()

        def send(name: str, **payload: Any) -> None:
            header = {
                "message_id": session_message_id if self._one_message_id else new_id(),
                "task_id": talk.task_id,
                "namespace": NAMESPACE,
                "name": name,
                "appkey": APPKEY,
            }
            message = {"header": header} | ({"payload": payload} if payload else {})
            self._websocket.send(json.dumps(message))

        send(
            "StartSynthesis",
            voice=self.voice,
            format="pcm",
            sample_rate=self.sample_rate_hz,
            volume=50,
            speech_rate=0,
            pitch_rate=0,
            enable_subtitle=True,
        )
        send("RunSynthesis", text="")  # its markdown filter may leave nothing of a piece
        for piece in pieces:
            send("RunSynthesis", text=piece)
        send("StopSynthesis")
        while True:
            message = self._websocket.recv(PATIENCE_S)
            if isinstance(message, bytes):
                talk.hear_audio(message)
            elif talk.hear_text(message) == "SynthesisCompleted":
                return talk

    def close(self) -> None:
        self._open.close()


class SeedPython:
    """The seed's interactive client: no appkey, `PCM`, waits for SentenceEnd after each piece."""

    sample_rate_hz = 22050
    voice = "中文女"

    def __init__(self, address: str, *, path: str = SEED_PATH) -> None:
        self._open = ExitStack()
        self._websocket = self._open.enter_context(connect(f"ws://{address}{path}", proxy=None))
        self._talk = Conversation(new_id(), self.sample_rate_hz)

    def _send(self, name: str, payload: dict[str, Any] | None = None) -> None:
        header = {
            "message_id": new_id(),
            "task_id": self._talk.task_id,
            "namespace": NAMESPACE,
            "name": name,
        }
        message = {"header": header} | ({} if payload is None else {"payload": payload})
        self._websocket.send(json.dumps(message))

    def start(self) -> None:
        start = {
            "voice": self.voice,
            "format": "PCM",
            "sample_rate": self.sample_rate_hz,
            "volume": 50,
            "speech_rate": 0,
        }
        self._send("StartSynthesis", start)
        first = self._websocket.recv(PATIENCE_S)
        assert isinstance(first, str), "it parses the first message as JSON"
        assert self._talk.hear_text(first) == "SynthesisStarted"

    def send_text(self, text: str) -> None:
        """Send a piece, then read until the first SentenceEnd."""
        self._send("RunSynthesis", {"text": text})
        self._hear_until("SentenceEnd")

    def _hear_until(self, name: str) -> None:
        while True:
            message = self._websocket.recv(PATIENCE_S)
            if isinstance(message, bytes):
                self._talk.hear_audio(message)
            elif self._talk.hear_text(message) == name:
                return

    def stop(self) -> Conversation:
        self._send("StopSynthesis")
        self._hear_until("SynthesisCompleted")
        self.close()
        return self._talk

    def speak(self, pieces: Iterable[str]) -> Conversation:
        self.start()
        for piece in pieces:
            self.send_text(piece)
        return self.stop()

    def close(self) -> None:
        self._open.close()


class SeedLlm(SeedPython):
    """The seed's LLM example: tokens are joined until any sentence mark is among them."""

    MARKS = ("。", "！", "？", ".", "!", "?")

    def speak(self, pieces: Iterable[str]) -> Conversation:
        self.start()
        buffer = ""
        for token in pieces:
            buffer += token
            if any(mark in buffer for mark in self.MARKS):
                self.send_text(buffer.strip())
                buffer = ""
        if buffer.strip():
            self.send_text(buffer.strip())
        return self.stop()


class SeedPage:
    """The seed's JavaScript page: a browser's handshake, nothing after SynthesisCompleted.

    `stopSynthesis()` is a button: the page neither waits for sentences nor closes the socket.
    """

    sample_rate_hz = 22050
    voice = "中文女"

    def __init__(self, address: str, *, path: str = SEED_PATH) -> None:
        self._open = ExitStack()
        self._websocket = self._open.enter_context(
            connect(
                f"ws://{address}{path}",
                origin=Origin("null"),
                user_agent_header="Mozilla/5.0 (X11; Linux x86_64)",
                ping_interval=None,
                proxy=None,
            )
        )

    def speak(self, pieces: Iterable[str]) -> Conversation:
        talk = Conversation(new_id(), self.sample_rate_hz)

        def send(name: str, **payload: Any) -> None:
            header = {
                "message_id": new_id(),
                "task_id": talk.task_id,
                "namespace": NAMESPACE,
                "name": name,
            }
            message = {"header": header} | ({"payload": payload} if payload else {})
            self._websocket.send(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

        send(
            "StartSynthesis",
            voice=self.voice,
            format="PCM",
            sample_rate=self.sample_rate_hz,
            volume=50,
            speech_rate=0,
        )
        while True:
            message = self._websocket.recv(PATIENCE_S)
            if isinstance(message, bytes):
                talk.hear_audio(message)
                continue
            name = talk.hear_text(message)
            if name == "SynthesisStarted":
                for piece in pieces:
                    send("RunSynthesis", text=piece)
                send("StopSynthesis")
            elif name == "SynthesisCompleted":
                return talk

    def close(self) -> None:
        self._open.close()
