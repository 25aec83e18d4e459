"""Requests to a server's voices, with failures as a command tells them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from server.commands.failure import CommandError
from server.commands.options import ServerOptions

LIBRARY_PATH = "/v1/voices"
_TIMEOUT_S = 10.0


class Remark(msgspec.Struct, frozen=True):
    """What the server says of a recording."""

    text: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How good a recording is, as far as it is shown here."""

    verdict: str
    remarks: tuple[Remark, ...] = ()
    seconds: float
    recorded_s: float
    sample_rate_hz: int
    peak_db: float
    clipped_share: float
    snr_db: float
    speech_share: float


class Refusal(msgspec.Struct, frozen=True):
    """Why the server did not do it."""

    message: str
    report: Report | None = None


class RefusedError(CommandError):
    """The server refuses.

    Args:
        refusal: what it says.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"the server refuses: {refusal.message}")
        self.report = refusal.report


class _ErrorBody(msgspec.Struct, frozen=True):
    error: Refusal


def voice_path(name: str) -> str:
    """Of a voice, by its name or id."""
    return f"{LIBRARY_PATH}/{quote(name, safe='')}"


def ask(
    server: ServerOptions,
    method: str,
    path: str,
    *,
    timeout_s: float = _TIMEOUT_S,
    **parts: Any,  # noqa: ANN401 - httpx's own
) -> bytes:
    """The body of a server's answer.

    Raises:
        RefusedError: it refuses, and says why.
        CommandError: there is no server, it wants a token, or answers otherwise.
    """
    url = server.address.http_url + path
    with explained(url):
        answer = httpx.request(
            method,
            url,
            headers=headers(server),
            timeout=httpx.Timeout(timeout_s, connect=_TIMEOUT_S),
            follow_redirects=True,
            **parts,
        )
    check(answer)
    return answer.content


def headers(server: ServerOptions) -> dict[bytes, bytes]:
    """That say who asks."""
    return {b"X-NLS-Token": server.token.encode()} if server.token else {}


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turns failures of the network into a command's.

    Raises:
        CommandError: no server, or it broke off.
    """
    try:
        yield
    except httpx.ReadTimeout as error:
        raise CommandError(f"no answer from {url} in time") from error
    except httpx.RemoteProtocolError as error:
        raise CommandError(f"{url} broke off: {error}") from error
    except httpx.HTTPError as error:
        raise CommandError(
            f"no answer from {url}: {error}; is the server running? "
            "Start it with `cosystream serve`, or use --url"
        ) from error


def check(answer: httpx.Response) -> None:
    """Look at the status of an answer whose body has been read.

    Raises:
        RefusedError: the server refuses, and says why.
        CommandError: it wants a token, or answers otherwise.
    """
    url = str(answer.url).partition("?")[0]
    if answer.status_code in {401, 403}:
        raise CommandError(f"{url} wants a token: give one with --token or COSYSTREAM_TOKEN")
    if answer.is_success:
        return
    try:
        refusal = msgspec.json.decode(answer.content, type=_ErrorBody).error
    except msgspec.MsgspecError:
        raise CommandError(f"{url} answered HTTP {answer.status_code}") from None
    raise RefusedError(refusal)
