"""An error as Qiniu's clients are told of it over HTTP."""

from __future__ import annotations

from starlette.responses import Response

from server.endpoints.refusal_headers import refusal_headers
from server.errors import ErrorCode, SpeechError
from server.protocols import qiniu


def refusal(error: SpeechError, reqid: str) -> Response:
    """The response that goes with an error; also good for a refused WebSocket handshake."""
    headers = {qiniu.REQID_HEADER: reqid, **refusal_headers(error)}
    if error.code is ErrorCode.TOKEN_INVALID:
        headers["WWW-Authenticate"] = "Bearer"
    body = qiniu.render_failure(error, reqid=reqid)
    return Response(body, qiniu.http_status(error.code), headers, media_type="application/json")
