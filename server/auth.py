"""Who is asking: tokens by header or query, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping

from server.errors import ErrorCode, SpeechError

ANONYMOUS = "anonymous"


class Authenticator:
    """Knows the tokens that are allowed in; without any, everybody is.

    Args:
        tokens: the allowed tokens.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = [_digest(token) for token in dict.fromkeys(tokens)]

    @property
    def required(self) -> bool:
        """A token is needed."""
        return bool(self._digests)

    def identify(self, headers: Mapping[str, str], query: Mapping[str, str], *others: str) -> str:
        """The tenant behind a request, a name that may be logged.

        `X-NLS-Token` (all NLS SDKs), `Authorization: Bearer` (any case), `?token=` (browsers
        cannot set headers on WebSockets) and what `others` hold are tried in this order; the
        first right one counts, so that a stale token in one place does not hide it.

        Args:
            headers: decoded as Latin-1, as ASGI frameworks do.
            query: decoded as UTF-8.
            others: tokens from elsewhere, for example from a body.

        Raises:
            SpeechError: TOKEN_INVALID. The message holds nothing of a token, for it is logged.
        """
        if not self.required:
            return ANONYMOUS
        in_headers = [headers.get("x-nls-token", ""), _bearer(headers)]
        elsewhere = [query.get("token", ""), *others]
        offered = [
            *(reading for token in in_headers if token for reading in _readings(token)),
            *(token for token in elsewhere if token),
        ]
        if not offered:
            raise SpeechError(ErrorCode.TOKEN_INVALID, "Missing authorization header!")
        # All are compared with all, so that the time does not tell which one came close.
        digests = [_digest(token) for token in offered]
        matches = [
            known
            for digest in digests
            for known in self._digests
            if hmac.compare_digest(known, digest)
        ]
        if not matches:
            raise SpeechError(ErrorCode.TOKEN_INVALID, "The token '***' is invalid!")
        return "token-" + matches[0].hex()[:8]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _readings(token: str) -> Iterator[str]:
    """A header's value as Latin-1, and as the UTF-8 that most clients send."""
    yield token
    try:
        yield token.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""
