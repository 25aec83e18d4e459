r"""Wyoming's events as bytes: a line of JSON, then as much data and payload as the line says.

    {"type": "synthesize", "data_length": 17}\n{"text": "Hello"}

The package `wyoming` writes events here, but does not read them: its reader takes as many bytes as
a client announces, and gives no reason when it stops.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import msgspec
from wyoming.event import Event, write_event

from server import limits
from server.errors import ErrorCode, SpeechError

_T = TypeVar("_T")
_Length = Annotated[int, msgspec.Meta(ge=0)]


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """The line; the version of the client's package is of no interest."""

    type: str
    data: dict[str, Any] | None = None
    data_length: _Length | None = None
    payload_length: _Length | None = None

    @property
    def following_bytes(self) -> int:
        """What comes after the line."""
        return (self.data_length or 0) + (self.payload_length or 0)


_header_decoder = msgspec.json.Decoder(_Header)
_data_decoder = msgspec.json.Decoder(dict[str, Any])


class EventReader:
    """Cuts a client's bytes into events.

    Args:
        max_bytes: of one event: its line, data and payload together.
    """

    def __init__(self, max_bytes: int = limits.MAX_MESSAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._header: _Header | None = None

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes, and give the events that they complete.

        Raises:
            SpeechError: MESSAGE_INVALID; where the next event begins is not known then.
        """
        self._buffer += data
        while (event := self._next()) is not None:
            yield event

    def _next(self) -> Event | None:
        if self._header is None:
            self._header = self._read_line()
        if self._header is None or len(self._buffer) < self._header.following_bytes:
            return None
        header, self._header = self._header, None
        details = dict(header.data or {})
        if header.data_length:
            more: dict[str, Any] = _decode(_data_decoder, self._take(header.data_length), "data")
            details.update(more)
        payload = self._take(header.payload_length) if header.payload_length else None
        return Event(header.type, details, payload)

    def _read_line(self) -> _Header | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            self._check_size(len(self._buffer))
            return None
        self._searched = 0
        # Before anything of it is decoded, too: it may have come in one piece.
        self._check_size(end)
        header = _decode(_header_decoder, self._take(end + 1), "event")
        self._check_size(end + header.following_bytes)
        return header

    def _check_size(self, n_bytes: int) -> None:
        if n_bytes > self._max_bytes:
            raise SpeechError(
                ErrorCode.MESSAGE_INVALID, f"Event is larger than {self._max_bytes} bytes!"
            )

    def _take(self, n_bytes: int) -> bytes:
        taken = bytes(self._buffer[:n_bytes])
        del self._buffer[:n_bytes]
        return taken


def _decode(decoder: msgspec.json.Decoder[_T], data: bytes, name: str) -> _T:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        # It names the field and the types, and holds nothing of the value.
        raise SpeechError(ErrorCode.MESSAGE_INVALID, f"{name}: {error}!") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise SpeechError(ErrorCode.MESSAGE_INVALID, f"{name} is not JSON!") from None


def encode(*events: Event) -> bytes:
    """Events as they go out."""
    buffer = io.BytesIO()
    for event in events:
        write_event(event, buffer)
    return buffer.getvalue()
