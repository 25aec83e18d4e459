"""What the flow is asked for, and how jobs of several streams become one batch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch

from models.cosyvoice.features import TokenIds
from models.native.device.graphs import Graphs
from models.native.flow.errors import FlowJobError, TooLongError
from models.native.flow.memories import FlowMemory
from models.native.flow.spec import MEL_BANDS, NOISE_FRAMES, FlowSpec

FinalPolicy: TypeAlias = Literal["exact", "upstream", "one_chunk"]
"""What the last chunk of a stream sees.

* `exact`: what the others saw, so that it goes on from what has been heard.
* `upstream`: everything sees everything, which is another sound, its past included.
* `one_chunk`: as upstream where a stream has one chunk only, otherwise exact; `models.cosyvoice`
  does this.
"""

FRAME_TIERS = (
    50, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200, 4800, 6400, 9600, 12800, 15000,
)  # fmt: skip
"""Lengths to which a batch is padded on CUDA, so that there are few different shapes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlowJob:
    """The next mel frames of one stream."""

    tokens: TokenIds
    """(n,) the prompt's and all speech tokens so far, those to look ahead at included."""
    prompt_mel: torch.Tensor
    """(m, 80) float32 of the prompt's tokens; m may be 0. Best on the flow's device."""
    embedding: torch.Tensor
    """(192,) float32 of the speaker. Best on the flow's device."""
    first_new_frame: int
    """Where the result begins, the prompt's frames counted."""
    final: bool
    """No token follows; without it the last ones are only looked ahead at."""
    memory: FlowMemory | None = None
    """What is kept of the stream, by `Flow.remember`."""

    n_kept: int = 0
    """Tokens that need not be computed because of it, when the job was made; for `n_computed`."""

    @property
    def n_computed(self) -> int:
        """Tokens that are computed, by which its cost grows and batches are matched."""
        return len(self.tokens) - self.n_kept


def memories_of(jobs: Sequence[FlowJob]) -> list[FlowMemory]:
    """Of those that have one."""
    return [job.memory for job in jobs if job.memory is not None]


class Batch(NamedTuple):
    """Jobs side by side, padded at their ends. All tensors are on the flow's device."""

    tokens: torch.Tensor
    """(jobs, time + lookahead) int64."""
    counts: torch.Tensor
    """(3, jobs) int64: tokens given, tokens that become frames, 1 for full attention."""
    prompt: torch.Tensor
    """(jobs, frames, 80) float32."""
    embedding: torch.Tensor
    """(jobs, 192) float32."""


class Packer:
    """Checks jobs and lays them side by side.

    Args:
        spec: of the flow.
        device: of the result.
        final_policy: of the jobs that are final.
        tiers: lengths in frames to which a batch is padded, ascending; none for the longest job's.
        graphs: of the lane in which batches are computed; they say to how many rows one is padded.
    """

    def __init__(
        self,
        spec: FlowSpec,
        device: torch.device,
        final_policy: FinalPolicy,
        tiers: Sequence[int],
        graphs: Graphs,
    ) -> None:
        ratio = spec.frames_per_token
        if any(tier % ratio for tier in tiers) or list(tiers) != sorted(set(tiers)):
            raise ValueError(f"frame tiers {list(tiers)}: ascending multiples of {ratio}")
        self._spec = spec
        self._device = device
        self._final_policy = final_policy
        self._tiers = tuple(tiers)
        self._graphs = graphs

    def frames(self, job: FlowJob) -> int:
        """How long the job's mel becomes, from the prompt's first frame."""
        return self.tokens(job) * self._spec.frames_per_token

    def pack(self, jobs: Sequence[FlowJob]) -> Batch:
        """Lay jobs side by side. Rows that pad the batch are the first job once more.

        Raises:
            FlowJobError: jobs ask for what cannot be; nothing has been computed.
        """
        if not jobs:
            raise ValueError("no jobs")
        self.check(jobs)
        jobs = [*jobs, *[jobs[0]] * (self._graphs.padded_rows(len(jobs)) - len(jobs))]
        spec = self._spec
        time = self._padded(max(map(self.frames, jobs))) // spec.frames_per_token
        # Tokens and counts go to the device in one copy, which does not wait for it.
        table = np.zeros((len(jobs), time + spec.lookahead_tokens + 3), dtype=np.int64)
        for row, job in zip(table, jobs, strict=True):
            row[-3:] = len(job.tokens), self.tokens(job), self.sees_all(job)
            row[: len(job.tokens)] = job.tokens
        staged = self._graphs.lane.send(torch.from_numpy(table))
        prompt = torch.zeros(
            (len(jobs), time * spec.frames_per_token, MEL_BANDS), device=self._device
        )
        for row, job in zip(prompt, jobs, strict=True):
            row[: len(job.prompt_mel)] = job.prompt_mel
        embedding = torch.stack([job.embedding.to(self._device) for job in jobs])
        return Batch(staged[:, :-3], staged[:, -3:].T, prompt, embedding)

    def tokens(self, job: FlowJob) -> int:
        """How many tokens are frames afterwards, the prompt's included."""
        return len(job.tokens) - (0 if job.final else self._spec.lookahead_tokens)

    def sees_all(self, job: FlowJob) -> bool:
        """All positions see each other, as in no other job of its stream."""
        if not job.final or self._final_policy == "exact":
            return False
        return self._final_policy == "upstream" or job.first_new_frame == len(job.prompt_mel)

    def _padded(self, frames: int) -> int:
        place = bisect_left(self._tiers, frames)
        return self._tiers[place] if place < len(self._tiers) else frames

    def check(self, jobs: Sequence[FlowJob]) -> None:
        """See that jobs can be computed.

        Raises:
            FlowJobError: some cannot.
        """
        too_long = [i for i, job in enumerate(jobs) if self.frames(job) > NOISE_FRAMES]
        if too_long:
            raise TooLongError("one stretch of speech is longer than the model can speak", too_long)
        wrong = [i for i, job in enumerate(jobs) if not self._is_sound(job)]
        if wrong:
            raise FlowJobError("the flow was asked for what it cannot make", wrong)

    def _is_sound(self, job: FlowJob) -> bool:
        """Shapes fit, some frame is new, and there are no tokens that would break the device."""
        return (
            job.tokens.ndim == 1
            and job.prompt_mel.ndim == 2  # noqa: PLR2004
            and job.prompt_mel.shape[1] == MEL_BANDS
            and tuple(job.embedding.shape) == (self._spec.speaker_size,)
            and len(job.prompt_mel) <= job.first_new_frame < self.frames(job)
            and int(job.tokens.min()) >= 0
            and int(job.tokens.max()) < self._spec.vocabulary
        )
