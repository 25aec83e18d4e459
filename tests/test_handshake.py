"""Duplicate handshake headers: the first of each wins, everything else passes."""

from __future__ import annotations

import pytest

from server.handshake import keep_first_headers

TWICE = (
    b"GET /ws/v1 HTTP/1.1\r\nSec-WebSocket-Key: first\r\nSec-WebSocket-Version: 13\r\n"
    b"X-Other: 1\r\nsec-websocket-key: second\r\nX-Other: 2\r\n"
    b"SEC-WEBSOCKET-VERSION: 13\r\n\r\nrest"
)


def test_the_first_of_each_is_kept_and_the_rest_stays() -> None:
    assert keep_first_headers(TWICE) == (
        b"GET /ws/v1 HTTP/1.1\r\nSec-WebSocket-Key: first\r\nSec-WebSocket-Version: 13\r\n"
        b"X-Other: 1\r\nX-Other: 2\r\n\r\nrest"
    )


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: only\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Key: b\r\n",
        b"",
        b"\x81\x05hello",
    ],
)
def test_nothing_else_changes(head: bytes) -> None:
    assert keep_first_headers(head) == head
