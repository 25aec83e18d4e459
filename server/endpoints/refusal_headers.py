"""What the headers of an HTTP response say of an error, whatever the protocol."""

from __future__ import annotations

from server.errors import ErrorCode, SpeechError


def refusal_headers(error: SpeechError) -> dict[str, str]:
    """When to try again, where that is known, and that no more of the request will be read."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.code is ErrorCode.IDLE_TIMEOUT:
        # The rest of the body may come at any time; nobody waits for it.
        headers["Connection"] = "close"
    return headers
