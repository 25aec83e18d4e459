"""How long the vocoder takes for batches of chunks.

    python -m models.native.vocoder.benchmark DIRECTORY [--device cuda] [--rows 1 2 4] ...

Each session has heard a first chunk, so windows have the frames on the left that chunks in the
middle of speech have. Prints a Markdown table: the median time of a run, and how many seconds of
speech come of a second of work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import get_args

import numpy as np
import torch

from models.cosyvoice.checkpoint import Checkpoint
from models.native.vocoder.state import VocoderJob
from models.native.vocoder.vocoder import Joins, Vocoder

_FIRST_FRAMES = 50


def main() -> None:
    """Open the vocoder, time it, print the table."""
    arguments = _arguments()
    begin_s = time.perf_counter()
    vocoder = Vocoder.open(
        Checkpoint.open(arguments.directory), arguments.device, joins=arguments.joins
    )
    print(
        f"version {3 if vocoder.spec.causal else 2}, joins {arguments.joins}, "
        f"{_device_name(vocoder.device)}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, loaded in {time.perf_counter() - begin_s:.1f} s\n"
    )
    for line in _table(vocoder, arguments):
        print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.native.vocoder.benchmark")
    parser.add_argument("directory", help="a checkpoint of version 2 or 3")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--joins", choices=get_args(Joins), default="upstream")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--repeat", type=int, default=5)
    return parser.parse_args()


def _table(vocoder: Vocoder, arguments: argparse.Namespace) -> Iterator[str]:
    yield "| jobs | frames each | ms | ms per job | times real time |"
    yield "|---|---|---|---|---|"
    frame_s = vocoder.spec.frame_samples / vocoder.spec.sample_rate_hz
    for n_frames in arguments.frames:
        for rows in arguments.rows:
            taken_s = statistics.median(_times_s(vocoder, rows, n_frames, arguments.repeat))
            speed = rows * n_frames * frame_s / taken_s
            yield (
                f"| {rows} | {n_frames} | {1e3 * taken_s:.1f} | {1e3 * taken_s / rows:.1f} "
                f"| {speed:.1f} |"
            )


def _times_s(vocoder: Vocoder, rows: int, n_frames: int, repeat: int) -> list[float]:
    taken_s = []
    for number in range(1 + repeat):
        states = [vocoder.new_state(np.random.SeedSequence(row)) for row in range(rows)]
        mels = [
            torch.randn(vocoder.spec.mel_bands, _FIRST_FRAMES + n_frames, device=vocoder.device)
            for _ in states
        ]
        pairs = list(zip(states, mels, strict=True))
        vocoder.run(
            [VocoderJob(state, mel[:, :_FIRST_FRAMES], final=False) for state, mel in pairs]
        )
        jobs = [VocoderJob(state, mel[:, _FIRST_FRAMES:], final=False) for state, mel in pairs]
        _wait(vocoder.device)
        begin_s = time.perf_counter()
        vocoder.run(jobs)
        _wait(vocoder.device)
        if number:  # the first one warms up
            taken_s.append(time.perf_counter() - begin_s)
    return taken_s


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device.type)
    tf32 = "with" if torch.backends.cudnn.allow_tf32 else "without"
    return f"{torch.cuda.get_device_name(device)} {tf32} TF32"


if __name__ == "__main__":
    main()
