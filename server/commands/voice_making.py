"""`cosystream voices add` and `preview`: a recording becomes a voice, and the voice is heard."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
from cyclopts import Parameter

from server import limits
from server.client import Audio
from server.commands.audio_output import Outputs, choose_outputs
from server.commands.failure import CommandError, UsageError
from server.commands.options import AudioFormatName, ServerOptions
from server.commands.say import OutputFile, Play
from server.commands.speaking import Tally, report
from server.commands.voice_requests import (
    LIBRARY_PATH,
    RefusedError,
    Report,
    ask,
    check,
    explained,
    headers,
    voice_path,
)
from server.commands.voices import describe_report

_ADD_TIMEOUT_S = 600.0
"""A model may have to be loaded first."""
_PREVIEW_TIMEOUT_S = 300.0
_PREVIEW_RATE_HZ = 24_000


class AddedVoice(msgspec.Struct, frozen=True):
    """What `POST /v1/voices` answers."""

    name: str
    id: str
    model: str
    language: str
    report: Report


def add(
    name: Annotated[str, Parameter(help="What it shall be called.")],
    audio: Annotated[Path, Parameter(help="The recording: wav, mp3, m4a, aac, ogg, flac or webm.")],
    /,
    *,
    text: Annotated[
        str,
        Parameter(
            show_default=False,
            help="What is said in the recording, word for word; a server whose recogniser takes"
            " dictation writes it down if it is left out.",
        ),
    ] = "",
    model: Annotated[
        str, Parameter(show_default=False, help="Which model clones; the first that can.")
    ] = "",
    language: Annotated[
        str, Parameter(show_default=False, help="Such as zh or en-US; by default the text's.")
    ] = "",
    server: ServerOptions | None = None,
) -> None:
    """Make a voice from a recording of 3 to 30 seconds. Ask whose voice it is, first."""
    data = _read(audio)
    fields = {"name": name, "text": text, "model": model, "language": language}
    parts: list[tuple[str, Any]] = [(field, (None, value)) for field, value in fields.items()]
    parts.append(("audio", (audio.name, data, "application/octet-stream")))
    try:
        body = ask(
            server or ServerOptions(), "POST", LIBRARY_PATH, timeout_s=_ADD_TIMEOUT_S, files=parts
        )
    except RefusedError as error:
        if error.report is not None:
            _tell(error.report)
        raise
    try:
        voice = msgspec.json.decode(body, type=AddedVoice)
    except msgspec.MsgspecError as error:
        raise CommandError(f"the server's answer is no voice: {error}") from error
    _tell(voice.report)
    for remark in voice.report.remarks:
        sys.stderr.write(f"advice: {remark.text}\n")
    facts = f"{voice.id}, {voice.language}, model {voice.model}"
    sys.stdout.write(f"{voice.name} is ready ({facts})\n")


def preview(
    name: str,
    /,
    *,
    text: Annotated[str, Parameter(show_default=False)] = "",
    server: ServerOptions | None = None,
    format: AudioFormatName | None = None,  # noqa: A002 - the option's name
    output: OutputFile = None,
    play: Play = False,
) -> None:
    """Hear a voice: a sentence in its language.

    Without -o and --play, a player that is found plays it; else it goes to speech.wav.

    Args:
        name: The voice's name or id, or an alias.
        text: What to say instead.
        server: Where the server is.
        format: Audio format; by default what the file's ending says.
        output: File to write, `-` for standard output.
        play: Play it, also when it is written to a file.
    """
    outputs = choose_outputs(output, format, play=play, rate_hz=_PREVIEW_RATE_HZ)
    tally = Tally(outputs.audio_format, _PREVIEW_RATE_HZ)
    asyncio.run(_hear(name, text, server or ServerOptions(), outputs, tally))
    report(tally, outputs)


async def _hear(
    name: str, text: str, server: ServerOptions, outputs: Outputs, tally: Tally
) -> None:
    url = f"{server.address.http_url}{voice_path(name)}/preview"
    query: dict[str, str | int] = {
        "format": outputs.audio_format,
        "sample_rate": _PREVIEW_RATE_HZ,
        **({"text": text} if text else {}),
    }
    tally.note_text(text)
    with explained(url):
        async with (
            httpx.AsyncClient(timeout=_PREVIEW_TIMEOUT_S, follow_redirects=True) as client,
            client.stream("GET", url, params=query, headers=headers(server)) as answer,
        ):
            if not answer.is_success:
                await answer.aread()
                check(answer)
            async with outputs.closing():
                async for data in answer.aiter_bytes():
                    tally.note(Audio(time.perf_counter(), data))
                    await outputs.write(data)


def _read(path: Path) -> bytes:
    """The recording.

    Raises:
        UsageError: it cannot be read, or is too large to be sent.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limits.MAX_RECORDING_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    if len(data) > limits.MAX_RECORDING_BYTES:
        most = limits.MAX_RECORDING_BYTES >> 20
        raise UsageError(f"{path}: larger than {most} MiB; a recording of 5 to 15 s is best")
    return data


def _tell(found: Report) -> None:
    sys.stderr.write(f"recording: {describe_report(found)}\n")
