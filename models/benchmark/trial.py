"""What is measured of a side, whichever it is: the same text alone, and several times at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

Speak = Callable[[int], Iterator[int]]
"""Speaks the text with a seed; yields the samples of each chunk when it is there."""


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """One stream."""

    first_chunk_s: float
    wall_s: float
    audio_s: float
    first_audio_s: float
    """Audio in the first chunk."""


class AtOnce(msgspec.Struct, frozen=True, kw_only=True):
    """Streams that begin together."""

    wall_s: float
    """Until the last one has ended."""
    spoken: list[Spoken]

    @property
    def audio_s(self) -> float:
        """Of all of them."""
        return sum(spoken.audio_s for spoken in self.spoken)

    @property
    def wall_per_audio(self) -> float:
        """Seconds that a second of speech takes, whoever's it is."""
        return self.wall_s / self.audio_s


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a side ran on, as its own process sees it."""

    torch: str
    device: str
    threads: int
    precision: str
    gpu_memory_mib: float | None = None
    """At most, by torch's own account; None on a CPU."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One side's figures."""

    load_s: float
    """Imports included."""
    warm_up_s: float | None
    """By the model's own `warm_up`; None where the first request is the warm-up."""
    one_by_one: list[Spoken]
    at_once: dict[int, AtOnce]
    """By their number."""
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """A side that is loaded."""

    speak: Speak
    sample_rate_hz: int
    warm_up: Callable[[], None] | None
    """None: it has none."""
    close: Callable[[], None]
    facts: Callable[[], Facts]


def run_trial(open_speaker: Callable[[], Speaker], requests: int, streams: Sequence[int]) -> Trial:
    """Load a side and measure it.

    Args:
        open_speaker: loads it.
        requests: one after the other, at first.
        streams: numbers of streams at once, afterwards.
    """
    began_s = time.perf_counter()
    speaker = open_speaker()
    loaded_s = time.perf_counter()
    if speaker.warm_up is not None:
        speaker.warm_up()
    warm_s = time.perf_counter()
    trial = Trial(
        load_s=loaded_s - began_s,
        warm_up_s=None if speaker.warm_up is None else warm_s - loaded_s,
        one_by_one=[_spoken(speaker, seed) for seed in range(requests)],
        at_once={number: _at_once(speaker, number) for number in streams},
        facts=speaker.facts(),
    )
    speaker.close()
    return trial


def _spoken(speaker: Speaker, seed: int) -> Spoken:
    began_s = time.perf_counter()
    chunks = [(samples, time.perf_counter() - began_s) for samples in speaker.speak(seed)]
    return Spoken(
        first_chunk_s=chunks[0][1],
        wall_s=chunks[-1][1],
        audio_s=sum(samples for samples, _ in chunks) / speaker.sample_rate_hz,
        first_audio_s=chunks[0][0] / speaker.sample_rate_hz,
    )


def _at_once(speaker: Speaker, number: int) -> AtOnce:
    spoken: list[Spoken] = []
    threads = [
        threading.Thread(target=lambda seed=seed: spoken.append(_spoken(speaker, seed)))
        for seed in range(number)
    ]
    began_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_s = time.perf_counter() - began_s
    if len(spoken) < number:
        raise RuntimeError("a stream failed")
    return AtOnce(wall_s=wall_s, spoken=spoken)
