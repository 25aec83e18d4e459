"""A WebSocket client on a bare socket, for twins of SDKs that need their own bytes on the wire.

No library client sends two `Sec-WebSocket-Key` headers, a constant mask or a constant key, and none
shows single frames. It does only what the twins need and is strict about what a server may send.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PATIENCE_S = 20.0
"""How long a twin waits for bytes before the test fails instead of hanging."""


def random_key() -> str:
    return base64.b64encode(os.urandom(16)).decode()


def accept_of(key: str) -> str:
    """The `Sec-WebSocket-Accept` that belongs to a key (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + ACCEPT_SALT).digest()).decode()


@dataclass(frozen=True)
class ResponseHead:
    """The server's answer to the upgrade request; header names in lower case."""

    status: int
    headers: dict[str, str]


@dataclass(frozen=True)
class Frame:
    """One frame as it stood on the wire."""

    opcode: int
    final: bool
    payload: bytes

    @property
    def close_code(self) -> int | None:
        """The status of a Close frame, None if it carries none."""
        return struct.unpack("!H", self.payload[:2])[0] if len(self.payload) >= 2 else None


class WireClosedError(Exception):
    """The server ended the TCP connection."""


class WireSocket:
    """Sends a request head as given, then frames.

    Args:
        address: `host:port`.
        head: the lines of the upgrade request, without the two line ends that close it.
        mask: the masking key of every frame; random per frame when None.
    """

    def __init__(self, address: str, head: list[str], *, mask: bytes | None = None) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self._mask = mask
        self._unread = b""
        self._socket.sendall("\r\n".join([*head, "", ""]).encode())
        self.response = self._read_head()

    def _read_head(self) -> ResponseHead:
        while b"\r\n\r\n" not in self._unread:
            self._unread += self._receive_some()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        return ResponseHead(int(status_line.split(" ")[1]), headers)

    def _receive_some(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise WireClosedError
        return data

    def _read_exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            self._unread += self._receive_some()
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    def send_frame(self, opcode: int, payload: bytes = b"") -> None:
        mask = self._mask or os.urandom(4)
        size = len(payload)
        if size < 126:
            header = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        elif size < 65536:
            header = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
        else:
            header = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
        masked = bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))
        self._socket.sendall(header + mask + masked)

    def send_text(self, text: str) -> None:
        self.send_frame(TEXT, text.encode())

    def send_close(self, code: int = 1000) -> None:
        self.send_frame(CLOSE, struct.pack("!H", code))

    def receive_frame(self) -> Frame:
        """The next frame.

        Raises:
            WireClosedError: the connection ended instead.
            TimeoutError: nothing came within `PATIENCE_S`.
        """
        first, second = self._read_exactly(2)
        assert not first & 0x70, "a reserved bit is set though no extension was agreed on"
        assert not second & 0x80, "a server must not mask"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._read_exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._read_exactly(8))
        return Frame(first & 0x0F, bool(first & 0x80), self._read_exactly(size))

    def wait_for_close(self) -> Frame:
        """Read on, whatever comes, until a Close frame."""
        while True:
            frame = self.receive_frame()
            if frame.opcode == CLOSE:
                return frame

    def close(self) -> None:
        """Close the TCP connection without a Close frame."""
        self._socket.close()
