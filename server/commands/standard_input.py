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
    data = b" "
    while data:
        await _until_readable(descriptor)
        data = os.read(descriptor, _READ_BYTES)
        try:
            piece = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise CommandError("standard input is not UTF-8") from error
        if piece:
            yield piece


async def _until_readable(descriptor: int) -> None:
    """Wait for data or the end; no thread, for one that reads a terminal hears no Ctrl-C."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(descriptor, readable.set)
    except PermissionError:
        return  # Regular files cannot be polled, and need not be: reading them does not wait.
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
