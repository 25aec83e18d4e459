"""One task from a command's point of view: text goes in, audio goes out, figures remain."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from server.client import (
    Audio,
    ClientError,
    ConnectError,
    Event,
    FlowingClient,
    SentenceEnd,
    TaskFailed,
    TaskOptions,
)
from server.commands.audio_output import Outputs
from server.commands.failure import CommandError
from server.commands.options import ServerAddress
from server.commands.subtitle_file import Cue, sentence_cue
from server.commands.wav import WavError, samples_begin

_PIECE_CHARACTERS = 5000
"""The protocol allows 20,000 per message, a Han character counting 2."""
_REDRAW_S = 0.1
_TOKEN_INVALID = 40000001
_FORBIDDEN = (401, 403)


@dataclass(slots=True)
class Tally:
    """What has happened in a task so far; times are seconds of `time.perf_counter`."""

    audio_format: str
    rate_hz: int
    text: str = ""
    first_text_s: float | None = None
    first_audio_s: float | None = None
    last_audio_s: float | None = None
    audio_bytes: int = 0
    header_bytes: int = 0
    cues: list[Cue] = field(default_factory=list)

    def note_text(self, piece: str) -> None:
        """A piece is about to be sent."""
        if self.first_text_s is None:
            self.first_text_s = time.perf_counter()
        self.text += piece

    def note(self, event: Event) -> None:
        """The server told something."""
        if isinstance(event, Audio):
            if self.first_audio_s is None:
                self.first_audio_s = event.at_s
                self.header_bytes = self._header_bytes(event.data)
            self.last_audio_s = event.at_s
            self.audio_bytes += len(event.data)
        elif isinstance(event, SentenceEnd):
            cue = sentence_cue(event.items, self.text)
            if cue is not None:
                self.cues.append(cue)

    @property
    def first_audio_after_s(self) -> float | None:
        """First audio after the first text, in seconds."""
        if self.first_audio_s is None or self.first_text_s is None:
            return None
        return self.first_audio_s - self.first_text_s

    @property
    def audio_s(self) -> float | None:
        """Seconds of speech, None for formats whose bytes do not tell."""
        if self.audio_format not in {"pcm", "wav"}:
            return None
        return max(0, self.audio_bytes - self.header_bytes) / (2 * self.rate_hz)

    def real_time_factor(self, audio_s: float | None) -> float | None:
        """Seconds from the first text to the last audio, per second of speech."""
        if not audio_s or self.last_audio_s is None or self.first_text_s is None:
            return None
        return (self.last_audio_s - self.first_text_s) / audio_s

    def _header_bytes(self, data: bytes) -> int:
        if self.audio_format != "wav":
            return 0
        try:
            return samples_begin(data) or 0
        except WavError:
            return 0


class Progress:
    """A line on a terminal that is redrawn as audio comes; nothing elsewhere.

    Args:
        stream: standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shows = stream.isatty()
        self._drawn_s = 0.0

    def show(self, tally: Tally) -> None:
        """Redraw, if the last time is long enough ago."""
        now_s = time.perf_counter()
        if self._shows and now_s - self._drawn_s >= _REDRAW_S:
            self._drawn_s = now_s
            self._stream.write(f"\r\x1b[K{describe(tally, tally.audio_s)}")
            self._stream.flush()

    def clear(self) -> None:
        """Remove the line."""
        if self._shows and self._drawn_s:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def describe(tally: Tally, audio_s: float | None) -> str:
    """The figures of a task in one line.

    Args:
        tally: what happened.
        audio_s: seconds of speech, if they are known.
    """
    after_s, factor = tally.first_audio_after_s, tally.real_time_factor(audio_s)
    size = f"{audio_s:.2f} s of speech" if audio_s is not None else f"{tally.audio_bytes} bytes"
    parts = [f"{size} ({tally.audio_format}, {tally.rate_hz} Hz)"]
    if after_s is not None:
        parts.append(f"first audio after {after_s * 1000:.0f} ms")
    if factor is not None:
        parts.append(f"RTF {factor:.3f}")
    return ", ".join(parts)


async def speak(
    client: FlowingClient, pieces: AsyncIterable[str], outputs: Outputs, tally: Tally
) -> None:
    """Run the started task of `client`: send `pieces`, write what comes back.

    Raises:
        ClientError: the task failed.
        CommandError: an output or the pieces did.
    """
    progress = Progress(sys.stderr)
    try:
        await together(_feed(client, pieces, tally), _hear(client, outputs, tally, progress))
    finally:
        progress.clear()
    # The server need not keep a connection while a player still plays.
    await client.close()


async def _feed(client: FlowingClient, pieces: AsyncIterable[str], tally: Tally) -> None:
    async for piece in pieces:
        for begin in range(0, len(piece), _PIECE_CHARACTERS):
            part = piece[begin : begin + _PIECE_CHARACTERS]
            tally.note_text(part)
            await client.send(part)
    await client.stop()


async def _hear(client: FlowingClient, outputs: Outputs, tally: Tally, progress: Progress) -> None:
    async for event in client:
        tally.note(event)
        if isinstance(event, Audio):
            await outputs.write(event.data)
            progress.show(tally)


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until they end; the first failure ends the others and is raised as it is."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def open_task(address: ServerAddress, token: str, options: TaskOptions) -> FlowingClient:
    """Connect and start a task.

    Raises:
        ClientError: no server, or it refuses.
    """
    client = await FlowingClient.connect(address.websocket_url, token)
    try:
        await client.start(options)
    except BaseException:  # raised again; an interruption leaves no connection open, either
        await client.close()
        raise
    return client


def explain(error: ClientError, address: ServerAddress) -> CommandError:
    """A client's failure with what to do about it."""
    advice = ""
    if isinstance(error, ConnectError):
        if error.status in _FORBIDDEN:
            advice = "; give a token with --token or COSYSTREAM_TOKEN"
        elif error.status is None:
            advice = "; is the server running? Start it with `cosystream serve`, or use --url"
    elif isinstance(error, TaskFailed):
        if error.status == _TOKEN_INVALID:
            advice = "; give a token with --token or COSYSTREAM_TOKEN"
        return CommandError(f"the server at {address.http_url} failed the task: {error}{advice}")
    return CommandError(f"{error}{advice}")


def report(tally: Tally, outputs: Outputs) -> None:
    """Write the summary line to standard error.

    Raises:
        CommandError: there was no audio.
    """
    if not tally.audio_bytes:
        raise CommandError("the server found nothing to speak in the text; nothing was written")
    audio_s = tally.audio_s
    if audio_s is None and outputs.file is not None:
        audio_s = decoded_seconds(outputs.file)
    sys.stderr.write(f"{outputs.label}: {describe(tally, audio_s)}\n")


def decoded_seconds(path: Path) -> float:
    """Seconds of speech in a complete audio file.

    Raises:
        CommandError: it cannot be decoded.
    """
    import av  # noqa: PLC0415 - FFmpeg takes a while to load and is needed here only

    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            samples = sum(frame.samples for frame in container.decode(stream))
            return samples / stream.rate
    except (av.FFmpegError, IndexError) as error:
        raise CommandError(f"{path} was written and cannot be decoded: {error}") from error
