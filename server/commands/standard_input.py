"""Text from standard input, piece by piece as it arrives."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import AsyncIterator

from server.commands.failure import CommandError

_READ_BYTES = 1 << 16


async def read_pieces(descriptor: int) -> AsyncIterator[str]:
    """Decode UTF-8 from a file descriptor; yields whatever is there, without waiting for a line.

    Raises:
        CommandError: the bytes are not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    async for data in _chunks(descriptor):
        try:
            piece = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise CommandError("standard input is not UTF-8") from error
        if piece:
            yield piece


async def _chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Bytes as they come, the last of them empty.

    No thread reads: one that waits on a terminal could not be stopped by Ctrl-C.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(descriptor, readable.set)
    except PermissionError:
        # Regular files cannot be polled, and need not be: reading them does not wait.
        readable = None  # type: ignore[assignment]
    try:
        while True:
            if readable is not None:
                readable.clear()
                await readable.wait()
            data = os.read(descriptor, _READ_BYTES)
            yield data
            if not data:
                return
    finally:
        if readable is not None:
            loop.remove_reader(descriptor)
