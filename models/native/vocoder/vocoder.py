"""The vocoder of a checkpoint: many sessions' mel to their samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from models.cosyvoice.checkpoint import Checkpoint
from models.native.configuration import read_configuration
from models.native.device.cuda import open_lane
from models.native.device.graphs import Graphs
from models.native.vocoder.carried import CausalCarried, SymmetricCarried
from models.native.vocoder.crossfaded import Crossfaded
from models.native.vocoder.generator import Generator
from models.native.vocoder.noise import LONGEST_S, fixed_noise
from models.native.vocoder.spec import VocoderSpec
from models.native.vocoder.state import Tensors, VocoderJob, VocoderState, Way, Work
from models.native.weights import fill, read_tensors

Joins: TypeAlias = Literal["upstream", "carry"]
_PREDICTOR = "f0_predictor."
_YAML_NAMES = {2: "cosyvoice2.yaml", 3: "cosyvoice3.yaml"}


class Vocoder:
    """Computes jobs of equal shape together.

    Args:
        way: how windows are cut.
        spec: of the vocoder.
        device: of its weights, of the mel that it takes and of the samples that it gives.
        graphs: of the lane in which it computes.
    """

    def __init__(
        self, way: Way[Any, Any], spec: VocoderSpec, device: torch.device, graphs: Graphs
    ) -> None:
        self.spec = spec
        self.device = device
        self._way = way
        self._graphs = graphs

    @classmethod
    def open(
        cls,
        checkpoint: Checkpoint,
        device: torch.device | str,
        *,
        joins: Joins = "upstream",
        longest_s: int = LONGEST_S,
        graphs: Graphs | None = None,
    ) -> Vocoder:
        """Load a checkpoint's hift.pt.

        Everything is in float32 but F0 where phases are carried. On CUDA, whether convolutions may
        round to TF32 is left to `torch.backends.cudnn.allow_tf32`.

        Args:
            checkpoint: of version 2 or 3.
            device: where to compute.
            joins: of chunks in version 2. `upstream`: cross-faded over 8 frames, as the official
                runtime does; the phase jumps there. `carry`: one course of the phase throughout,
                with 18 frames held back; smoother, and not what the official runtime gives.
                Version 3 has no joins to be chosen, and is equal to upstream.
            longest_s: of a session of version 3, for which there must be noise: at most 300 s.
            graphs: of the lane in which it computes; by default a lane of its own.

        Raises:
            CheckpointError: the file does not fit the configuration, or is damaged.
            OSError: a file cannot be read.
            ValueError: no such version, or `carry` for version 3.
        """
        if checkpoint.version not in _YAML_NAMES:
            raise ValueError(f"version {checkpoint.version} has another vocoder")
        configuration = read_configuration(checkpoint.directory / _YAML_NAMES[checkpoint.version])
        spec = VocoderSpec.read(configuration)
        if spec.causal and joins == "carry":
            raise ValueError("joins 'carry': the causal vocoder has none to be chosen")
        device = torch.device(device)
        graphs = graphs or Graphs(open_lane(device))
        precise = spec.causal or joins == "carry"
        generator = _load(checkpoint, spec, precise=precise).to(device)
        if spec.causal:
            table = fixed_noise(configuration, spec, longest_s=longest_s).to(device)
            return cls(CausalCarried(generator, spec, device, table), spec, device, graphs)
        way = SymmetricCarried if precise else Crossfaded
        return cls(way(generator, spec, device), spec, device, graphs)

    def new_state(self, seed: np.random.SeedSequence) -> VocoderState:
        """A session that has not begun.

        Args:
            seed: of its noise, whoever shares its batches. Version 3 has the same noise for all, as
                upstream has.
        """
        state: VocoderState = self._way.new_state(seed)
        return state

    def run(self, jobs: Sequence[VocoderJob]) -> list[torch.Tensor]:
        """Compute jobs of several sessions; their states change when all have succeeded.

        Args:
            jobs: of one session each; in any mixture of shapes.

        Returns:
            For each job the samples that can be heard now, (n,) float32 in [-1, 1] on the device,
            perhaps none.

        Raises:
            ValueError: a session has two jobs or has ended, a mel has another shape, or a session
                of version 3 becomes longer than there is noise for.
        """
        self._check(jobs)
        with torch.inference_mode():
            works = [self._way.prepare(job.state, job) for job in jobs]
            results = self._compute(works)
            return [self._commit(job, found) for job, found in zip(jobs, results, strict=True)]

    def _compute(self, works: Sequence[Work[Hashable] | None]) -> list[Tensors]:
        groups: defaultdict[Hashable, list[int]] = defaultdict(list)
        for index, work in enumerate(works):
            if work is not None:
                groups[work.cut].append(index)
        results: list[Tensors] = [()] * len(works)
        for cut, members in groups.items():
            rows = [work.inputs for index in members if (work := works[index]) is not None]
            columns = self._compute_rows(cut, rows)
            for row, index in enumerate(members):
                # Copies, so that a session does not keep alive what its neighbours had.
                results[index] = tuple(column[row].clone() for column in columns)
        return results

    def _compute_rows(self, cut: Hashable, rows: Sequence[Tensors]) -> Tensors:
        """Rows of one cut; those that pad the batch are the first once more."""
        n_padding = self._graphs.padded_rows(len(rows)) - len(rows)
        padded = [*rows, *[rows[0]] * n_padding]
        stacked = tuple(torch.stack(column) for column in zip(*padded, strict=True))

        def compute(*inputs: torch.Tensor) -> Tensors:
            results: Tensors = self._way.compute(cut, inputs)
            return results

        found: Tensors = self._graphs.run("vocoder", cut, compute, stacked)
        return found

    def _commit(self, job: VocoderJob, results: Tensors) -> torch.Tensor:
        samples = self._way.commit(job.state, job, results)
        job.state.ended = job.final
        return samples

    def _check(self, jobs: Sequence[VocoderJob]) -> None:
        if len({id(job.state) for job in jobs}) != len(jobs):
            raise ValueError("a session has one job at a time")
        for job in jobs:
            if job.state.ended:
                raise ValueError("the session has ended")
            if job.mel.ndim != 2 or job.mel.shape[0] != self.spec.mel_bands:  # noqa: PLR2004
                raise ValueError(f"mel {tuple(job.mel.shape)}: ({self.spec.mel_bands}, n) expected")


def _load(checkpoint: Checkpoint, spec: VocoderSpec, *, precise: bool) -> Generator:
    path = checkpoint.directory / "hift.pt"
    # Upstream resolves the predictor's weight norm in double precision too.
    tensors = read_tensors(path, double=(_PREDICTOR,) if precise else ())
    with torch.device("meta"):
        generator = Generator(spec)
    fill(generator, tensors, path)
    if precise:
        predictor = generator.f0_predictor.double()
        predictor.load_state_dict(
            {
                name.removeprefix(_PREDICTOR): tensor
                for name, tensor in tensors.items()
                if name.startswith(_PREDICTOR)
            }
        )
    generator.eval().requires_grad_(requires_grad=False)
    return generator
