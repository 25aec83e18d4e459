"""`/openapi.json`: what can be asked over HTTP, for programs; `/docs` shows it to people."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.endpoints.services import Services
from server.openapi.document import build
from server.openapi.sections import SECTIONS, SOCKETS


def openapi(request: Request) -> Response:
    """The document, with examples for the address that it was asked for at."""
    services: Services = request.app.state.services
    return JSONResponse(
        build(
            SECTIONS,
            SOCKETS,
            base_url=str(request.base_url).rstrip("/"),
            root_path=request.scope.get("root_path", ""),
            token=services.authenticator.required,
        ),
        # As the page that shows it: the next version has another one.
        headers={"Cache-Control": "no-cache"},
    )
