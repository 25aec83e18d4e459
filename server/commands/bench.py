"""`cosystream bench`: a server under load, over real WebSockets, from this process."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import uvloop

from server.bench import gpu
from server.bench.against import measure_against
from server.bench.capacity import Goal
from server.bench.conditions import load_conditions, machine_conditions
from server.bench.hosting import START_TIMEOUT_S, Hosting, find_hosting
from server.bench.load import LoadShape
from server.bench.loads import Loads
from server.bench.machine import describe_machine
from server.bench.preparing import prepare, read_text
from server.bench.process import READY_TIMEOUT_S, MeasuredProcess
from server.bench.report import Report, print_report, warnings
from server.bench.results import ratio
from server.bench.session import Script
from server.bench.trial import warm_up
from server.commands.bench_options import BenchOptions, CapacityOptions, ModelOptions
from server.commands.failure import CommandError
from server.commands.options import ServerAddress

_PLENTY = {
    "COSYSTREAM_MAX_SESSIONS": "100000",
    "COSYSTREAM_MAX_CONNECTIONS": "100000",
    "COSYSTREAM_MAX_QUEUED_SEGMENTS": "100000",
}
"""The load shall meet the server, not its limits; what the environment sets stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """All options."""

    load: BenchOptions
    model: ModelOptions
    capacity: CapacityOptions

    @property
    def shape(self) -> LoadShape:
        """Of the load, unless a capacity is looked for."""
        return LoadShape(
            rate_per_s=self.load.rate,
            sessions=self.load.sessions,
            duration_s=self.load.seconds,
            ramp_s=0.0 if self.load.rate else self.load.ramp_seconds,
            seed=self.load.seed,
        )

    @property
    def goal(self) -> Goal:
        """Of the search for a capacity."""
        return Goal(
            first_audio_ms=self.capacity.target_first_ms,
            prebuffer_ms=self.load.prebuffer_ms,
            most_streams=self.capacity.most_streams,
            step_s=self.capacity.step_seconds,
        )

    @property
    def loop(self) -> str:
        """In words."""
        if self.capacity.capacity:
            return "closed, sessions begin at random, then one after the other; at last open"
        if self.load.rate:
            return f"open, {self.load.rate:g} arrivals per second (Poisson)"
        return f"closed, {self.load.sessions} at once, one after the other"


def bench(
    options: BenchOptions | None = None,
    model: ModelOptions | None = None,
    capacity: CapacityOptions | None = None,
) -> int:
    """Load a server over real WebSockets and report latency, gaps, underruns, CPU and memory.

    Args:
        options: what to load, and how much.
        model: what the server hosts.
        capacity: how many at once to look for.

    Returns:
        The exit code: 1 if no session completed, or something is held when all have gone.
    """
    model, capacity = model or ModelOptions(), capacity or CapacityOptions()
    options = (options or BenchOptions()).checked(model, capacity)
    asked = _Asked(load=options, model=model, capacity=capacity)
    slots = capacity.most_streams if capacity.capacity else None
    hosting = find_hosting(model, slots=slots, say=_say)
    report = uvloop.run(_bench(asked, hosting))
    if hosting is not None and model.against is not None:
        # The server has ended: each side has the machine to itself.
        _say("the official package's own streams, and ours")
        found = measure_against(
            hosting,
            read_text(options.text),
            options.voice,
            model.streams,
            check_tokens=model.check_tokens,
        )
        report = msgspec.structs.replace(report, against=found)
    print_report(report, describe_machine())
    if options.json is not None:
        _write(options.json, report)
    return 1 if not report.server.completed or report.leaks else 0


async def _bench(asked: _Asked, hosting: Hosting | None) -> Report:
    options, machine = asked.load, describe_machine()
    conditions = dict(machine_conditions(machine, await gpu.look()))
    async with AsyncExitStack() as stack:
        process = None
        if not options.url:
            _say("starting a server")
            process = await stack.enter_async_context(_own_server(options, hosting))
        address = ServerAddress.parse(process.url if process else options.url)
        began_s = time.perf_counter()
        script, recording = await prepare(options, address)
        warm_up_s = time.perf_counter() - began_s
        _say(f"load on {address.websocket_url}")
        loads = Loads(
            address=address,
            script=script,
            recording=recording,
            process=process,
            cores=machine.cores,
            seed=options.seed,
        )
        capacity = await loads.capacity(asked.goal, _say) if asked.capacity.capacity else None
        server = await loads.run(asked.shape) if capacity is None else capacity.best.figures
        churned = None
        if options.churn_seconds and process is not None:
            _say(f"churn for {options.churn_seconds:.0f} s")
            long = replace(asked.shape, duration_s=options.churn_seconds)
            if capacity is not None:
                long = replace(long, sessions=max(1, capacity.streams))
            churned = await loads.churn(long, process)
    conditions |= dict(hosting.conditions() if hosting else ())
    conditions |= dict(
        load_conditions(
            script,
            server,
            loop=asked.loop,
            ready_s=process.ready_s if process else None,
            warm_up_s=warm_up_s,
        )
    )
    report = Report(
        machine=msgspec.to_builtins(machine),
        load=_described(asked, script),
        conditions=conditions,
        server=server,
        capacity=capacity,
        churn=churned,
    )
    report = msgspec.structs.replace(report, warnings=tuple(warnings(server, report.leaks)))
    return await _with_floor(report, loads, asked.shape) if options.floor else report


async def _with_floor(report: Report, loads: Loads, shape: LoadShape) -> Report:
    """Add the same load on the floor, which repeats what was recorded of the server."""
    with tempfile.TemporaryDirectory(prefix="cosystream-bench-") as folder:
        path = Path(folder) / "trace.json"
        path.write_bytes(msgspec.json.encode(loads.recording.trace()))
        arguments = ["server.bench.floor", str(path), "{port}"]
        async with MeasuredProcess(arguments, "/healthz") as process:
            address = ServerAddress.parse(process.url)
            await warm_up(address, loads.script)
            _say("the same load on the floor")
            floor = await replace(loads, address=address, process=process).run(shape)
    return msgspec.structs.replace(
        report,
        floor=floor,
        ratio=ratio(report.server, floor),
        warnings=(*report.warnings, *warnings(floor, name="floor")),
    )


def _own_server(options: BenchOptions, hosting: Hosting | None) -> MeasuredProcess:
    arguments = ["server", "serve", "--host", "127.0.0.1", "--port", "{port}"]
    return MeasuredProcess(
        [*arguments, *shlex.split(options.serve_args)],
        "/readyz",
        {**_PLENTY, **os.environ, **(hosting.environment if hosting else {})},
        ready_timeout_s=START_TIMEOUT_S if hosting else READY_TIMEOUT_S,
    )


def _described(asked: _Asked, script: Script) -> dict[str, object]:
    """The options that say what was measured, for the report."""
    described = asdict(asked.load)
    for secret_or_place in ("token", "json"):
        described.pop(secret_or_place)
    described["sample_rate"] = script.options.sample_rate
    if asked.capacity.capacity:
        described |= asdict(asked.capacity)
    if asked.model.model != "embedded":
        described |= msgspec.to_builtins(asdict(asked.model), enc_hook=str)
    return described


def _write(path: Path, report: Report) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def _say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
