"""How long the flow takes, by how many streams it serves at once.

    python -m models.native.flow.benchmark DIRECTORY [--device cuda] [--dtype bfloat16] ...

Every job has a prompt of `--prompt` tokens and makes `--hop` tokens into frames behind `--done`
ones, as a stream does in its middle. Values do not matter, so a checkpoint with random weights in
full size tells the truth. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch

from models.cosyvoice.checkpoint import Checkpoint
from models.native.flow.flow import Flow
from models.native.flow.jobs import FlowJob
from models.native.flow.spec import MEL_BANDS

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    """Open the flow, time it, and print the table."""
    arguments = _arguments()
    checkpoint = Checkpoint.open(arguments.directory)
    flow = Flow.open(checkpoint, arguments.device, _DTYPES[arguments.dtype])
    hop_s = arguments.hop / checkpoint.token_rate_hz
    for line in _report(flow, arguments, hop_s):
        print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.native.flow.benchmark")
    parser.add_argument("directory", help="a checkpoint of version 2 or 3")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32", help="of the estimator")
    parser.add_argument("--prompt", type=int, default=75, help="tokens")
    parser.add_argument("--done", type=int, default=25, help="tokens before the hop")
    parser.add_argument("--hop", type=int, default=50, help="tokens")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def _report(flow: Flow, arguments: argparse.Namespace, hop_s: float) -> Iterator[str]:
    frames = (arguments.prompt + arguments.done + arguments.hop) * flow.spec.frames_per_token
    yield (
        f"version {flow.spec.version}, {flow.device}, {arguments.dtype}, "
        f"{torch.get_num_threads()} threads, {frames} frames, {arguments.hop} tokens new"
    )
    yield ""
    yield "| jobs | ms per call | ms per job | ms per s of audio |"
    yield "|---|---|---|---|"
    for count in arguments.jobs:
        call_ms = _time_ms(flow, [_job(flow, arguments, seed) for seed in range(count)], arguments)
        job_ms = call_ms / count
        yield f"| {count} | {call_ms:.1f} | {job_ms:.1f} | {job_ms / hop_s:.1f} |"


def _job(flow: Flow, arguments: argparse.Namespace, seed: int) -> FlowJob:
    random = np.random.default_rng(seed)
    spec = flow.spec
    before = arguments.prompt + arguments.done
    mel = random.standard_normal((arguments.prompt * spec.frames_per_token, MEL_BANDS))
    return FlowJob(
        tokens=random.integers(
            0, spec.vocabulary, before + arguments.hop + spec.lookahead_tokens, dtype=np.int32
        ),
        prompt_mel=torch.from_numpy(mel.astype(np.float32)).to(flow.device),
        embedding=torch.from_numpy(random.standard_normal(spec.speaker_size)).float(),
        first_new_frame=before * spec.frames_per_token,
        final=False,
    )


def _time_ms(flow: Flow, jobs: list[FlowJob], arguments: argparse.Namespace) -> float:
    """The median of some calls, after one that is not counted."""
    flow.run(jobs)
    times_ms = []
    for _ in range(arguments.repeats):
        _wait(flow.device)
        began_s = time.perf_counter()
        flow.run(jobs)
        _wait(flow.device)
        times_ms.append((time.perf_counter() - began_s) * 1000)
    return statistics.median(times_ms)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
