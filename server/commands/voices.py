"""`cosystream voices`: what a server can speak with, and voices of one's own."""

from __future__ import annotations

import sys
from typing import Annotated, TypeVar

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from server.commands.failure import CommandError
from server.commands.options import ServerOptions
from server.commands.voice_requests import Report, ask, voice_path

VOICES_PATH = "/stream/v1/tts/voices"
_SHOWN_ALIASES = 3
_Answer = TypeVar("_Answer")

app = App(name="voices")
app.command(
    "server.commands.voice_making:add", help="Make a voice from a recording of somebody who agrees."
)
app.command("server.commands.voice_making:preview", help="Hear a voice, or write what it says.")

_Json = Annotated[bool, Parameter(negative=())]


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


class VoiceDetails(VoiceEntry, frozen=True, kw_only=True):
    """What `GET /v1/voices/NAME` answers."""

    id: str = ""
    available: bool = True
    reason: str = ""
    made_with: str = ""
    text: str = ""
    created_at: str = ""
    report: Report | None = None


@app.default
def voices(*, server: ServerOptions | None = None, json: _Json = False) -> None:
    """List the server's voices with their models, languages and aliases.

    Args:
        server: Where the server is.
        json: Print the server's own JSON.
    """
    body = fetch(server or ServerOptions())
    found = decode(body)
    if json:
        _print_json(body)
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


app.command(voices, name="list")


@app.command
def show(name: str, *, server: ServerOptions | None = None, json: _Json = False) -> None:
    """Show all that is known of a voice, a clone's recording included.

    Args:
        name: The voice's name or id, or an alias.
        server: Where the server is.
        json: Print the server's own JSON.
    """
    body = ask(server or ServerOptions(), "GET", voice_path(name))
    voice = _decode(body, VoiceDetails, "no voice")
    if json:
        _print_json(body)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for fact, value in _facts(voice):
        if value:
            table.add_row(fact, value)
    Console(highlight=False).print(table)


@app.command
def remove(name: str, *, server: ServerOptions | None = None) -> None:
    """Delete a cloned voice, its recording included.

    Args:
        name: The voice's name or id.
        server: Where the server is.
    """
    ask(server or ServerOptions(), "DELETE", voice_path(name))
    sys.stderr.write(f"{name} and its recording are deleted\n")


def describe_report(report: Report) -> str:
    """A recording's figures in one line."""
    return (
        f"{report.seconds:.1f} s used of {report.recorded_s:.1f} s, {report.sample_rate_hz} Hz, "
        f"{report.speech_share:.0%} speech, {report.snr_db:.0f} dB above the background, "
        f"peak {report.peak_db:.1f} dB, {report.clipped_share:.2%} distorted"
    )


def _facts(voice: VoiceDetails) -> list[tuple[str, str]]:
    report = voice.report
    return [
        ("voice", voice.name),
        ("id", voice.id if voice.id != voice.name else ""),
        ("kind", voice.kind),
        ("language", voice.language),
        ("gender", voice.gender),
        ("model", voice.model),
        ("made with", voice.made_with if voice.made_with != voice.model else ""),
        ("Hz", str(voice.sample_rate or "")),
        ("description", voice.description),
        ("aliases", ", ".join(voice.aliases)),
        ("unavailable", voice.reason),
        ("made at", voice.created_at),
        ("text", voice.text),
        ("recording", describe_report(report) if report else ""),
        ("advice", " ".join(remark.text for remark in report.remarks) if report else ""),
    ]


def _some(aliases: tuple[str, ...]) -> str:
    shown = ", ".join(aliases[:_SHOWN_ALIASES])
    more = len(aliases) - _SHOWN_ALIASES
    return f"{shown} and {more} more" if more > 0 else shown


def _print_json(body: bytes) -> None:
    sys.stdout.write(msgspec.json.format(body, indent=2).decode() + "\n")


def fetch(server: ServerOptions) -> bytes:
    """The list as the server sends it.

    Raises:
        CommandError: no server, or it refuses.
    """
    return ask(server, "GET", VOICES_PATH)


def decode(body: bytes) -> VoiceList:
    """Read the list.

    Raises:
        CommandError: it is none.
    """
    return _decode(body, VoiceList, "no list of voices")


def _decode(body: bytes, wanted: type[_Answer], otherwise: str) -> _Answer:
    try:
        return msgspec.json.decode(body, type=wanted)
    except msgspec.MsgspecError as error:
        raise CommandError(f"the server's answer is {otherwise}: {error}") from error
