"""Where a command's audio goes: a file, standard output, or a player's standard input."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

from server.commands.failure import CommandError, UsageError
from server.commands.player import Player, find_player
from server.commands.wav import WavError, patch_sizes, samples_begin

STANDARD_OUTPUT = Path("-")
DEFAULT_FILE = Path("speech.wav")
_FORMAT_OF_ENDING = {
    ".wav": "wav",
    ".pcm": "pcm",
    ".raw": "pcm",
    ".mp3": "mp3",
    ".opus": "opus",
    ".ogg": "opus",
    ".aac": "aac",
    ".flac": "flac",
}
_HEADER_SEARCH_BYTES = 4096


class AudioOutput(ABC):
    """Takes one task's audio. `finish` or `abort` is called once, whatever happened."""

    label: str
    """For the summary line."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Take more bytes."""

    @abstractmethod
    async def finish(self) -> None:
        """All bytes are there: make the best of them, in the player's own time."""

    @abstractmethod
    async def abort(self) -> None:
        """No more comes and nobody wants to wait: leave what is there in a usable state."""


class FileOutput(AudioOutput):
    """A file, opened with the first audio; a WAV header gets its sizes at the end.

    Args:
        path: overwritten if it exists.
        audio_format: `wav` is patched.
    """

    def __init__(self, path: Path, audio_format: str) -> None:
        if not path.parent.is_dir():
            raise CommandError(f"{path}: the directory {path.parent} does not exist")
        self.label = str(path)
        self.path = path
        self._format = audio_format
        self._file: BinaryIO | None = None

    async def write(self, data: bytes) -> None:
        """Append; local disks are not waited for asynchronously."""
        try:
            if self._file is None:
                self._file = self.path.open("w+b")
            self._file.write(data)
        except OSError as error:
            raise CommandError(f"{self.path}: {error.strerror}") from error

    async def finish(self) -> None:
        """Patch and close."""
        if self._file is None:
            return
        with self._file as file:
            if self._format == "wav":
                file.seek(0)
                try:
                    begin = samples_begin(file.read(_HEADER_SEARCH_BYTES))
                except WavError as error:
                    raise CommandError(f"{self.path}: {error}") from error
                if begin is not None:
                    patch_sizes(file, begin)

    async def abort(self) -> None:
        """What was heard so far is a whole file too."""
        await self.finish()


class StreamOutput(AudioOutput):
    """Standard output, byte for byte as it comes.

    A pipe whose reader is slow, a player for instance, must not stop this process: it has pings to
    answer and a Ctrl-C to obey. A file is written directly, since it is never full for long.
    """

    label = "standard output"

    def __init__(self) -> None:
        self._pipe: asyncio.StreamWriter | None = None
        mode = os.fstat(sys.stdout.fileno()).st_mode
        self._is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)

    async def write(self, data: bytes) -> None:
        """Pass on at once, and wait while the reader has enough."""
        try:
            if not self._is_pipe:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
                return
            if self._pipe is None:
                self._pipe = await _open_pipe()
            self._pipe.write(data)
            await self._pipe.drain()
        except ConnectionError as error:
            # asyncio's word for it; the command line ends quietly on this one.
            raise BrokenPipeError from error
        except OSError as error:
            raise CommandError(f"standard output: {error.strerror}") from error

    async def finish(self) -> None:
        """All has been passed on: `write` waits for it."""

    async def abort(self) -> None:
        """Leave what the reader has not taken."""
        if self._pipe is not None and not self._pipe.is_closing():
            self._pipe.transport.abort()


async def _open_pipe() -> asyncio.StreamWriter:
    """A writer whose `drain` waits until everything has been passed on."""
    loop = asyncio.get_running_loop()
    # The transport closes what it is given, and others still want standard output.
    own = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), own
    )
    transport.set_write_buffer_limits(high=0)
    return asyncio.StreamWriter(transport, protocol, None, loop)


class PlayerOutput(AudioOutput):
    """The loudspeaker, through a player."""

    def __init__(self, player: Player) -> None:
        self.label = player.name
        self._player = player

    async def write(self, data: bytes) -> None:
        """Wait while the player has enough."""
        await self._player.write(data)

    async def finish(self) -> None:
        """Wait until all has been heard."""
        await self._player.finish()

    async def abort(self) -> None:
        """Silence, now."""
        await self._player.kill()


class Outputs:
    """All outputs of one task.

    Args:
        outputs: in the order in which they get the audio.
        audio_format: what to ask the server for.

    Attributes:
        file: the file among them, if there is one.
    """

    def __init__(self, outputs: Sequence[AudioOutput], audio_format: str) -> None:
        self._outputs = outputs
        self.audio_format = audio_format
        self.file = next((o.path for o in outputs if isinstance(o, FileOutput)), None)

    @property
    def label(self) -> str:
        """For the summary line."""
        return ", ".join(output.label for output in self._outputs)

    async def write(self, data: bytes) -> None:
        """Give `data` to each."""
        for output in self._outputs:
            await output.write(data)

    @contextlib.asynccontextmanager
    async def closing(self) -> AsyncIterator[None]:
        """Finish all of them when the block ends well, abort all when it does not."""
        try:
            yield
            for output in self._outputs:
                await output.finish()
        except BaseException:  # raised again; an interruption leaves no half a file, either
            for output in reversed(self._outputs):
                await output.abort()
            raise


def choose_outputs(
    output: Path | None, audio_format: str | None, *, play: bool, rate_hz: int
) -> Outputs:
    """What the options ask for.

    Without `output` and `play`: a player if this machine has one, else `speech.wav`.

    Raises:
        UsageError: the options contradict each other, or a file's ending says no format.
        CommandError: there is no player, or no directory for the file.
    """
    player = find_player() if play or output is None else None
    if play and player is None:
        raise CommandError("no player found (aplay, paplay, ffplay, play, afplay); use -o FILE")
    if output is None and player is None:
        output = DEFAULT_FILE if audio_format in {None, "wav"} else Path(f"speech.{audio_format}")
    chosen = audio_format or (_format_of(output) if output else "pcm")
    outputs: list[AudioOutput] = []
    if output is not None:
        to_stream = output == STANDARD_OUTPUT
        outputs.append(StreamOutput() if to_stream else FileOutput(output, chosen))
    if player is not None:
        if chosen not in {"wav", "pcm"}:
            raise UsageError(f"{chosen} cannot be played directly: use wav or pcm, or -o FILE")
        outputs.append(PlayerOutput(Player(player, rate_hz, wav=chosen == "wav")))
    return Outputs(outputs, chosen)


def _format_of(path: Path) -> str:
    if path == STANDARD_OUTPUT:
        return "wav"
    try:
        return _FORMAT_OF_ENDING[path.suffix.lower()]
    except KeyError:
        endings = " ".join(_FORMAT_OF_ENDING)
        raise UsageError(
            f"{path}: the ending says no format; use --format, or one of {endings}"
        ) from None
