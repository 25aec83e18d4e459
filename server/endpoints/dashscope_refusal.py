"""An error as DashScope's clients are told of it over HTTP."""

from __future__ import annotations

from starlette.responses import Response

from server.errors import ErrorCode, SpeechError
from server.protocols import dashscope


def refusal(error: SpeechError, request_id: str) -> Response:
    """The response that goes with an error; also good for a refused WebSocket handshake."""
    headers = {}
    if error.code is ErrorCode.TOKEN_INVALID:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.code is ErrorCode.IDLE_TIMEOUT:
        # The rest of the body may come at any time; nobody waits for it.
        headers["Connection"] = "close"
    body = dashscope.render_failure(error, request_id=request_id)
    return Response(body, dashscope.http_status(error), headers, media_type="application/json")
