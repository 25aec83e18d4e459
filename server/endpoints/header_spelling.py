"""Names of HTTP headers that go out as they are written, for clients that mind their case.

HTTP does not distinguish `Content-Type` from `content-type`, and ASGI has all names in lower case.
Aliyun's C++ sample looks its reply's headers up in a map, by the spelling of its documents.
"""

from __future__ import annotations

from starlette.responses import Response


class SpelledName(bytes):
    """A header's name that is its own lower case.

    uvicorn's httptools protocol writes `name.lower()` after asking whether that is a header that it
    deals with itself. Those (Content-Length, Transfer-Encoding, Connection) must not be spelled.
    """

    def lower(self) -> bytes:
        """The name as it is."""
        return self


def spell_content_type(response: Response) -> Response:
    """Let a response's `Content-Type` go out in this spelling; nobody finds it by another then."""
    response.raw_headers = [
        (SpelledName(b"Content-Type") if name == b"content-type" else name, value)
        for name, value in response.raw_headers
    ]
    return response
