"""The body of a request, within its bounds."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from server import limits
from server.errors import ErrorCode, SpeechError


async def read_body(
    request: Request,
    *,
    max_bytes: int = limits.MAX_MESSAGE_BYTES,
    timeout_s: float = limits.BODY_TIMEOUT_S,
) -> bytes:
    """The whole body.

    Raises:
        SpeechError: TEXT_TOO_LONG, or IDLE_TIMEOUT if it does not come in time.
        ClientDisconnect: the client went away.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise SpeechError(ErrorCode.TEXT_TOO_LONG, "Request body is too large!")
    except TimeoutError:
        raise SpeechError(
            ErrorCode.IDLE_TIMEOUT,
            f"Request body did not come within {timeout_s:g} seconds!",
        ) from None
    return bytes(body)
