"""Twins of the vendor's two sample clients of `WS /v1/voice/asr`: Python's and Node's.

The Python one sends a frame and waits for one message before it sends the next. The Node one sends
as the microphone gives, and takes what a text is longer than before for what was said anew.
"""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

PATH = "/v1/voice/asr"
SEGMENT_BYTES = 16_000 * 2 * 300 // 1000
_CONFIGURATION_WAIT_S = 10.0
_REPLY_WAIT_S = 5.0
_FULL_RESPONSE, _ACKNOWLEDGEMENT, _ERROR = 9, 11, 15
_NODE_PARSER = Path(__file__).with_name("qiniu_asr_parser.cjs")


@dataclass
class ParsedReply:
    """What the Python client's parser makes of a message."""

    message: Any
    is_last_package: bool
    payload_sequence: int | None = None
    code: int | None = None

    @property
    def text(self) -> str:
        text = self.message["result"]["text"]
        assert type(text) is str
        return text


def parse_response(data: bytes | str) -> ParsedReply:
    """As that client does, but what it would swallow is raised."""
    assert isinstance(data, bytes), "it would print this as it is"
    kind, flags = data[1] >> 4, data[1] & 0x0F
    payload = data[(data[0] & 0x0F) * 4 :]
    parsed = ParsedReply(message=None, is_last_package=bool(flags & 0x02))
    if flags & 0x01:
        parsed.payload_sequence = int.from_bytes(payload[:4], "big", signed=True)
        payload = payload[4:]
    if kind in {_ACKNOWLEDGEMENT, _ERROR}:
        parsed.code = int.from_bytes(payload[:4], "big")
        payload = payload[4:]
    assert kind in {_FULL_RESPONSE, _ACKNOWLEDGEMENT, _ERROR}
    size, payload = int.from_bytes(payload[:4], "big", signed=True), payload[4:]
    assert size == len(payload)
    if data[2] & 0x0F == 1:
        payload = gzip.decompress(payload)
    assert data[2] >> 4 == 1
    parsed.message = json.loads(payload.decode("utf-8"))
    return parsed


class MicrophoneClient:
    """The frames that both clients send."""

    def __init__(self, address: str, *, path: str = PATH, token: str = "sk-xxx") -> None:
        self._open = ExitStack()
        self._socket = self._open.enter_context(
            connect(
                f"ws://{address}{path}",
                additional_headers={"Authorization": f"Bearer {token}"},
                proxy=None,
                compression=None,
                max_size=1_000_000_000,
            )
        )
        self._sequence = 0
        self.received: list[bytes] = []

    def configure(self) -> None:
        fields = {
            "user": {"uid": str(uuid.uuid4())},
            "audio": {
                "format": "pcm",
                "sample_rate": 16_000,
                "bits": 16,
                "channel": 1,
                "codec": "raw",
            },
            "request": {"model_name": "asr", "enable_punc": True},
        }
        self._send(1, json.dumps(fields).encode())

    def send_audio(self, segment: bytes) -> None:
        self._send(2, segment)

    def receive(self, patience_s: float = _REPLY_WAIT_S) -> bytes:
        message = self._socket.recv(patience_s)
        assert isinstance(message, bytes)
        self.received.append(message)
        return message

    def close(self) -> None:
        """Neither client ends its stream otherwise."""
        self._open.close()

    def _send(self, kind: int, payload: bytes) -> None:
        self._sequence += 1
        body = gzip.compress(payload, mtime=0)
        header = bytes((0x11, kind << 4 | 1, 0x11, 0)) + self._sequence.to_bytes(4, "big")
        self._socket.send(header + len(body).to_bytes(4, "big") + body)


def python_client(client: MicrophoneClient, pcm: bytes) -> list[ParsedReply]:
    """Each segment, and its reply before the next one."""
    client.configure()
    replies = [parse_response(client.receive(_CONFIGURATION_WAIT_S))]
    for begin in range(0, len(pcm), SEGMENT_BYTES):
        client.send_audio(pcm[begin : begin + SEGMENT_BYTES])
        replies.append(parse_response(client.receive()))
    return replies


def node_texts(frames: list[bytes]) -> list[str | None] | None:
    """What the Node client's parser finds in these; None without node."""
    node = shutil.which("node")
    if node is None:
        return None
    done = subprocess.run(
        [node, str(_NODE_PARSER)],
        input="\n".join(base64.b64encode(frame).decode() for frame in frames),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
