"""Whether the client of an HTTP request is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

_Answer = TypeVar("_Answer")


async def unless_gone(request: Request, answer: Coroutine[None, None, _Answer]) -> _Answer:
    """The answer, unless the client leaves before it is there: then its making is cancelled.

    Args:
        request: its body has been read.
        answer: what makes it.

    Raises:
        ClientDisconnect: it has left.
    """
    work = asyncio.create_task(answer)
    leaving = asyncio.create_task(_leaves(request))
    try:
        await asyncio.wait([work, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        work.cancel()
        leaving.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)


async def _leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
