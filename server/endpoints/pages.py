"""The browser pages and their files, with headers that let it load nothing from elsewhere."""

from __future__ import annotations

import mimetypes
import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_SERVER = Path(__file__).parent.parent
STATIC = _SERVER / "static" if (_SERVER / "static").is_dir() else _SERVER.parent / "static"
"""The page's files: inside the package when installed, beside it in a checkout."""

_SOURCES = {
    "default-src": "'self'",
    "connect-src": "'self' ws: wss:",
    "media-src": "'self' blob:",
    "img-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'self'",
}
CONTENT_SECURITY_POLICY = "; ".join(f"{kind} {allowed}" for kind, allowed in _SOURCES.items())
"""No inline script, no inline style, no other host but a WebSocket's."""

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # The page's address may carry a token.
    "Referrer-Policy": "no-referrer",
    # Modules of two versions must never meet in one page; an ETag makes asking again cheap.
    "Cache-Control": "no-cache",
}
_BASE = '<base href="./">'

# Browsers refuse modules of any other type, and the system's own table may say otherwise.
mimetypes.add_type("text/javascript", ".js")


def index(_request: Request) -> Response:
    """The page at the root."""
    return _page("./")


def nested_index(_request: Request) -> Response:
    """The page at `/ws/v1/tts/test`, where the seed had its own."""
    return _page("../../../")


def docs(_request: Request) -> Response:
    """The page at `/docs`, which shows `/openapi.json`."""
    return _page("./", "docs.html")


def _page(root: str, name: str = "index.html") -> Response:
    """A page with the way from its address to the root, which holds under any path prefix."""
    html = (STATIC / name).read_text(encoding="utf-8")
    return HTMLResponse(html.replace(_BASE, f'<base href="{root}">', 1), headers=_HEADERS)


class PageFiles(StaticFiles):
    """The files below `static/`, and nothing beside it."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or 304, with the page's headers."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response
