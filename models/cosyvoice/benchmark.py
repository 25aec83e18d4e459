"""Our streams against the official package's own `tts(stream=True)`, on the same weights.

    python -m models.cosyvoice.benchmark DIRECTORY [--home CHECKOUT] [--voice NAME] ...

Each side runs in a process of its own, one after the other, with the same threads. A side speaks
the same text so many times one after the other, then so many times at once. The official side is
called as its own classes call it: `CosyVoice*Model.tts`, with its thread and its polling.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import msgspec
import numpy as np

from models.base import SynthesisRequest

Side = Literal["official", "ours"]
Speak = Callable[[], Iterator[int]]
"""Speaks the text; yields the samples of each chunk when it is there."""
_TEXT = "今天天气很好，我们一起去公园散步，看看花，听听鸟叫。"


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """One stream."""

    first_chunk_s: float
    wall_s: float
    audio_s: float
    first_audio_s: float
    """Audio in the first chunk."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One side's figures."""

    load_s: float
    one_by_one: list[Spoken]
    at_once: list[Spoken]


def main() -> None:
    """Run both sides and print the table, or, for a child process, one side."""
    arguments = _arguments()
    if arguments.side:
        print(json.dumps(msgspec.to_builtins(_run(arguments.side, arguments))))
        return
    trials = {side: _run_apart(side) for side in ("official", "ours")}
    for line in _table(trials["official"], trials["ours"]):
        print(line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.cosyvoice.benchmark")
    parser.add_argument("directory", help="a checkpoint, such as scripts/make_checkpoint makes")
    parser.add_argument("--home", help="a checkout of the official package")
    parser.add_argument("--voice", default="中文女")
    parser.add_argument("--text", default=_TEXT)
    parser.add_argument("--requests", type=int, default=3, help="one after the other")
    parser.add_argument("--streams", type=int, default=2, help="at once")
    parser.add_argument("--side", choices=("official", "ours"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_apart(side: Side) -> Trial:
    command = [sys.executable, "-m", "models.cosyvoice.benchmark", *sys.argv[1:], "--side", side]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - ourselves
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Trial)


def _run(side: Side, arguments: argparse.Namespace) -> Trial:
    began_s = time.perf_counter()
    if side == "ours":
        speak, sample_rate_hz = _ours(arguments)
    else:
        speak, sample_rate_hz = _official(arguments)
    load_s = time.perf_counter() - began_s
    one_by_one = [_spoken(speak, sample_rate_hz) for _ in range(arguments.requests)]
    return Trial(
        load_s=load_s,
        one_by_one=one_by_one,
        at_once=_spoken_at_once(speak, sample_rate_hz, arguments.streams),
    )


def _ours(arguments: argparse.Namespace) -> tuple[Speak, int]:
    from models.cosyvoice.model import CosyVoiceModel  # noqa: PLC0415 - torch, in the child only

    model = CosyVoiceModel(
        directory=arguments.directory, home=arguments.home, slots=arguments.streams
    )
    request = SynthesisRequest(voice=arguments.voice, seed=1)

    def speak() -> Iterator[int]:
        for chunk in model.synthesize(request, arguments.text):
            yield len(chunk.samples)

    return speak, model.sample_rate_hz


def _official(arguments: argparse.Namespace) -> tuple[Speak, int]:
    import torch  # noqa: PLC0415

    from models.cosyvoice.checkpoint import Checkpoint  # noqa: PLC0415
    from models.cosyvoice.engine_options import EngineOptions  # noqa: PLC0415
    from models.cosyvoice.runtime import load_official  # noqa: PLC0415

    checkpoint = Checkpoint.open(arguments.directory)
    home = Path(arguments.home) if arguments.home else None
    # What we mend in the loaded model is ours; the official side keeps its own.
    with mock.patch("models.cosyvoice.runtime.install_steps"):
        official = load_official(checkpoint, EngineOptions(home=home))
    embedding = torch.from_numpy(checkpoint.speakers[arguments.voice].embedding.copy())[None]
    ids = torch.tensor([official.text_tokens(arguments.text)], dtype=torch.int32)

    def speak() -> Iterator[int]:
        for output in official.model.tts(
            text=ids, llm_embedding=embedding, flow_embedding=embedding, stream=True
        ):
            yield output["tts_speech"].shape[1]

    return speak, official.sample_rate_hz


def _spoken(speak: Speak, sample_rate_hz: int) -> Spoken:
    began_s = time.perf_counter()
    chunks = [(samples, time.perf_counter() - began_s) for samples in speak()]
    return Spoken(
        first_chunk_s=chunks[0][1],
        wall_s=chunks[-1][1],
        audio_s=sum(samples for samples, _ in chunks) / sample_rate_hz,
        first_audio_s=chunks[0][0] / sample_rate_hz,
    )


def _spoken_at_once(speak: Speak, sample_rate_hz: int, streams: int) -> list[Spoken]:
    spoken: list[Spoken] = []
    threads = [
        threading.Thread(target=lambda: spoken.append(_spoken(speak, sample_rate_hz)))
        for _ in range(streams)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(spoken) < streams:
        raise RuntimeError("a stream failed")
    return spoken


def _table(official: Trial, ours: Trial) -> Iterator[str]:
    yield f"threads: OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}"
    yield ""
    yield "| | official `tts(stream=True)` | ours |"
    yield "|---|---|---|"
    yield _row("load", official, ours, lambda trial: f"{trial.load_s:.1f} s")
    for index in range(len(ours.one_by_one)):
        yield _row(
            f"request {index + 1}: first chunk (its audio)",
            official,
            ours,
            lambda trial, index=index: _first(trial.one_by_one[index]),
        )
    yield _row("RTF, one stream, median", official, ours, lambda trial: _rtf(trial.one_by_one))
    streams = len(ours.at_once)
    for name, order in (("soonest", min), ("latest", max)):
        yield _row(
            f"{streams} at once: first chunk, {name}",
            official,
            ours,
            lambda trial, order=order: _first(
                order(trial.at_once, key=lambda spoken: spoken.first_chunk_s)
            ),
        )
    yield _row(f"{streams} at once: wall per audio", official, ours, _throughput)


def _row(name: str, official: Trial, ours: Trial, figure: Callable[..., Any]) -> str:
    return f"| {name} | {figure(official)} | {figure(ours)} |"


def _first(spoken: Spoken) -> str:
    return f"{spoken.first_chunk_s:.2f} s ({spoken.first_audio_s:.2f} s)"


def _rtf(streams: list[Spoken]) -> str:
    return f"{statistics.median(spoken.wall_s / spoken.audio_s for spoken in streams):.2f}"


def _throughput(trial: Trial) -> str:
    wall_s = max(spoken.wall_s for spoken in trial.at_once)
    return f"{wall_s / float(np.sum([spoken.audio_s for spoken in trial.at_once])):.2f}"


if __name__ == "__main__":
    main()
