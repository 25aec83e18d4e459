"""How long the flow takes, by how many streams it serves at once.

    python -m models.native.flow.benchmark DIRECTORY [--device cuda] [--dtype bfloat16] ...

Every job has a prompt of `--prompt` tokens and makes `--hop` tokens into frames behind `--done`
ones, as a stream does in its middle. With `--streams`, streams of `--chunks` such hops from their
beginning as well, computed anew each time and from what is kept, which takes `--memory-gib`. Values
do not matter, so a checkpoint with random weights in full size tells the truth. Prints Markdown
tables.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from models.cosyvoice.checkpoint import Checkpoint
from models.native.flow.flow import Flow
from models.native.flow.hops import ChunkGrid
from models.native.flow.jobs import FlowJob
from models.native.flow.memories import FlowMemory
from models.native.flow.spec import MEL_BANDS

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    """Open the flow, time it, and print the table."""
    arguments = _arguments()
    checkpoint = Checkpoint.open(arguments.directory)
    flow = Flow.open(
        checkpoint,
        arguments.device,
        _DTYPES[arguments.dtype],
        memory_bytes=int(arguments.memory_gib * 2**30) if arguments.streams else 0,
    )
    if arguments.jobs:
        for line in _report(flow, arguments, arguments.hop / checkpoint.token_rate_hz):
            print(line, flush=True)
    if arguments.streams:
        for line in _report_streams(flow, arguments, checkpoint.token_rate_hz):
            print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.native.flow.benchmark")
    parser.add_argument("directory", help="a checkpoint of version 2 or 3")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32", help="of the estimator")
    parser.add_argument("--prompt", type=int, default=75, help="tokens")
    parser.add_argument("--done", type=int, default=25, help="tokens before the hop")
    parser.add_argument("--hop", type=int, default=50, help="tokens")
    parser.add_argument("--jobs", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--streams", type=int, nargs="*", default=[])
    parser.add_argument("--chunks", type=int, default=3, help="of a stream")
    parser.add_argument("--memory-gib", type=float, default=4.0, help="for what is kept")
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


def _report_streams(
    flow: Flow, arguments: argparse.Namespace, token_rate_hz: float
) -> Iterator[str]:
    room = f"{flow.n_pages} pages of {flow.page_bytes / 1e6:.0f} MB"
    chunk_s = flow.spec.chunk_tokens / token_rate_hz
    yield ""
    yield (
        f"version {flow.spec.version}, {flow.device}, {arguments.dtype}, "
        f"{torch.get_num_threads()} threads, a prompt of {arguments.prompt} tokens, "
        f"hops of {arguments.hop}; {room}, each {chunk_s:g} s"
    )
    yield ""
    yield "| streams | chunk | s of audio | anew, ms per s | kept, ms per s | times sooner |"
    yield "|---|---|---|---|---|---|"
    flow.run([_job(flow, argparse.Namespace(prompt=0, done=0, hop=arguments.hop), seed=0)])
    for count in arguments.streams:
        for voice in ("new", "known"):
            memories = [_remember(flow, arguments) for _ in range(count)]
            # Of a known voice only the first chunk is another.
            n_chunks = arguments.chunks if voice == "new" else 1
            found = _course(flow, arguments, memories, n_chunks)
            for number, (n_tokens, anew_ms, kept_ms) in enumerate(found, 1):
                audio_s = n_tokens / token_rate_hz
                yield (
                    f"| {count} | {number if number > 1 else f'1, {voice} voice'} | {audio_s:.2f} "
                    f"| {anew_ms / audio_s:.0f} | {kept_ms / audio_s:.0f} "
                    f"| {anew_ms / kept_ms:.1f} |"
                )
            for memory in memories:
                memory.close()


def _course(
    flow: Flow,
    arguments: argparse.Namespace,
    memories: Sequence[FlowMemory],
    n_chunks: int,
) -> Iterator[tuple[int, float, float]]:
    """For each chunk, its tokens in all streams, and milliseconds without and with what is kept."""
    grid = ChunkGrid(flow.spec, arguments.prompt)
    done = 0
    for _ in range(n_chunks):
        end = grid.end(done, arguments.hop)
        hop = argparse.Namespace(prompt=arguments.prompt, done=done, hop=end - done)
        jobs = [_job(flow, hop, seed=0) for _ in memories]
        anew_ms = _call_ms(flow, jobs)
        kept = [replace(job, memory=one) for job, one in zip(jobs, memories, strict=True)]
        yield len(jobs) * hop.hop, anew_ms, _call_ms(flow, kept)
        done = end


def _remember(flow: Flow, arguments: argparse.Namespace) -> FlowMemory:
    hop = argparse.Namespace(prompt=arguments.prompt, done=0, hop=1)
    job = _job(flow, hop, seed=0)
    prompt = job.tokens[: arguments.prompt]
    memory = flow.remember(prompt, job.prompt_mel.cpu().numpy(), job.embedding.numpy())
    if memory is None:
        raise SystemExit(f"not even a page fits into {arguments.memory_gib} GiB")
    return memory


def _call_ms(flow: Flow, jobs: Sequence[FlowJob]) -> float:
    """Of one call: what is kept is there afterwards, so it cannot be called again."""
    _wait(flow.device)
    began_s = time.perf_counter()
    flow.run(jobs)
    _wait(flow.device)
    return (time.perf_counter() - began_s) * 1000


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
