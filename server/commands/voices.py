"""`cosystream voices`: what a server can speak with."""

from __future__ import annotations

import sys
from typing import Annotated

import httpx
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from server.commands.failure import CommandError
from server.commands.options import ServerOptions

VOICES_PATH = "/stream/v1/tts/voices"
_TIMEOUT_S = 10.0
_SHOWN_ALIASES = 3


class VoiceEntry(msgspec.Struct, frozen=True):
    """One voice of the list."""

    name: str
    model: str = ""
    language: str = ""
    gender: str = ""
    kind: str = ""
    description: str = ""
    sample_rate: int = 0
    """Hz, the model's own."""
    aliases: tuple[str, ...] = ()


class VoiceList(msgspec.Struct, frozen=True):
    """What `GET /stream/v1/tts/voices` answers, as far as it is used here."""

    voices: tuple[VoiceEntry, ...]


def voices(
    *,
    server: ServerOptions | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """List the server's voices with their models, languages and aliases.

    Args:
        server: Where the server is.
        json: Print the server's own JSON.
    """
    body = fetch(server or ServerOptions())
    found = decode(body)
    if json:
        sys.stdout.write(msgspec.json.format(body, indent=2).decode() + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("voice", "language", "gender", "model", "Hz", "kind", "aliases"):
        table.add_column(column, overflow="fold")
    for voice in found.voices:
        table.add_row(
            voice.name,
            voice.language,
            voice.gender,
            voice.model,
            str(voice.sample_rate or ""),
            voice.kind,
            _some(voice.aliases),
        )
    Console().print(table)


def _some(aliases: tuple[str, ...]) -> str:
    shown = ", ".join(aliases[:_SHOWN_ALIASES])
    more = len(aliases) - _SHOWN_ALIASES
    return f"{shown} and {more} more" if more > 0 else shown


def fetch(server: ServerOptions) -> bytes:
    """The list as the server sends it.

    Raises:
        CommandError: no server, or it refuses.
    """
    url = server.address.http_url + VOICES_PATH
    headers = {"X-NLS-Token": server.token} if server.token else {}
    try:
        answer = httpx.get(url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True)
    except httpx.HTTPError as error:
        raise CommandError(
            f"no answer from {url}: {error}; is the server running? "
            "Start it with `cosystream serve`, or use --url"
        ) from error
    if answer.status_code in {401, 403}:
        raise CommandError(f"{url} wants a token: give one with --token or COSYSTREAM_TOKEN")
    if answer.status_code != httpx.codes.OK:
        raise CommandError(f"{url} answered HTTP {answer.status_code}")
    return answer.content


def decode(body: bytes) -> VoiceList:
    """Read the list.

    Raises:
        CommandError: it is none.
    """
    try:
        return msgspec.json.decode(body, type=VoiceList)
    except msgspec.MsgspecError as error:
        raise CommandError(f"the server's answer is no list of voices: {error}") from error
