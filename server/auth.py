"""Who is asking: tokens by header or query, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from server.errors import ErrorCode, SpeechError

ANONYMOUS = "anonymous"
_SHOWN_CHARACTERS = 4


class Authenticator:
    """Knows the tokens that are allowed in; without any, everybody is.

    Args:
        tokens: the allowed tokens.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = {hashlib.sha256(token.encode()).digest(): token for token in tokens}

    @property
    def required(self) -> bool:
        """A token is needed."""
        return bool(self._digests)

    def identify(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """The tenant behind a request, a name that may be logged.

        `X-NLS-Token` (all NLS SDKs), `Authorization: Bearer` (any case) and `?token=` (browsers
        cannot set headers on WebSockets) are read in this order.

        Raises:
            SpeechError: TOKEN_INVALID.
        """
        if not self.required:
            return ANONYMOUS
        token = headers.get("x-nls-token") or _bearer(headers) or query.get("token") or ""
        if not token:
            raise SpeechError(ErrorCode.TOKEN_INVALID, "Missing authorization header!")
        offered = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        # Every known digest is compared, so that the time does not tell which one came close.
        matches = [known for known in self._digests if hmac.compare_digest(known, offered)]
        if not matches:
            raise SpeechError(ErrorCode.TOKEN_INVALID, f"The token '{mask(token)}' is invalid!")
        return "token-" + matches[0].hex()[:8]


def mask(token: str) -> str:
    """Enough of a token to recognise it, never the whole."""
    shown = token[:_SHOWN_CHARACTERS] if len(token) > 2 * _SHOWN_CHARACTERS else ""
    return "".join(c if c.isprintable() and c != "'" else "?" for c in shown) + "***"


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""
