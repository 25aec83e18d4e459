"""The flow from where a stream's pages end: what was computed before is not computed again."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models.native.device.graphs import Graphs
from models.native.flow.encoder import TokenEncoder
from models.native.flow.jobs import FlowJob, Packer, memories_of
from models.native.flow.kept_jobs import PAGE_TIERS, KeptBatch, KeptJob, KeptPacker
from models.native.flow.kept_past import KeptPast, KeptPastOfEach, Placement, Places
from models.native.flow.masks import attention_bias
from models.native.flow.memories import FlowMemory, Memories
from models.native.flow.pages import BLANK, PagePool, PageStore
from models.native.flow.past import Layout, Recorder
from models.native.flow.solver import Solver
from models.native.flow.spec import ESTIMATOR_INPUTS, MEL_BANDS, NOISE_FRAMES, STEPS, FlowSpec

_BRANCHES = 2
"""Each job goes through the estimator told what to say and not told."""


class KeptFlow:
    """Keeps chunks, and goes on from them. Its pages' memory is taken at once on CUDA.

    Args:
        spec: of the flow.
        encoder: filled and settled, on the device.
        solver: likewise.
        noise: (15000, 80), on the device.
        n_pages: that there are; on a CPU they take memory when they are first used.
        graphs: of the lane in which it computes.
        together: attend for all jobs of a batch at once, as graphs have it, and not one by one,
            as is faster on a CPU.
    """

    def __init__(
        self,
        spec: FlowSpec,
        encoder: TokenEncoder,
        solver: Solver,
        *,
        noise: torch.Tensor,
        n_pages: int,
        graphs: Graphs,
        together: bool,
    ) -> None:
        self.memories = Memories(PagePool(n_pages), spec)
        self._spec = spec
        self._encoder = encoder
        self._solver = solver
        self._noise = noise
        self._graphs = graphs
        self._together = together
        self._packer = KeptPacker(spec, noise.device, PAGE_TIERS if together else (), graphs)
        self._store, *self._encoder_stores = _stores(
            spec, encoder, solver, n_pages, noise.device, together=together
        )

    @property
    def page_bytes(self) -> int:
        """What a page takes."""
        return sum(store.page_bytes for store in (self._store, *self._encoder_stores))

    def reserve(self, jobs: Sequence[FlowJob], packer: Packer) -> dict[int, KeptJob]:
        """See what jobs can go on from, and find pages for what they compute.

        Args:
            jobs: of different streams.
            packer: that knows how long they are, and what they see.

        Returns:
            By index, those that go on from something, or leave something behind.
        """
        in_use = memories_of(jobs)
        if len({id(memory) for memory in in_use}) < len(in_use):
            raise ValueError("two jobs of one stream")
        for memory in in_use:
            memory.forget()
        found = {}
        for number, job in enumerate(jobs):
            if job.memory is not None and not job.memory.is_closed and not packer.sees_all(job):
                one = self._reserve(job, job.memory, packer.tokens(job), in_use)
                found.update({number: one} if one is not None else {})
        return found

    def _reserve(
        self, job: FlowJob, memory: FlowMemory, n_tokens: int, in_use: Sequence[FlowMemory]
    ) -> KeptJob | None:
        chunk = self._spec.chunk_tokens
        n_before = memory.n_pages_before(job.first_new_frame)
        # Of a stream that ends, only the prompt will be of use.
        n_whole = memory.n_prompt_pages if job.final else n_tokens // chunk
        new = self.memories.reserve(memory, n_before, max(0, n_whole - n_before), in_use)
        if not n_before and not new.pages:
            return None
        placement = Placement(memory.pages[:n_before], new.pages)
        return KeptJob(job, n_tokens, n_before * chunk, placement)

    def compute(self, jobs: Sequence[KeptJob]) -> list[torch.Tensor]:
        """Make the new frames of some streams, and fill their pages.

        Returns:
            (80, n) float32 for each job, on the flow's device.
        """
        batch = self._packer.pack(jobs)
        if self._together:
            (mels,) = self._graphs.run("kept flow", None, self._compute_together, batch)
        else:
            mels = self._compute(batch, self._past_of_each(batch, jobs))
        return [
            mel[job.job.first_new_frame - job.first * self._ratio : job.n_new * self._ratio].T
            for mel, job in zip(mels[: len(jobs)], jobs, strict=True)
        ]

    def rehearse(self, job: FlowJob, n_rows: int, n_pages: int) -> None:
        """Compute a batch of a size, and keep nothing of it.

        Args:
            job: whose first tokens stand for what is kept.
            n_rows: so often.
            n_pages: that are kept, of nobody.
        """
        placement = Placement([BLANK] * n_pages, ())
        first = n_pages * self._spec.chunk_tokens
        self.compute([KeptJob(job, len(job.tokens), first, placement)] * n_rows)

    @property
    def _ratio(self) -> int:
        return self._spec.frames_per_token

    def _compute_together(self, *tensors: torch.Tensor) -> tuple[torch.Tensor]:
        batch = KeptBatch(*tensors)
        return (self._compute(batch, self._past(self._store, batch, self._ratio)),)

    def _compute(self, batch: KeptBatch, past: KeptPast) -> torch.Tensor:
        """(jobs, frames, 80), from where each job's pages end; for given shapes always the same."""
        pasts = [
            self._past(store, batch, rate)
            for store, rate in zip(self._encoder_stores, self._encoder.rates, strict=True)
        ]
        return self._solver.solve(
            self._noise[self._positions(batch, self._ratio)],
            self._encoder(batch.tokens, batch.counts[0], pasts),
            past,
            self._encoder.speaker(batch.embedding),
            batch.prompt,
        )

    def _past(self, store: PageStore, batch: KeptBatch, rate: int) -> KeptPast:
        """Of layers to which a token is `rate` positions."""
        positions = self._positions(batch, rate)
        lengths, kept = (
            numbers.repeat(store.branches)
            for numbers in (rate * batch.counts[1], store.positions * batch.counts[3])
        )
        bias = attention_bias(
            lengths,
            torch.zeros_like(lengths, dtype=torch.bool),
            positions.shape[1],
            store.positions,
            store.keys.dtype,
            before=batch.kept.shape[1] * store.positions,
            kept=kept,
        )
        return KeptPast(store, Places(batch.kept, batch.new), positions, bias)

    def _past_of_each(self, batch: KeptBatch, jobs: Sequence[KeptJob]) -> KeptPastOfEach:
        return KeptPastOfEach(
            self._store,
            Places(batch.kept, batch.new),
            self._positions(batch, self._ratio),
            [job.placement for job in jobs],
            [job.n_new * self._ratio for job in jobs],
        )

    def _positions(self, batch: KeptBatch, rate: int) -> torch.Tensor:
        """(jobs, rate * time), of what is computed."""
        time = batch.prompt.shape[1] // self._ratio
        position = torch.arange(rate * time, device=batch.counts.device)
        # Padding may lie behind the end of all tables.
        return (rate * batch.counts[2, :, None] + position).clamp(max=NOISE_FRAMES - 1)


