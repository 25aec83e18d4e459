"""`cosystream bench`: a server under load, over real WebSockets, from this process."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import uvloop
from cyclopts import Parameter
from cyclopts.validators import Number

from server.bench.load import LoadShape
from server.bench.machine import Machine, describe_machine
from server.bench.process import MeasuredProcess
from server.bench.report import print_report, warnings
from server.bench.results import Report, ratio
from server.bench.session import Consume, Script
from server.bench.text import BUILTIN, tokens
from server.bench.trial import Recording, audio_bytes_per_s, churn, measure, warm_up
from server.client import TaskOptions
from server.commands import voices
from server.commands.failure import CommandError, UsageError
from server.commands.options import AudioFormatName, ServerAddress, ServerOptions

_PLENTY = {
    "COSYSTREAM_MAX_SESSIONS": "100000",
    "COSYSTREAM_MAX_CONNECTIONS": "100000",
    "COSYSTREAM_MAX_QUEUED_SEGMENTS": "100000",
}
"""The load shall meet the server, not its limits; what the environment sets stays."""

_Positive = Parameter(validator=Number(gt=0))
_NotNegative = Parameter(validator=Number(gte=0))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What to load, and how much."""

    rate: Annotated[float, _NotNegative] = 0.0
    """Open loop: arrivals per second, at random (Poisson)."""
    sessions: Annotated[int, _NotNegative] = 0
    """Closed loop: sessions at once (1, unless --rate is given)."""
    seconds: Annotated[float, _Positive] = 20.0
    """New sessions begin within this time."""
    ramp_seconds: Annotated[float, _NotNegative] = 5.0
    """Closed loop: the first sessions begin spread over this time."""
    text: str = "builtin"
    """A UTF-8 file, or `builtin`: about 6 s of Chinese speech."""
    voice: str = "中文女"
    """Voice or alias."""
    format: AudioFormatName = "pcm"
    """Audio format."""
    sample_rate: Annotated[int, _NotNegative] = 0
    """Hz; 0 takes the voice's own."""
    consume: Consume = "realtime"
    """realtime: read at once, stay until it has been heard. fast: leave when all is there. paced:
    read only one second ahead of what is heard."""
    prebuffer_ms: Annotated[float, _NotNegative] = 200.0
    """Audio that the player collects before it begins."""
    pieces: Literal["whole", "token"] = "whole"
    """Send the text whole, or in an LLM's tokens."""
    tokens_per_second: Annotated[float, _Positive] = 30.0
    """Speed of --pieces token."""
    churn_seconds: Annotated[float, _NotNegative] = 0.0
    """Afterwards, let sessions come and go for this time and watch the memory."""
    floor: Annotated[bool, Parameter(negative=())] = False
    """Run the same load against a bare WebSocket server and compare."""
    url: str = ""
    """Load this server instead of starting one; CPU and memory are then not measured."""
    token: Annotated[str, Parameter(env_var="COSYSTREAM_TOKEN", show_default=False)] = ""
    """What that server lets you in for."""
    serve_args: Annotated[str, Parameter(allow_leading_hyphen=True)] = ""
    """Arguments for the server that is started, for example "--model NAME=KIND"."""
    seed: int = 1
    """Of arrivals and tokens."""
    json: Path | None = None
    """File for all figures."""


def bench(options: BenchOptions | None = None) -> int:
    """Load a server over real WebSockets and report latency, gaps, underruns, CPU and memory.

    Args:
        options: what to load, and how much.

    Returns:
        The exit code: 1 if no session completed.
    """
    options = _checked(options or BenchOptions())
    report = uvloop.run(_bench(options))
    print_report(report, describe_machine())
    if options.json is not None:
        try:
            options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
        except OSError as error:
            raise CommandError(f"{options.json}: {error.strerror}") from error
    return 0 if report.server.completed else 1


def _checked(options: BenchOptions) -> BenchOptions:
    if options.rate and options.sessions:
        raise UsageError("--rate and --sessions exclude each other")
    if options.url and (options.serve_args or options.churn_seconds):
        raise UsageError("--serve-args and --churn-seconds need a server that bench starts itself")
    if not options.rate and not options.sessions:
        return replace(options, sessions=1, ramp_seconds=0.0)
    return options


async def _bench(options: BenchOptions) -> Report:
    machine = describe_machine()
    shape = LoadShape(
        rate_per_s=options.rate,
        sessions=options.sessions,
        duration_s=options.seconds,
        ramp_s=0.0 if options.rate else options.ramp_seconds,
        seed=options.seed,
    )
    async with AsyncExitStack() as stack:
        process = None
        if not options.url:
            _say("starting a server")
            process = await stack.enter_async_context(_own_server(options))
        address = ServerAddress.parse(process.url if process else options.url)
        script, recording = await _prepare(options, address)
        _say(f"load on {address.websocket_url}")
        server = await measure(address, script, shape, process, machine.cores)
        churned = None
        if options.churn_seconds and process is not None:
            _say(f"churn for {options.churn_seconds:.0f} s")
            long = replace(shape, duration_s=options.churn_seconds)
            churned = await churn(address, script, long, process)
    report = Report(
        machine=msgspec.to_builtins(machine),
        load=_described(options, script),
        server=server,
        churn=churned,
        warnings=tuple(warnings(server)),
    )
    if not options.floor:
        return report
    return await _with_floor(report, recording, script, shape, machine)


async def _with_floor(
    report: Report, recording: Recording, script: Script, shape: LoadShape, machine: Machine
) -> Report:
    """Add the same load on the floor, which repeats what was recorded of the server."""
    with tempfile.TemporaryDirectory(prefix="cosystream-bench-") as folder:
        path = Path(folder) / "trace.json"
        path.write_bytes(msgspec.json.encode(recording.trace()))
        arguments = ["server.bench.floor", str(path), "{port}"]
        async with MeasuredProcess(arguments, "/healthz") as process:
            address = ServerAddress.parse(process.url)
            await warm_up(address, script)
            _say("the same load on the floor")
            floor = await measure(address, script, shape, process, machine.cores)
    return msgspec.structs.replace(
        report,
        floor=floor,
        ratio=ratio(report.server, floor),
        warnings=(*report.warnings, *warnings(floor, name="floor")),
    )


def _own_server(options: BenchOptions) -> MeasuredProcess:
    arguments = ["server", "serve", "--host", "127.0.0.1", "--port", "{port}"]
    return MeasuredProcess(
        [*arguments, *shlex.split(options.serve_args)], "/readyz", {**_PLENTY, **os.environ}
    )


async def _prepare(options: BenchOptions, address: ServerAddress) -> tuple[Script, Recording]:
    """The script, after a few sessions that warm the server and show what its audio is like."""
    text = _text(options.text)
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
    recording = await warm_up(address, script)
    per_s = audio_bytes_per_s(recording.audio, options.format, sample_rate_hz)
    return replace(script, audio_bytes_per_s=per_s), recording


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


def _text(source: str) -> str:
    if source == "builtin":
        return BUILTIN
    try:
        return Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--text {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"--text {source} is not UTF-8") from error


def _described(options: BenchOptions, script: Script) -> dict[str, object]:
    """The options that say what was measured, for the report."""
    described = asdict(options)
    for secret_or_place in ("token", "json"):
        described.pop(secret_or_place)
    described["sample_rate"] = script.options.sample_rate
    return described


def _say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
