"""An error as DashScope's clients are told of it over HTTP."""

from __future__ import annotations

from starlette.responses import Response

from server.endpoints.refusal_headers import refusal_headers
from server.errors import ErrorCode, SpeechError
from server.protocols import dashscope


def refusal(error: SpeechError, request_id: str) -> Response:
    """The response that goes with an error; also good for a refused WebSocket handshake."""
    headers = refusal_headers(error)
    if error.code is ErrorCode.TOKEN_INVALID:
        headers["WWW-Authenticate"] = "Bearer"
    body = dashscope.render_failure(error, request_id=request_id)
    return Response(body, dashscope.http_status(error), headers, media_type="application/json")