def page_bytes(spec: FlowSpec, encoder: TokenEncoder, solver: Solver) -> int:
    """What one page takes: a chunk of a stream."""
    stores = _stores(spec, encoder, solver, 0, torch.device("meta"), together=False)
    return sum(store.page_bytes for store in stores)


def _stores(
    spec: FlowSpec,
    encoder: TokenEncoder,
    solver: Solver,
    n_pages: int,
    device: torch.device,
    *,
    together: bool,
) -> list[PageStore]:
    """Of the estimator, and of the encoder at each of its rates."""
    chunk = spec.chunk_tokens
    estimator_layout, *layouts = _layouts(spec, encoder, solver)
    estimator = PageStore(
        estimator_layout,
        positions=spec.estimator.chunk_frames,
        passes=STEPS,
        branches=_BRANCHES,
        n_pages=n_pages,
        dtype=solver.dtype,
        device=device,
        blank=together,
    )
    return [
        estimator,
        *(
            PageStore(
                layout,
                positions=rate * chunk,
                passes=1,
                branches=1,
                n_pages=n_pages,
                dtype=torch.float32,
                device=device,
                blank=True,
            )
            for layout, rate in zip(layouts, encoder.rates, strict=True)
        ),
    ]


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _layouts(spec: FlowSpec, encoder: TokenEncoder, solver: Solver) -> list[Layout]:
    """What the layers ask for, found out with one token."""
    device = encoder.input_embedding.weight.device
    one = 1 + spec.lookahead_tokens
    recorders = [Recorder(device) for _ in encoder.rates]
    tokens = torch.zeros((1, one), dtype=torch.int64, device=device)
    encoder(tokens, torch.tensor([one], device=device), recorders)
    of_estimator = Recorder(device)
    bands = ESTIMATOR_INPUTS - MEL_BANDS
    x, given = torch.zeros((1, 1, MEL_BANDS + bands), device=device).split([MEL_BANDS, bands], -1)
    solver.estimator(x, given, of_estimator, 0)
    return [recorder.layout for recorder in (of_estimator, *recorders)]
