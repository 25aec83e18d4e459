"""How many listeners at once a server speaks to in real time: a search, and what it came to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from server.bench.results import LoadFigures

_RESOLUTION = 16
"""The search ends when the next number is known to be too many, to one part in so many."""
_OPEN_SHARE = 0.8
"""Of the number that held: sessions at once, on average, in the open loop. At random more come."""
_MOST_WITHOUT_REAL_TIME = 4

Loop: TypeAlias = Literal["closed", "open"]


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """When a number of streams counts as held."""

    first_audio_ms: float
    """That 95 of 100 sessions hear something after."""
    prebuffer_ms: float
    """Audio that a player collects before it begins, and then never runs dry."""
    most_streams: int
    """More are not tried."""
    step_s: float
    """New sessions begin within this time, in each step."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One load of the search."""

    streams: int
    """At once; in the open loop on average."""
    loop: Loop
    figures: LoadFigures
    missed: tuple[str, ...] = ()
    """What was not as it should be."""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What the search came to."""

    goal: Goal
    steps: tuple[Step, ...]
    streams: int
    """The largest number that held."""
    streams_without_underruns: int
    """The largest number of which all were heard without a pause, however late they began."""
    real_time: bool
    """One stream alone is computed faster than it is heard. Where it is not, the steps are about
    throughput, and nobody waits until what has come has been heard."""

    @property
    def best(self) -> Step:
        """The step that says most: the largest that held, else the first."""
        held = [step for step in self.steps if step.loop == "closed" and not step.missed]
        return max(held, key=lambda step: step.streams, default=self.steps[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A load that the search asks for."""

    streams: int
    loop: Loop = "closed"
    rate_per_s: float = 0.0
    """Of arrivals in the open loop."""
    real_time: bool = True
    """Sessions last until everything has been heard."""


Try: TypeAlias = Callable[[Trial], Awaitable[LoadFigures]]


@dataclass(slots=True)
class Search:
    """Looks for the largest number of streams that holds.

    Args:
        goal: what holds.
        run: runs a load.
        say: takes lines for people.
    """

    goal: Goal
    run: Try
    say: Callable[[str], None]
    _steps: list[Step] = field(default_factory=list)

    async def find(self) -> Capacity:
        """Double until it is too many, then halve what is between; at last an open loop."""
        first = await self._step(Trial(streams=1))
        if not is_real_time(first.figures):
            return await self._throughput()
        patient = bool(first.missed) and not interrupted(first.figures)
        if patient:
            self.say("one stream alone begins too late: looking for streams without underruns")
        tried = {1: self._held(first, patient=patient)}
        while (number := next_number(tried, self.goal.most_streams)) is not None:
            step = await self._step(Trial(streams=number))
            tried[number] = self._held(step, patient=patient)
        most = max((number for number, held in tried.items() if held), default=0)
        if most:
            await self._open_loop(most)
        return self._found(real_time=True)

    async def _throughput(self) -> Capacity:
        self.say("one stream is slower than real time: measuring throughput instead")
        number = 2
        while number <= min(self.goal.most_streams, _MOST_WITHOUT_REAL_TIME):
            await self._step(Trial(streams=number, real_time=False))
            number *= 2
        return self._found(real_time=False)

    async def _open_loop(self, most: int) -> None:
        """Arrivals that do not wait for anybody, so that a few more or fewer are there at once."""
        closed = next(step for step in self._steps if step.streams == most)
        session_s = closed.figures.session_s.mean
        if session_s:
            streams = max(1, round(most * _OPEN_SHARE))
            rate_per_s = most * _OPEN_SHARE / session_s
            await self._step(Trial(streams=streams, loop="open", rate_per_s=rate_per_s))

    async def _step(self, trial: Trial) -> Step:
        figures = await self.run(trial)
        missed = tuple(misses(figures, self.goal))
        step = Step(streams=trial.streams, loop=trial.loop, figures=figures, missed=missed)
        self._steps.append(step)
        told = "; ".join(missed) or "held"
        if not trial.real_time:
            told = f"{_speech_per_s(figures)} of speech per second"
        loop = "" if trial.loop == "closed" else " on average"
        self.say(f"{trial.streams} at once{loop}: {told}")
        return step

    def _held(self, step: Step, *, patient: bool) -> bool:
        return not (interrupted(step.figures) if patient else step.missed)

    def _found(self, *, real_time: bool) -> Capacity:
        closed = [step for step in self._steps if step.loop == "closed" and real_time]
        whole = [step for step in closed if not interrupted(step.figures)]
        return Capacity(
            goal=self.goal,
            steps=tuple(self._steps),
            streams=max((step.streams for step in closed if not step.missed), default=0),
            streams_without_underruns=max((step.streams for step in whole), default=0),
            real_time=real_time,
        )


