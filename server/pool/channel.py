"""The front's end of the connection to a worker.

A `Channel` knows nothing of processes: it carries messages over whatever byte stream its address
names. Today that is one end of a socket pair; a worker on another machine would be another
address.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from server.pool.framing import ChannelError, FrameBuffer
from server.pool.messages import (
    FrontMessage,
    WorkerMessage,
    decode_from_worker,
    encode,
)


class Address(Protocol):
    """Something that a channel can be connected to."""

    async def connect(self, protocol: asyncio.BufferedProtocol) -> asyncio.Transport:
        """Connect `protocol` to the worker.

        Raises:
            OSError: nobody is there.
        """


class PairedSocket:
    """One end of a socket pair whose other end was given to a child process."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, protocol: asyncio.BufferedProtocol) -> asyncio.Transport:
        """Take the socket over; the transport closes it."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(lambda: protocol, sock=self._sock)
        return transport


class Channel(asyncio.BufferedProtocol):
    """Messages to and from one worker, without a task of its own.

    Args:
        receive: called with each message, in order.
        lost: called once when the connection is gone, with the reason in words, empty if the other
            end just closed it.
    """

    def __init__(
        self, receive: Callable[[WorkerMessage], None], lost: Callable[[str], None]
    ) -> None:
        self._receive = receive
        self._lost = lost
        self._buffer = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._broken = ""

    async def open(self, address: Address) -> None:
        """Connect.

        Raises:
            OSError: nobody is there.
        """
        self._transport = await address.connect(self)

    def send(self, message: FrontMessage) -> None:
        """Send a message; on a lost channel it goes nowhere, and `lost` has been or will be called.

        Raises:
            ChannelError: the message is longer than a frame may be.
        """
        frame = encode(message)
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        """End the connection; for the worker this is the order to exit at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.BufferedProtocol ----------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Room to receive into."""
        return self._buffer.writable()

    def buffer_updated(self, nbytes: int) -> None:
        """Handle what was received; the end of the connection if it makes no sense."""
        try:
            for payload in self._buffer.received(nbytes):
                self._receive(decode_from_worker(payload))
        except ChannelError as error:
            self._broken = f"protocol error: {error}"
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the death notice on."""
        self._transport = None
        closed = exc is None or isinstance(exc, ConnectionError)
        self._lost(self._broken or ("" if closed else str(exc)))
