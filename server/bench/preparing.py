"""From options to what every session of a load does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from server.bench.session import Script
from server.bench.text import BUILTIN, tokens
from server.bench.trial import Recording, audio_bytes_per_s, warm_up
from server.client import TaskOptions
from server.commands import voices
from server.commands.bench_options import BenchOptions
from server.commands.failure import CommandError
from server.commands.options import ServerAddress, ServerOptions

_WARM_UP_PATIENCE_S = 600.0
"""For the first sessions: how slow the model is is not known yet."""


async def prepare(options: BenchOptions, address: ServerAddress) -> tuple[Script, Recording]:
    """The script, after a few sessions that warm the server and show what its audio is like.

    Raises:
        CommandError: there is no such text or voice, or the first sessions fail.
    """
    text = read_text(options.text)
    token_wise = options.pieces == "token"
    server = ServerOptions(url=address.http_url, token=options.token)
    sample_rate_hz = options.sample_rate or await asyncio.to_thread(_own_rate, server, options)
    script = Script(
        pieces=tokens(text, options.seed) if token_wise else [text],
        options=TaskOptions(voice=options.voice, format=options.format, sample_rate=sample_rate_hz),
        consume=options.consume,
        audio_bytes_per_s=2.0 * sample_rate_hz,
        tokens_per_s=options.tokens_per_second if token_wise else 0.0,
        prebuffer_s=options.prebuffer_ms / 1000,
        token=options.token,
    )
    recording = await warm_up(address, replace(script, patience_s=_WARM_UP_PATIENCE_S))
    per_s = audio_bytes_per_s(recording.audio, options.format, sample_rate_hz)
    return replace(script, audio_bytes_per_s=per_s), recording


def read_text(source: str) -> str:
    """The text of a file, or the built-in one.

    Raises:
        CommandError: the file cannot be read.
    """
    if source == "builtin":
        return BUILTIN
    try:
        return Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--text {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"--text {source} is not UTF-8") from error


def _own_rate(server: ServerOptions, options: BenchOptions) -> int:
    """The voice's own sample rate in Hz.

    Raises:
        CommandError: the server does not have the voice, or does not say.
    """
    for voice in voices.decode(voices.fetch(server)).voices:
        if options.voice == voice.name or options.voice in voice.aliases:
            if voice.sample_rate:
                return voice.sample_rate
            break
    raise CommandError(f"the server names no rate for voice {options.voice}; use --sample-rate")