def next_number(tried: Mapping[int, bool], most: int) -> int | None:
    """The next number of streams to try; None if it is known well enough.

    Args:
        tried: whether a number held.
        most: more are not tried.
    """
    held = max((number for number, ok in tried.items() if ok), default=0)
    failed = min((number for number, ok in tried.items() if not ok), default=None)
    if failed is None:
        return min(max(1, 2 * held), most) if held < most else None
    if failed - held <= max(1, held // _RESOLUTION):
        return None
    return (held + failed) // 2


def is_real_time(figures: LoadFigures) -> bool:
    """Whether sessions come faster than they are heard; a load without any does not."""
    return bool(figures.real_time_factor.count) and figures.real_time_factor.p50 < 1


def interrupted(figures: LoadFigures) -> bool:
    """Whether anybody heard less than everything, or with a pause."""
    return bool(
        figures.failures or figures.silent or figures.underruns or not figures.first_audio_ms.count
    )


def misses(figures: LoadFigures, goal: Goal) -> Iterator[str]:
    """What of a load was not as it should be."""
    for name, count in sorted(figures.failures.items()):
        yield f"{count} failed ({name})"
    if figures.silent:
        yield f"{figures.silent} without audio"
    if not figures.first_audio_ms.count:
        yield "nobody heard anything"
    if figures.first_audio_ms.p95 > goal.first_audio_ms:
        yield f"first audio p95 {figures.first_audio_ms.p95:.0f} ms"
    if figures.underruns:
        yield f"{figures.underruns} underruns"


def lines(capacity: Capacity) -> Iterator[str]:
    """Markdown: the steps as a table, and what follows from them."""
    yield (
        "| streams | loop | sessions | first audio p50 / p95 | gaps p95 / max | underruns "
        "| RTF p50 | audio per s | CPU | GPU | |"
    )
    yield "|---" * 11 + "|"
    for step in capacity.steps:
        yield f"| {' | '.join(_cells(step, capacity))} |"
    yield ""
    yield _conclusion(capacity)


def _cells(step: Step, capacity: Capacity) -> list[str]:
    f = step.figures
    loop = "closed" if step.loop == "closed" else "open (Poisson)"
    verdict = ("; ".join(step.missed) or "held") if capacity.real_time else ""
    return [
        str(step.streams),
        loop,
        str(f.sessions),
        f"{f.first_audio_ms.p50:.0f} / {f.first_audio_ms.p95:.0f} ms",
        f"{f.chunk_gap_ms.p95:.0f} / {f.chunk_gap_ms.max:.0f} ms",
        str(f.underruns),
        f"{f.real_time_factor.p50:.3f}",
        _speech_per_s(f),
        "-" if f.machine_share is None else f"{f.machine_share:.0%}",
        "-" if f.gpu is None else f"{f.gpu.utilisation:.0%}",
        verdict,
    ]


def _speech_per_s(figures: LoadFigures) -> str:
    return f"{figures.audio_s / figures.wall_s:.2f} s" if figures.wall_s else "-"


def _conclusion(capacity: Capacity) -> str:
    goal, first = capacity.goal, capacity.steps[0].figures
    asked = (
        f"p95 of first audio at most {goal.first_audio_ms:.0f} ms, no underrun at "
        f"{goal.prebuffer_ms:.0f} ms"
    )
    if not capacity.real_time:
        return (
            f"One stream takes {first.real_time_factor.p50:.2f} s for a second of speech here: no "
            "number of streams is in real time. The table is about throughput: sessions follow "
            "each other as soon as all has come."
        )
    if capacity.streams:
        told = f"**{capacity.streams} streams at once** held ({asked})"
        if capacity.streams == goal.most_streams:
            told += f"; more than --most-streams {goal.most_streams} were not tried"
        return f"{told}."
    return (
        f"No number of streams held ({asked}): one alone has {first.first_audio_ms.p95:.0f} ms. "
        f"Without underruns, however late they began: {capacity.streams_without_underruns}."
    )
