"""`cosystream say`: speak a text, or standard input while it arrives."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from server.client import ClientError
from server.commands import subtitle_file
from server.commands.audio_output import Outputs, choose_outputs
from server.commands.failure import UsageError
from server.commands.options import AudioFormatName, ServerOptions, VoiceOptions
from server.commands.speaking import Tally, explain, open_task, report, speak
from server.commands.standard_input import read_pieces

OutputFile = Annotated[Path | None, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)]
Play = Annotated[bool, Parameter(negative=())]


def say(
    text: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    voice: VoiceOptions | None = None,
    server: ServerOptions | None = None,
    format: AudioFormatName | None = None,  # noqa: A002 - the option's name
    output: OutputFile = None,
    subtitles: Path | None = None,
    play: Play = False,
) -> None:
    """Speak a text over the server's streaming protocol.

    Without -o and --play, a player that is found plays it; else it goes to speech.wav.

    Args:
        text: What to say; `-` speaks standard input while it arrives.
        voice: How it shall sound.
        server: Where the server is.
        format: Audio format; by default what the file's ending says.
        output: File to write, `-` for standard output.
        subtitles: File for subtitles, .srt or .vtt.
        play: Play it, also when it is written to a file.
    """
    if text.startswith("--"):
        raise UsageError(f"unknown option {text}")
    voice, server = voice or VoiceOptions(), server or ServerOptions()
    if subtitles is not None:
        subtitle_file.check_ending(subtitles)
    outputs = choose_outputs(output, format, play=play, rate_hz=voice.rate)
    pieces = read_pieces(sys.stdin.fileno()) if text == "-" else _once(text)
    asyncio.run(_say(pieces, voice, server, outputs, subtitles))


async def _say(
    pieces: AsyncIterator[str],
    voice: VoiceOptions,
    server: ServerOptions,
    outputs: Outputs,
    subtitles: Path | None,
) -> None:
    address = server.address
    options = voice.task_options(outputs.audio_format, subtitles=subtitles is not None)
    tally = Tally(outputs.audio_format, voice.rate)
    try:
        # On Ctrl-C the outputs are left first: silence does not wait for the network.
        async with await open_task(address, server.token, options) as client, outputs.closing():
            await speak(client, pieces, outputs, tally)
    except ClientError as error:
        raise explain(error, address) from error
    finally:
        if subtitles is not None and tally.cues:
            subtitle_file.write(subtitles, tally.cues)
    report(tally, outputs)


async def _once(text: str) -> AsyncIterator[str]:
    yield text
