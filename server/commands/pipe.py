"""`cosystream pipe`: an LLM's answer, spoken while it is being written."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from typing import Annotated, TextIO

from cyclopts import Parameter

from server.client import ClientError
from server.commands.audio_output import STANDARD_OUTPUT, Outputs, choose_outputs
from server.commands.chat import ChatMessage, chat_tokens
from server.commands.options import AudioFormatName, ServerOptions, VoiceOptions
from server.commands.say import OutputFile, Play
from server.commands.speaking import Tally, explain, open_task, report, speak, together


def pipe(
    prompt: str,
    /,
    *,
    llm_url: str,
    model: str,
    api_key: Annotated[str, Parameter(env_var="OPENAI_API_KEY", show_default=False)] = "",
    system: str = "",
    voice: VoiceOptions | None = None,
    server: ServerOptions | None = None,
    format: AudioFormatName | None = None,  # noqa: A002 - the option's name
    output: OutputFile = None,
    play: Play = False,
) -> None:
    """Ask an LLM with an OpenAI-compatible API and speak its answer while it writes.

    Ctrl-C interrupts: the LLM, the speech and the player stop at once.

    Args:
        prompt: What to ask.
        llm_url: The API, for example http://127.0.0.1:11434/v1.
        model: The LLM's name there.
        api_key: Its key.
        system: A system message, for example how to answer.
        voice: How it shall sound.
        server: Where the server is.
        format: Audio format; by default what the file's ending says.
        output: File to write, `-` for standard output.
        play: Play it, also when it is written to a file.
    """
    voice, server = voice or VoiceOptions(), server or ServerOptions()
    outputs = choose_outputs(output, format, play=play, rate_hz=voice.rate)
    messages = [ChatMessage("system", system)] if system else []
    messages.append(ChatMessage("user", prompt))
    tokens = chat_tokens(llm_url, model=model, messages=messages, api_key=api_key)
    transcript = sys.stderr if output == STANDARD_OUTPUT else sys.stdout
    asyncio.run(_pipe(_Answer(tokens, transcript), voice, server, outputs))


class _Answer:
    """The LLM's answer: printed as it comes, kept until the speech server takes it.

    Args:
        tokens: of the answer.
        transcript: where to print it.
    """

    def __init__(self, tokens: AsyncIterator[str], transcript: TextIO) -> None:
        self.asked_s = self.first_token_s = time.perf_counter()
        self._tokens = tokens
        self._transcript = transcript
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._printed = False

    async def read(self) -> None:
        """Take all tokens.

        Raises:
            CommandError: the LLM failed.
        """
        self.asked_s = time.perf_counter()
        try:
            async for token in self._tokens:
                if not self._printed:
                    self.first_token_s = time.perf_counter()
                self._printed = True
                self._transcript.write(token)
                self._transcript.flush()
                self._queue.put_nowait(token)
        finally:
            if self._printed:
                self._transcript.write("\n")
                self._transcript.flush()
        self._queue.put_nowait("")

    async def pieces(self) -> AsyncIterator[str]:
        """The tokens again, for the speech server; what has piled up comes as one piece."""
        while token := await self._queue.get():
            piece, ended = token, False
            while not self._queue.empty() and not ended:
                more = self._queue.get_nowait()
                piece, ended = piece + more, not more
            yield piece
            if ended:
                return


async def _pipe(
    answer: _Answer, voice: VoiceOptions, server: ServerOptions, outputs: Outputs
) -> None:
    tally = Tally(outputs.audio_format, voice.rate)
    address = server.address

    async def _speak() -> None:
        options = voice.task_options(outputs.audio_format, subtitles=False)
        async with await open_task(address, server.token, options) as client, outputs.closing():
            await speak(client, answer.pieces(), outputs, tally)

    try:
        await together(answer.read(), _speak())
    except ClientError as error:
        raise explain(error, address) from error
    with contextlib.suppress(BrokenPipeError):
        first_token_ms = (answer.first_token_s - answer.asked_s) * 1000
        sys.stderr.write(f"first token after {first_token_ms:.0f} ms\n")
    report(tally, outputs)
