"""Who is asking: tokens of the settings and keys of the store, by header or query."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping

from server.accounts import Accounts
from server.errors import ErrorCode, SpeechError
from server.keys import digest_of

ANONYMOUS = "anonymous"


class Authenticator:
    """Knows the tokens and keys that are allowed in; while there are none, everybody is.

    Args:
        tokens: the allowed tokens.
        accounts: the keys that are allowed in besides.
    """

    def __init__(self, tokens: Iterable[str], accounts: Accounts | None = None) -> None:
        self._digests = [digest_of(token) for token in dict.fromkeys(tokens)]
        self._accounts = accounts

    @property
    def required(self) -> bool:
        """A token or a key is needed."""
        return bool(self._digests) or (self._accounts is not None and self._accounts.required)

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
        # All are looked at, so that the time does not tell which one came close.
        tenants = [self._tenant(digest_of(token)) for token in offered]
        known = [tenant for tenant in tenants if tenant]
        if not known:
            raise SpeechError(ErrorCode.TOKEN_INVALID, "The token '***' is invalid!")
        return known[0]

    def _tenant(self, digest: bytes) -> str:
        matches = [known for known in self._digests if hmac.compare_digest(known, digest)]
        if matches:
            return "token-" + digest.hex()[:8]
        return (self._accounts.find(digest) or "") if self._accounts is not None else ""

    # --- What may be asked for without a token, because we gave it away ------------------------

    def sign(self, subject: str) -> str:
        """A signature that stands for a token, for this subject only.

        It is the same for all servers with these tokens and this key store.
        """
        return hmac.new(self._signing_key(), subject.encode(), hashlib.sha256).hexdigest()[:32]

    def signed(self, subject: str, signature: str) -> bool:
        """Whether `sign` made this signature."""
        return hmac.compare_digest(self.sign(subject).encode(), signature.encode())

    def _signing_key(self) -> bytes:
        secret = self._accounts.secret if self._accounts is not None else b""
        return hashlib.sha256(b"".join([b"sign", secret, *sorted(self._digests)])).digest()


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
