"""Jobs whose streams have pages, and how several of them become one batch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from models.native.device.graphs import Graphs
from models.native.flow.jobs import FlowJob
from models.native.flow.kept_past import Placement
from models.native.flow.pages import BLANK, WASTE
from models.native.flow.spec import MEL_BANDS, FlowSpec

PAGE_TIERS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 300)
"""Numbers of pages, and of new chunks, to which a batch is padded on CUDA."""


class KeptJob(NamedTuple):
    """A job, and the pages that it goes on from and leaves behind."""

    job: FlowJob
    n_tokens: int
    """That are frames afterwards, those before it included."""
    first: int
    """Tokens before what is computed."""
    placement: Placement
    """Of their pages, and of those that will be."""

    @property
    def n_new(self) -> int:
        """Tokens that are computed."""
        return self.n_tokens - self.first


class KeptBatch(NamedTuple):
    """Jobs side by side, padded at their ends. All tensors are on the flow's device."""

    tokens: torch.Tensor
    """(jobs, time + lookahead) int64, from where each job's pages end."""
    counts: torch.Tensor
    """(4, jobs) int64: of these tokens, those given and those that become frames; and before them,
    tokens, and pages."""
    kept: torch.Tensor
    """See `Places`."""
    new: torch.Tensor
    """Likewise."""
    prompt: torch.Tensor
    """(jobs, frames, 80) float32, from where each job's pages end."""
    embedding: torch.Tensor
    """(jobs, 192) float32."""


class KeptPacker:
    """Lays jobs with pages side by side.

    Args:
        spec: of the flow.
        device: of the result.
        tiers: numbers of pages and of chunks to which a batch is padded, ascending; none for the
            longest job's.
        graphs: see `Packer`.
    """

    def __init__(
        self, spec: FlowSpec, device: torch.device, tiers: Sequence[int], graphs: Graphs
    ) -> None:
        self._spec = spec
        self._device = device
        self._tiers = tuple(tiers)
        self._graphs = graphs

    def pack(self, jobs: Sequence[KeptJob]) -> KeptBatch:
        """Lay jobs side by side. Rows that pad the batch are the first job, and keep nothing."""
        n_padding = self._graphs.padded_rows(len(jobs)) - len(jobs)
        nobody = jobs[0]._replace(placement=jobs[0].placement._replace(new=()))
        jobs = [*jobs, *[nobody] * n_padding]
        time, n_kept = self._size(jobs)
        n_new = time // self._spec.chunk_tokens
        widths = (time + self._spec.lookahead_tokens, 4, n_kept, n_new)
        rows = [self._row(job, widths) for job in jobs]
        # All numbers go to the device in one copy, which does not wait for it.
        staged = self._graphs.lane.send(torch.from_numpy(np.stack(rows)))
        tokens, counts, kept, new = staged.split(widths, dim=1)
        ratio = self._spec.frames_per_token
        prompt = torch.zeros((len(jobs), time * ratio, MEL_BANDS), device=self._device)
        for row, job in zip(prompt, jobs, strict=True):
            rest = job.job.prompt_mel[job.first * ratio :]
            row[: len(rest)] = rest
        embedding = torch.stack([job.job.embedding.to(self._device) for job in jobs])
        return KeptBatch(tokens, counts.T, kept, new, prompt, embedding)

    @staticmethod
    def _row(job: KeptJob, widths: Sequence[int]) -> npt.NDArray[np.int64]:
        n_tokens, _, n_kept, n_new = widths
        kept, new = job.placement
        tokens = job.job.tokens[job.first :]
        parts = (
            np.pad(tokens, (0, n_tokens - len(tokens))),
            (len(tokens), job.n_new, job.first, len(kept)),
            [BLANK] * (n_kept - len(kept)) + [*kept],
            [*new] + [WASTE] * (n_new - len(new)),
        )
        return np.concatenate(parts, dtype=np.int64, casting="unsafe")

    def _size(self, jobs: Sequence[KeptJob]) -> tuple[int, int]:
        """Tokens and pages to which the jobs are padded."""
        time = max(job.n_new for job in jobs)
        n_kept = max(len(job.placement.kept) for job in jobs)
        if self._tiers:
            chunk = self._spec.chunk_tokens
            time = self._padded(-(-time // chunk)) * chunk
            n_kept = self._padded(n_kept)
        return time, n_kept

    def _padded(self, n: int) -> int:
        place = bisect_left(self._tiers, n)
        return self._tiers[place] if place < len(self._tiers) else n
