"""An error as OpenAI's clients are told of it: 404 and 405 of their paths, too."""

from __future__ import annotations

from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from server.endpoints.refusal_headers import refusal_headers
from server.errors import ErrorCode, SpeechError
from server.protocols import openai
from server.protocols.openai import ErrorDetail, Failure

_PATHS = ("/v1/audio/", "/v1/models/")
_NOT_FOUND = 404
_METHOD_NOT_ALLOWED = 405
_TRY_AGAIN = (429, 503)
_RETRY_AFTER = "1"
"""The official clients come back twice unless they are told when: an overloaded server would get
three times the load."""
_log = structlog.get_logger(__name__)


def refusal(error: SpeechError, request_id: str) -> Response:
    """The response that goes with an error."""
    status = openai.http_status(error)
    response = failed(status, openai.detail(error), request_id)
    if error.code is ErrorCode.TOKEN_INVALID:
        response.headers["WWW-Authenticate"] = "Bearer"
    response.headers.update(refusal_headers(error))
    if status in _TRY_AGAIN:
        response.headers.setdefault("Retry-After", _RETRY_AFTER)
    if error.code is ErrorCode.QUOTA_EXCEEDED:
        # Trying again is of no use before tomorrow.
        response.headers["x-should-retry"] = "false"
    return response


def broken(request: Request, request_id: str) -> Response:
    """The response to a request that ran into a defect; to be called in its except clause."""
    _log.exception("task broke", task_id=request_id, path=request.url.path)
    return refusal(SpeechError(ErrorCode.INTERNAL, "Internal error!"), request_id)


def failed(status: int, detail: ErrorDetail, request_id: str) -> Response:
    """A response with the error envelope."""
    return Response(
        openai.render(Failure(error=detail)),
        status,
        {openai.REQUEST_ID_HEADER: request_id},
        media_type="application/json",
    )


def unmatched(request: Request, error: Exception) -> Response:
    """What no route answers, for `Starlette(exception_handlers={HTTPException: ...})`.

    Paths of other protocols get Starlette's own answer.
    """
    if not isinstance(error, HTTPException):
        raise TypeError(f"{error!r} is for somebody else")
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    if not f"{path}/".startswith(_PATHS):
        return PlainTextResponse(error.detail, error.status_code, headers=error.headers)
    facts: dict[str, Any] = {"message": error.detail, "code": None}
    if error.status_code == _NOT_FOUND:
        url = f"{request.method} {request.url.path}"
        facts = {"message": f"Invalid URL ({url})", "code": openai.UNKNOWN_URL}
    elif error.status_code == _METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"Only {allowed} requests are accepted, not {request.method}!"
        facts = {"message": message, "code": openai.METHOD_NOT_SUPPORTED}
    response = failed(
        error.status_code,
        openai.invalid_request(**facts),
        openai.new_request_id(),
    )
    response.headers.update(error.headers or {})
    return response
