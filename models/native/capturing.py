"""What is captured before the first request: the shapes that speech comes in all the time."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from models.native.device.graphs import ROW_SIZES, Graphs
from models.native.flow.flow import Flow
from models.native.flow.jobs import FRAME_TIERS
from models.native.flow.kept_jobs import PAGE_TIERS
from models.native.lm.engine import LmEngine
from models.native.scheduler.views import GRID_TOKENS, HOPS_TOKENS
from models.native.sounding import MOST_FRAMES
from models.native.vocoder.state import VocoderJob
from models.native.vocoder.vocoder import Vocoder

_LONGEST_FRAMES = 1600
"""Of prompt and speech, 32 s; sentences are shorter."""
_LONGEST_TOKENS = 800
"""The same."""
_MOST_HOPS = 4
"""Chunks of the grid that a hop has; what has more reads a prompt."""
_FIRST_ROWS = 4
"""First chunks seldom come together, and have many lengths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What is held ready."""

    n_graphs: int
    n_left_out: int
    """For want of memory; they are computed as they come, which takes longer."""
    seconds: float
    """That it took."""

    def __str__(self) -> str:
        """For the log."""
        told = f"{self.n_graphs} CUDA graphs captured in {self.seconds:.1f} s"
        if self.n_left_out:
            told += f"; no memory for {self.n_left_out} more"
        return told


def capture(lm: LmEngine, flow: Flow, vocoder: Vocoder, graphs: Graphs) -> Captured:
    """Compute everything that is common, of nobody, and capture it.

    In the thread that computes later, with nothing under way.

    Args:
        lm: without sessions.
        flow: computes in the lane of `graphs`.
        vocoder: likewise.
        graphs: of both.
    """
    begin_s = time.perf_counter()
    n_sessions = lm.n_free_slots
    if lm.graphs.enabled:
        with lm.graphs.capturing():
            lm.rehearse()
    if graphs.enabled:
        with graphs.capturing(), graphs.lane.current():
            _rehearse_vocoder(vocoder, graphs, n_sessions, flow.spec.frames_per_token)
            _rehearse_flow(flow, graphs, n_sessions)
    return Captured(
        n_graphs=lm.graphs.n_captured + graphs.n_captured,
        n_left_out=lm.graphs.n_left_out + graphs.n_left_out,
        seconds=time.perf_counter() - begin_s,
    )


def _rehearse_flow(flow: Flow, graphs: Graphs, n_sessions: int) -> None:
    """The smallest batches first: the larger one is, the less it matters how it is asked for."""
    if flow.n_pages:
        _rehearse_kept_flow(flow, graphs, n_sessions)
    tiers = [tier for tier in FRAME_TIERS if tier <= _LONGEST_FRAMES]
    sizes = itertools.product(_row_sizes(graphs, n_sessions), tiers)
    for n_rows, n_frames in sorted(sizes, key=math.prod):
        if n_rows * n_frames > MOST_FRAMES:
            break
        n_tokens = n_frames // flow.spec.frames_per_token
        _as_far_as_memory_goes(graphs, functools.partial(flow.rehearse, n_rows, n_tokens))


def _rehearse_kept_flow(flow: Flow, graphs: Graphs, n_sessions: int) -> None:
    """Hops behind prompts and speech of any length, and prompts of which nothing is kept yet."""
    pages = [tier for tier in PAGE_TIERS if tier * flow.spec.chunk_tokens <= _LONGEST_TOKENS]
    sizes = itertools.product(_row_sizes(graphs, n_sessions), pages[1:], pages)
    for n_rows, n_chunks, n_pages in sorted(sizes, key=lambda size: (size[0] * size[1], size[2])):
        if n_chunks <= _MOST_HOPS or not n_pages:
            n_tokens = n_chunks * flow.spec.chunk_tokens
            one = functools.partial(flow.rehearse, n_rows, n_tokens, n_pages)
            _as_far_as_memory_goes(graphs, one)


def _rehearse_vocoder(vocoder: Vocoder, graphs: Graphs, n_sessions: int, ratio: int) -> None:
    """Chunks of all lengths at the beginning of speech, and of all hops in its middle.

    The first chunk goes on to the grid of the flow, and a cell further.
    """
    first, *others = (ratio * n_tokens for n_tokens in range(GRID_TOKENS, 2 * GRID_TOKENS))
    hops = [ratio * n_tokens for n_tokens in sorted(HOPS_TOKENS)]
    for n_rows in _row_sizes(graphs, n_sessions):
        courses = [[first, *hops]]
        if n_rows <= _FIRST_ROWS:
            courses += [[other] for other in others]
        for course in courses:
            _as_far_as_memory_goes(graphs, functools.partial(_play, vocoder, n_rows, course))


def _play(vocoder: Vocoder, n_rows: int, lengths: list[int]) -> None:
    states = [vocoder.new_state(np.random.SeedSequence(0)) for _ in range(n_rows)]
    for length in lengths:
        mel = torch.zeros((vocoder.spec.mel_bands, length), device=vocoder.device)
        vocoder.run([VocoderJob(state, mel, final=False) for state in states])


def _row_sizes(graphs: Graphs, n_sessions: int) -> Iterator[int]:
    most = graphs.padded_rows(n_sessions)
    return (size for size in ROW_SIZES if size <= most)


def _as_far_as_memory_goes(graphs: Graphs, compute: Callable[[], object]) -> None:
    try:
        compute()
    except torch.OutOfMemoryError:
        graphs.n_left_out += 1
