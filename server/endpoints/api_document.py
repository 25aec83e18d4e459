"""`/openapi.json`: what can be asked over HTTP, for programs; `/docs` shows it to people."""

from __future__ import annotations

import asyncio
import functools
import json

from starlette.requests import Request
from starlette.responses import Response

from server.endpoints.services import Services
from server.openapi.document import build
from server.openapi.sections import SECTIONS, SOCKETS

_KEPT = 8
"""A server has one address, or a few; who makes up others does not fill its memory."""


async def openapi(request: Request) -> Response:
    """The document, with examples for the address that it was asked for at."""
    services: Services = request.app.state.services
    # It takes long enough to be heard, if audio had to wait for it.
    body = await asyncio.to_thread(
        _document,
        base_url=str(request.base_url).rstrip("/"),
        root_path=request.scope.get("root_path", ""),
        token=services.authenticator.required,
    )
    # As the page that shows it: the next version has another one.
    return Response(body, headers={"Cache-Control": "no-cache"}, media_type="application/json")


@functools.lru_cache(maxsize=_KEPT)
def _document(*, base_url: str, root_path: str, token: bool) -> bytes:
    document = build(SECTIONS, SOCKETS, base_url=base_url, root_path=root_path, token=token)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
