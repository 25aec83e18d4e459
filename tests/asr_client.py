"""A bare client of `WS /voice/asr` for tests: it sends what it is told, right or wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
from dataclasses import dataclass
from typing import Any, Self

from flowing import PATIENCE_S
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

CONFIGURATION, AUDIO = 1, 2
_SEQUENCE, _LAST = 1, 2
PCM = {"format": "pcm", "sample_rate": 16_000, "bits": 16, "channel": 1, "codec": "raw"}


def frame(kind: int, payload: bytes, sequence: int | None = None, *, last: bool = False) -> bytes:
    """A client's frame, gzipped."""
    flags = (0 if sequence is None else _SEQUENCE) | (_LAST if last else 0)
    number = b"" if sequence is None else struct.pack(">i", sequence)
    body = gzip.compress(payload, mtime=0)
    header = bytes((0x11, kind << 4 | flags, 0x11, 0))
    return header + number + struct.pack(">I", len(body)) + body


def configuration(sequence: int | None = 1, request: Any = None, **audio: Any) -> bytes:
    fields = {"user": {"uid": "test"}, "audio": PCM | audio, "request": request or {}}
    return frame(CONFIGURATION, json.dumps(fields).encode(), sequence)


@dataclass(frozen=True)
class Reply:
    """A server's frame."""

    raw: bytes
    sequence: int
    last: bool
    code: int
    """Of an error; 0 if it is none."""
    body: dict[str, Any]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        kind, flags = raw[1] >> 4, raw[1] & 0x0F
        assert kind in (9, 15), raw
        [number] = struct.unpack_from(">i" if kind == 9 else ">I", raw, 4)
        [size] = struct.unpack_from(">I", raw, 8)
        assert len(raw) == 12 + size
        body = json.loads(gzip.decompress(raw[12:]))
        if kind == 15:
            return cls(raw, 0, True, number, body)
        return cls(raw, number, bool(flags & _LAST), 0, body)

    @property
    def text(self) -> str:
        text: str = self.body["result"]["text"]
        return text


class AsrSocket:
    """One connection."""

    def __init__(self, address: str, path: str = "/v1/voice/asr", **options: Any) -> None:
        self._connecting = connect(f"ws://{address}{path}", ping_interval=None, **options)
        self._sequence = 0
        self.socket: ClientConnection

    async def __aenter__(self) -> Self:
        self.socket = await self._connecting.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._connecting.__aexit__(*details)  # type: ignore[arg-type]

    async def start(self, request: Any = None, **audio: Any) -> Reply:
        self._sequence = 1
        return await self.ask(configuration(1, request, **audio))

    async def say(self, pcm: bytes, *, last: bool = False) -> Reply:
        """Send audio, and wait for the one reply to it."""
        self._sequence += 1
        return await self.ask(frame(AUDIO, pcm, self._sequence, last=last))

    async def ask(self, message: str | bytes) -> Reply:
        await self.socket.send(message)
        return await self.reply()

    async def reply(self) -> Reply:
        async with asyncio.timeout(PATIENCE_S):
            message = await self.socket.recv()
        assert isinstance(message, bytes)
        return Reply.parse(message)

    async def close_code(self) -> int:
        """How the server closes; nothing else comes before."""
        try:
            unexpected = await self.reply()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        raise AssertionError(f"{unexpected} instead of a close")
