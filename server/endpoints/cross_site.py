"""Requests that a browser sends for a page of another site."""

from __future__ import annotations

from starlette.requests import Request

from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError


def check_site(request: Request, services: Services) -> None:
    """A browser sends forms, and text, for any page; one of another site shall not change voices.

    Raises:
        SpeechError: TOKEN_INVALID.
    """
    allowed = {"*", request.headers.get("origin", "")} & set(services.settings.cors_origins)
    if request.headers.get("sec-fetch-site") == "cross-site" and not allowed:
        message = "Pages of other sites may not change voices, unless cors_origins names them!"
        raise SpeechError(ErrorCode.TOKEN_INVALID, message)
