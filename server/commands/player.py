"""Programs that play sound from their standard input."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

from server.commands.failure import CommandError
from server.commands.wav import HeaderSplitter, WavError

_STREAMING_PLAYERS = {
    "aplay": "-q -t raw -f S16_LE -c 1 -r {rate} -",
    "paplay": "--raw --format=s16le --channels=1 --rate={rate}",
    "ffplay": "-nodisp -autoexit -loglevel error -f s16le -sample_rate {rate} -i -",
    "play": "-q -t raw -e signed-integer -b 16 -c 1 -r {rate} -",
}
_FILE_PLAYERS = ("afplay",)
"""These read no standard input: they are given a file when all of it is there."""


@dataclass(frozen=True, slots=True)
class PlayerProgram:
    """A player that is installed."""

    name: str
    path: str


def find_player() -> PlayerProgram | None:
    """The best player on this machine: those that can start before the end come first."""
    for name in (*_STREAMING_PLAYERS, *_FILE_PLAYERS):
        path = shutil.which(name)
        if path is not None:
            return PlayerProgram(name, path)
    return None


class Player:
    """Plays one stream of mono 16 bit samples.

    Args:
        program: what to run; it starts with the first audio.
        rate_hz: of the samples.
        wav: the stream begins with a WAV header, which players need not see.
    """

    def __init__(self, program: PlayerProgram, rate_hz: int, *, wav: bool) -> None:
        self.name = program.name
        self._program = program
        self._rate_hz = rate_hz
        self._splitter = HeaderSplitter() if wav else None
        self._process: asyncio.subprocess.Process | None = None
        self._collected: bytearray | None = bytearray() if self.name in _FILE_PLAYERS else None

    async def write(self, data: bytes) -> None:
        """Hand on audio; waits while the player has enough.

        Raises:
            CommandError: the player ended, or the stream is no WAV.
        """
        if self._splitter is not None:
            try:
                data = self._splitter.feed(data)
            except WavError as error:
                raise CommandError(str(error)) from error
        if self._collected is not None:
            self._collected += data
            return
        process = self._process
        if process is None:
            arguments = _STREAMING_PLAYERS[self.name].format(rate=self._rate_hz).split()
            process = await self._start(*arguments)
        assert process.stdin is not None  # noqa: S101 - asked for in _start
        try:
            process.stdin.write(data)
            await process.stdin.drain()
        except ConnectionError:
            await self._raise_ended(process)

    async def finish(self) -> None:
        """Wait until everything has been heard.

        Raises:
            CommandError: the player failed.
        """
        if self._collected is not None:
            await self._play_file(bytes(self._collected))
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                process.stdin.close()
                await process.stdin.wait_closed()
        if await process.wait() != 0:
            await self._raise_ended(process)

    async def kill(self) -> None:
        """Silence at once."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            self._program.path,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        return self._process

    async def _play_file(self, samples: bytes) -> None:
        if not samples:
            return
        with tempfile.TemporaryDirectory(prefix="cosystream-") as directory:
            path = Path(directory) / "speech.wav"
            with wave.open(str(path), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(self._rate_hz)
                file.writeframes(samples)
            process = await self._start(str(path))
            if await process.wait() != 0:
                await self._raise_ended(process)

    async def _raise_ended(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None  # noqa: S101 - asked for in _start
        complaint = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
        code = await process.wait()
        reason = complaint[-1] if complaint else f"exit code {code}"
        raise CommandError(f"{self.name} cannot play: {reason}; write a file with -o instead")
