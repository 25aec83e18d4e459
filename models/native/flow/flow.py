"""The flow of a checkpoint: speech tokens of many streams to mel frames, in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.features import Floats, TokenIds
from models.native.configuration import read_configuration
from models.native.device.cuda import open_lane
from models.native.device.graphs import Graphs
from models.native.flow.encoder import TokenEncoder
from models.native.flow.errors import NotFiniteError
from models.native.flow.jobs import FRAME_TIERS, Batch, FinalPolicy, FlowJob, Packer, memories_of
from models.native.flow.kept import KeptFlow, page_bytes
from models.native.flow.layers import own, settle
from models.native.flow.masks import attention_bias
from models.native.flow.memories import FlowMemory
from models.native.flow.noise import noise_table
from models.native.flow.past import NoPast
from models.native.flow.solver import Solver
from models.native.flow.spec import MEL_BANDS, FlowSpec
from models.native.weights import fill, read_tensors

_ESTIMATOR = "decoder.estimator."
_FILE = "flow.pt"


class Mels(NamedTuple):
    """What a batch became; on CUDA it may still be under way."""

    new: list[torch.Tensor]
    """(80, n) float32 of each job, on the flow's device."""
    finite: torch.Tensor | None
    """(jobs,) bool, where that is watched."""


class Flow:
    """A checkpoint's flow.

    A job goes over its stream's prompt and all tokens so far, so a stream that is cancelled, or
    waits, leaves nothing behind; or with a `FlowMemory`, over what is not kept of them. Not to be
    called by several threads at once.

    Args:
        spec: its numbers.
        encoder: filled and settled, on the device.
        solver: likewise.
        packer: for that device.
        graphs: of the lane in which it computes.
        n_pages: for what is kept of streams.
        together: see `KeptFlow`.
    """

    def __init__(
        self,
        spec: FlowSpec,
        encoder: TokenEncoder,
        solver: Solver,
        packer: Packer,
        graphs: Graphs,
        *,
        n_pages: int = 0,
        together: bool = False,
    ) -> None:
        self.spec = spec
        self.solver = solver
        self._encoder = encoder
        self._packer = packer
        self._graphs = graphs
        self._noise = noise_table().to(encoder.input_embedding.weight.device)
        self._kept: KeptFlow | None = None
        if n_pages:
            self._kept = KeptFlow(
                spec,
                encoder,
                solver,
                noise=self._noise,
                n_pages=n_pages,
                graphs=graphs,
                together=together,
            )

    @classmethod
    def open(
        cls,
        checkpoint: Checkpoint,
        device: torch.device | str = "cpu",
        estimator_dtype: torch.dtype = torch.float32,
        *,
        final_policy: FinalPolicy = "exact",
        frame_tiers: Sequence[int] | None = None,
        graphs: Graphs | None = None,
        memory_bytes: int = 0,
        most_pages: int | None = None,
        together: bool | None = None,
    ) -> Flow:
        """Load a checkpoint's flow.

        Args:
            checkpoint: of version 2 or 3.
            device: to compute on.
            estimator_dtype: of the estimator's matrix products: float32, the reference, or
                bfloat16. Everything else is float32.
            final_policy: what the last chunk of a stream sees.
            frame_tiers: lengths to which batches are padded; by default `FRAME_TIERS` on CUDA and
                none elsewhere, where a batch is as long as its longest job.
            graphs: of the lane in which it computes; by default a lane of its own.
            memory_bytes: for what is kept of streams; 0 to keep nothing.
            most_pages: that are of use, of a second of speech each; by default as many as fit.
            together: see `KeptFlow`; by default on CUDA only.

        Raises:
            CheckpointError: the files do not fit each other, or this engine.
            OSError: they cannot be read.
        """
        if estimator_dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"estimator_dtype {estimator_dtype}: float32 or bfloat16")
        device = torch.device(device)
        graphs = graphs or Graphs(open_lane(device))
        if frame_tiers is None:
            frame_tiers = FRAME_TIERS if graphs.lane.can_capture else ()
        spec = FlowSpec.read(read_configuration(checkpoint.yaml_path))
        packer = Packer(spec, device, final_policy, frame_tiers, graphs)
        with torch.device("meta"):
            encoder, solver = TokenEncoder(spec), Solver(spec)
        path = checkpoint.directory / _FILE
        tensors = read_tensors(path)
        fill(encoder, tensors, path, others=(_ESTIMATOR,))
        fill(solver.estimator, tensors, path, prefix=_ESTIMATOR)
        with torch.no_grad():
            settle(encoder)
            solver.settle(estimator_dtype)
            for module in (encoder, solver):
                module.eval().requires_grad_(requires_grad=False)
                own(module, device)
        n_pages = memory_bytes // page_bytes(spec, encoder, solver) if memory_bytes else 0
        return cls(
            spec,
            encoder,
            solver,
            packer,
            graphs,
            n_pages=n_pages if most_pages is None else min(n_pages, most_pages),
            together=device.type != "cpu" if together is None else together,
        )

    @property
    def device(self) -> torch.device:
        """Where it computes, and where its mels are."""
        return self._noise.device

    @property
    def n_pages(self) -> int:
        """For what is kept of streams: each for a second of one."""
        return self._kept.memories.pool.n_pages if self._kept else 0

    @property
    def page_bytes(self) -> int:
        """Of a page; 0 if there are none."""
        return self._kept.page_bytes if self._kept else 0

    @property
    def n_free_pages(self) -> int:
        """Pages in which nothing is kept."""
        return self._kept.memories.pool.n_free if self._kept else 0

    @property
    def n_prompt_pages(self) -> int:
        """Pages that are kept for voices, whether anybody speaks with them or not."""
        return self._kept.memories.n_prompt_pages if self._kept else 0

    @property
    def n_evicted(self) -> int:
        """Pages of streams that had to make room for others."""
        return self._kept.memories.n_evicted if self._kept else 0

    def remember(self, tokens: TokenIds, mel: Floats, embedding: Floats) -> FlowMemory | None:
        """What a new stream keeps, for its jobs; to be closed when it ends.

        Args:
            tokens: (n,), of the prompt.
            mel: (m, 80), of the prompt.
            embedding: (192,), of the speaker.

        Returns:
            None if nothing is kept.
        """
        return self._kept.memories.remember(tokens, mel, embedding) if self._kept else None

    def frames(self, job: FlowJob) -> int:
        """How long the job's mel becomes, from the prompt's first frame."""
        return self._packer.frames(job)

    def run(self, jobs: Sequence[FlowJob]) -> list[torch.Tensor]:
        """Make the new frames of some streams.

        What a job becomes does not depend on the others, but for rounding.

        Returns:
            (80, n) float32 for each job, on the flow's device.

        Raises:
            TooLongError: jobs are beyond the 300 seconds that there is noise for.
            NotFiniteError: in bfloat16, jobs came out as no numbers. For this the device is waited
                for; `launch` does not.
            FlowJobError: jobs ask for what cannot be.
        """
        mels: Mels = self.launch(jobs)
        if mels.finite is not None:
            bad = [i for i, finite in enumerate(mels.finite.tolist()) if not finite]
            if bad:
                raise NotFiniteError("the flow left the range of its numbers", bad)
        for memory in memories_of(jobs):
            memory.keep()
        return mels.new

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def rehearse(self, n_rows: int, n_tokens: int, n_pages: int | None = None) -> None:
        """Compute a batch of a size, of nobody, so that it can be captured.

        Args:
            n_rows: jobs.
            n_tokens: of each, that become frames.
            n_pages: go on from so many; None for a batch without memories.
        """
        n_before = (n_pages or 0) * self.spec.chunk_tokens
        job = FlowJob(
            tokens=np.zeros(n_before + n_tokens, np.int32),
            prompt_mel=torch.zeros((0, MEL_BANDS), device=self.device),
            embedding=torch.ones(self.spec.speaker_size, device=self.device),
            first_new_frame=n_before * self.spec.frames_per_token,
            final=True,
        )
        if n_pages is None:
            self._without_pages([job] * n_rows)
        elif self._kept is not None:
            self._kept.rehearse(job, n_rows, n_pages)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def launch(self, jobs: Sequence[FlowJob]) -> Mels:
        """As `run`, but on CUDA it does not wait, and leaves it to the caller to look at `finite`.

        If that is well, `FlowMemory.keep` is to be called before a stream's next job, which
        otherwise computes everything again.

        Raises:
            FlowJobError: as `run`.
        """
        self._packer.check(jobs)
        kept = self._kept.reserve(jobs, self._packer) if self._kept else {}
        rest = [number for number in range(len(jobs)) if number not in kept]
        found: dict[int, torch.Tensor] = {}
        try:
            if kept and self._kept is not None:
                found.update(zip(kept, self._kept.compute([*kept.values()]), strict=True))
            if rest:
                found.update(zip(rest, self._without_pages([jobs[i] for i in rest]), strict=True))
        except BaseException:
            for memory in memories_of(jobs):
                memory.forget()
            raise
        new = [found[number] for number in range(len(jobs))]
        if self.solver.dtype == torch.float32:
            return Mels(new, None)
        return Mels(new, torch.stack([torch.isfinite(mel).all() for mel in new]))

    def _without_pages(self, jobs: Sequence[FlowJob]) -> list[torch.Tensor]:
        (mels,) = self._graphs.run("flow", None, self._compute, self._packer.pack(jobs))
        return [
            mel[job.first_new_frame : self.frames(job)].T
            for mel, job in zip(mels[: len(jobs)], jobs, strict=True)
        ]

    def _compute(self, *batch: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.compute(Batch(*batch)),)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def compute(self, batch: Batch) -> torch.Tensor:
        """Everything between a batch and its mels; only shapes decide what is done.

        Returns:
            (jobs, frames, 80) float32, the prompt's frames and padding included.
        """
        given, lengths, full = batch.counts
        jobs, frames, _ = batch.prompt.shape
        pasts = [
            self._no_past(lengths, full, frames // self.spec.frames_per_token, rate, torch.float32)
            for rate in self._encoder.rates
        ]
        ratio = self.spec.frames_per_token
        past = self._no_past(lengths, full, frames // ratio, ratio, self.solver.dtype, branches=2)
        return self.solver.solve(
            self._noise[:frames].expand(jobs, -1, -1),
            self._encoder(batch.tokens, given, pasts),
            past,
            self._encoder.speaker(batch.embedding),
            batch.prompt,
        )

    def _no_past(
        self,
        lengths: torch.Tensor,
        full: torch.Tensor,
        time: int,
        rate: int,
        dtype: torch.dtype,
        *,
        branches: int = 1,
    ) -> NoPast:
        """Of sequences of tokens, each of which is `rate` positions."""
        chunk = rate * self.spec.chunk_tokens
        lengths, full = rate * lengths.repeat(branches), full.repeat(branches).bool()
        bias = attention_bias(lengths, full, rate * time, chunk, dtype)
        return NoPast(rate * time, bias, bias.device)
