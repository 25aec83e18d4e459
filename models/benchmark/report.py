"""Tables of what was measured, and how it stands to what is wanted of the native engine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from models.benchmark.sides import SIDES, Side
from models.benchmark.tokens import TokenCheck
from models.benchmark.trial import AtOnce, Spoken, Trial

_FIRST_CHUNK = 2.0
"""The native engine's first chunk is to be so many times sooner, from the third request on."""
_THROUGHPUT: Mapping[Side, float] = {"native": 1.5, "native-bf16": 2.0}
"""Speech per second with several streams at once, in multiples of the official package's."""
_WARM = 2
"""Requests before those that count."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the native engine, and what it should be."""

    name: str
    side: Side
    value: float
    wanted: float | None = None
    """At least; None where nothing is asked."""

    @property
    def held(self) -> bool | None:
        """Whether it is as wanted."""
        return None if self.wanted is None else self.value >= self.wanted


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one run of the benchmark found; what `--json` prints."""

    text: str
    trials: dict[Side, Trial]
    figures: list[Figure]
    tokens: TokenCheck | None = None
    markdown: list[str] = []
    """The tables."""


def figures(trials: Mapping[Side, Trial]) -> list[Figure]:
    """The native engine beside the official package, and beside itself."""
    found: list[Figure] = []
    official = trials.get("official")
    for side, trial in trials.items():
        if not side.startswith("native"):
            continue
        if official is not None:
            found += _against(official, side, trial)
        if 1 in trial.at_once:
            found += [
                Figure(
                    name=f"{number} streams at once: time, in multiples of one stream's",
                    side=side,
                    value=at_once.wall_s / trial.at_once[1].wall_s,
                )
                for number, at_once in trial.at_once.items()
                if number > 1
            ]
    return found


def _against(official: Trial, side: Side, trial: Trial) -> Iterator[Figure]:
    late = [one.first_chunk_s for one in official.one_by_one[_WARM:]]
    ours = [one.first_chunk_s for one in trial.one_by_one[_WARM:]]
    if late and ours:
        yield Figure(
            name=f"first chunk from request {_WARM + 1} on: sooner than the official package",
            side=side,
            value=statistics.median(late) / statistics.median(ours),
            wanted=_FIRST_CHUNK,
        )
    for number in sorted(set(official.at_once) & set(trial.at_once)):
        yield Figure(
            name=f"{number} at once: speech per second, in multiples of the official package's",
            side=side,
            value=official.at_once[number].wall_per_audio / trial.at_once[number].wall_per_audio,
            wanted=_THROUGHPUT[side] if number > 1 else None,
        )


def table(comparison: Comparison) -> Iterator[str]:
    """Markdown lines."""
    trials = comparison.trials
    yield f"| | {' | '.join(SIDES[side] for side in trials)} |"
    yield "|---" * (len(trials) + 1) + "|"
    for name, value in _rows(list(trials.values())):
        yield f"| {name} | {' | '.join(value(trial) for trial in trials.values())} |"
    if comparison.figures:
        yield ""
        yield "| | | | wanted |"
        yield "|---|---|---|---|"
        for figure in comparison.figures:
            cells = (figure.name, SIDES[figure.side], f"{figure.value:.2f}", _wanted(figure))
            yield f"| {' | '.join(cells)} |"
    if (check := comparison.tokens) is not None:
        yield ""
        yield (
            f"Speech tokens alone and in a batch of {check.sessions}: identical in "
            f"{check.identical} of {check.sessions} sessions ({check.same_tokens} of "
            f"{check.tokens} tokens), with {check.graphs} CUDA graphs. The sampling rule drew a "
            f"second time for {check.redraw_share:.2%} of the tokens; real weights repeat "
            "themselves more often. "
            "The native engine computes both draws always, so its time does not depend on it."
        )


_Row = tuple[str, Callable[[Trial], str]]


def _rows(trials: Sequence[Trial]) -> Iterator[_Row]:
    yield "load", lambda trial: f"{trial.load_s:.1f} s"
    yield "warm-up before the first request", lambda trial: _seconds(trial.warm_up_s)
    yield "torch, threads", lambda trial: f"{trial.facts.torch}, {trial.facts.threads}"
    yield "device", lambda trial: trial.facts.device
    yield "precision", lambda trial: trial.facts.precision
    if any(trial.facts.gpu_memory_mib is not None for trial in trials):
        yield "GPU memory at most", lambda trial: f"{trial.facts.gpu_memory_mib or 0:.0f} MiB"
    yield "speech of a request", _lengths
    for index in range(min(len(trial.one_by_one) for trial in trials)):
        yield f"request {index + 1}: first chunk (its audio)", _first_of(index)
    yield "RTF of these, median", lambda trial: _rtf(trial.one_by_one)
    for number in trials[0].at_once:
        yield from _rows_at_once(number)


def _rows_at_once(number: int) -> Iterator[_Row]:
    if number > 1:
        yield f"{number} at once: first chunk, soonest", _first_at_once(number, 0)
    yield f"{number} at once: first chunk, latest", _first_at_once(number, -1)
    yield f"{number} at once: wall", lambda trial: f"{trial.at_once[number].wall_s:.2f} s"
    yield f"{number} at once: wall per audio", lambda trial: _per_audio(trial.at_once[number])


def _first_of(index: int) -> Callable[[Trial], str]:
    return lambda trial: _first(trial.one_by_one[index])


def _first_at_once(number: int, rank: int) -> Callable[[Trial], str]:
    def value(trial: Trial) -> str:
        by_time = sorted(trial.at_once[number].spoken, key=lambda spoken: spoken.first_chunk_s)
        return _first(by_time[rank])

    return value


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} s"


def _lengths(trial: Trial) -> str:
    spoken = [*trial.one_by_one, *(one for many in trial.at_once.values() for one in many.spoken)]
    shortest, longest = (order(one.audio_s for one in spoken) for order in (min, max))
    return f"{shortest:.2f} s" if shortest == longest else f"{shortest:.2f} to {longest:.2f} s"


def _first(spoken: Spoken) -> str:
    return f"{spoken.first_chunk_s:.3f} s ({spoken.first_audio_s:.2f} s)"


def _rtf(streams: Sequence[Spoken]) -> str:
    return f"{statistics.median(one.wall_s / one.audio_s for one in streams):.3f}"


def _per_audio(at_once: AtOnce) -> str:
    return f"{at_once.wall_per_audio:.3f}"


def _wanted(figure: Figure) -> str:
    if figure.wanted is None:
        return ""
    return f"at least {figure.wanted:.1f}: {'held' if figure.held else 'missed'}"
