"""The body of a request, within its bounds."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from server import limits
from server.errors import ErrorCode, SpeechError


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        SpeechError: TEXT_TOO_LONG, or IDLE_TIMEOUT if it does not come in time.
        ClientDisconnect: the client went away.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(limits.BODY_TIMEOUT_S):
            async for part in request.stream():
                body += part
                if len(body) > limits.MAX_MESSAGE_BYTES:
                    raise SpeechError(ErrorCode.TEXT_TOO_LONG, "Request body is too large!")
    except TimeoutError:
        raise SpeechError(
            ErrorCode.IDLE_TIMEOUT,
            f"Request body did not come within {limits.BODY_TIMEOUT_S:g} seconds!",
        ) from None
    return bytes(body)
