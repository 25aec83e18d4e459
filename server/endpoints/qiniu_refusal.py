"""An error as Qiniu's clients are told of it over HTTP."""

from __future__ import annotations

from starlette.responses import Response

from server.errors import ErrorCode, SpeechError
from server.protocols import qiniu


def refusal(error: SpeechError, reqid: str) -> Response:
    """The response that goes with an error; also good for a refused WebSocket handshake."""
    headers = {qiniu.REQID_HEADER: reqid}
    if error.code is ErrorCode.TOKEN_INVALID:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.code is ErrorCode.IDLE_TIMEOUT:
        # The rest of the body may come at any time; nobody waits for it.
        headers["Connection"] = "close"
    body = qiniu.render_failure(error, reqid=reqid)
    return Response(body, qiniu.http_status(error.code), headers, media_type="application/json")
