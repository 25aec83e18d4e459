"""A flowing synthesizer that fails on demand, in a thread of the test's process."""

from __future__ import annotations

import http
import json
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

RATE_HZ = 24_000
CHARACTER_SAMPLES = RATE_HZ // 10
FRAME_BYTES = 65_536
STREAMING_SIZE = 0xFFFFFFFF

VOICES = {
    "voices": [
        {
            "name": "中文女",
            "model": "fake",
            "language": "cmn",
            "gender": "female",
            "kind": "preset",
            "description": "",
            "sample_rate": RATE_HZ,
            "aliases": ["longxiaochun"],
        }
    ]
}


def wav_header(rate_hz: int) -> bytes:
    """As a server streams it: sizes unknown."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", STREAMING_SIZE, b"WAVE", b"fmt ", 16, 1, 1),
        *(rate_hz, 2 * rate_hz, 2, 16, b"data", STREAMING_SIZE),
    )


class Talk:
    """One connection, as a behaviour sees it."""

    def __init__(self, connection: ServerConnection, heard: list[dict]) -> None:
        self._connection = connection
        self._heard = heard
        self.task_id = ""

    def hear(self) -> dict:
        """The next message from the client."""
        message = json.loads(self._connection.recv())
        self.task_id = message["header"]["task_id"]
        self._heard.append(message)
        return message

    def tell(self, name: str, status: int = 20000000, text: str = "", **payload: object) -> None:
        header = {
            "message_id": "0" * 32,
            "task_id": self.task_id,
            "namespace": "FlowingSpeechSynthesizer",
            "name": name,
            "status": status,
            "status_text": text,
            "status_message": text,
        }
        self._connection.send(json.dumps({"header": header, "payload": payload}))

    def send(self, data: bytes | str) -> None:
        self._connection.send(data)

    def send_audio(self, data: bytes) -> None:
        for begin in range(0, len(data), FRAME_BYTES):
            self._connection.send(data[begin : begin + FRAME_BYTES])

    def close(self, code: int = 1000) -> None:
        self._connection.close(code)


def speaks(talk: Talk) -> None:
    """Each piece is a sentence, 0.1 s of silence per character."""
    options, spoken, heard_ms = {}, "", 0
    while True:
        message = talk.hear()
        match message["header"]["name"]:
            case "StartSynthesis":
                options = message["payload"]
                talk.tell("SynthesisStarted")
                if options["format"] == "wav":
                    talk.send(wav_header(options["sample_rate"]))
            case "RunSynthesis":
                text = message["payload"]["text"]
                samples = len(text) * options["sample_rate"] // 10
                begin_ms, heard_ms = heard_ms, heard_ms + len(text) * 100
                begin, spoken = len(spoken), spoken + text
                talk.tell("SentenceBegin", index=1)
                talk.send_audio(bytes(2 * samples))
                sentence = {
                    "text": "",
                    "sentence": True,
                    "begin_time": begin_ms,
                    "end_time": heard_ms,
                    "begin_index": begin,
                    "end_index": len(spoken),
                }
                items = [sentence] if options.get("enable_subtitle") else []
                talk.tell("SentenceEnd", index=1, subtitles=items)
            case "StopSynthesis":
                talk.tell("SynthesisCompleted", measureLength=len(spoken))


class FakeServer:
    """Listens on a free port of 127.0.0.1 while its block runs.

    Args:
        behave: what every connection meets; it ends with the connection.
        refuse: answer handshakes with this HTTP status.
        voices: status and body of the list of voices.
    """

    def __init__(
        self,
        behave: Callable[[Talk], None] = speaks,
        refuse: http.HTTPStatus | None = None,
        voices: tuple[http.HTTPStatus, object] = (http.HTTPStatus.OK, VOICES),
    ) -> None:
        self._behave = behave
        self._voices = voices
        self._refuse = refuse
        self._server: Server | None = None
        self.heard: list[dict] = []
        self.left = threading.Event()
        """A client has gone."""

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.socket.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"ws://{self.address}/ws/v1/tts"

    @property
    def said(self) -> list[str]:
        """The names of what clients said."""
        return [message["header"]["name"] for message in self.heard]

    def _handle(self, connection: ServerConnection) -> None:
        from websockets import ConnectionClosed

        try:
            self._behave(Talk(connection, self.heard))
        except ConnectionClosed:
            pass
        finally:
            self.left.set()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path.startswith("/stream/v1/tts/voices"):
            status, body = self._voices
            return connection.respond(status, json.dumps(body))
        if self._refuse is not None:
            text = "Meta:ACCESS_DENIED:The token 'x' is invalid!\n"
            return connection.respond(self._refuse, text)
        return None

    def __enter__(self) -> Self:
        self._server = serve(self._handle, "127.0.0.1", 0, process_request=self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._thread.join()
