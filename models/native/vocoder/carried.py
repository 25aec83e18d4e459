"""Windows that compute what the whole speech would have had there.

The phase of the source, its noise by position and enough frames on the left go over from one window
to the next, and frames whose right side is not known yet are held back.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from models.native.vocoder.generator import Generator
from models.native.vocoder.noise import RunningNoise
from models.native.vocoder.spec import PITCH_LAYERS, PITCH_RIGHT_FRAMES, VocoderSpec
from models.native.vocoder.state import Tensors, VocoderJob, VocoderState, Way, Work


@dataclass(slots=True, eq=False, kw_only=True)
class CarriedState(VocoderState):
    """The end of what has been heard, and what is known of what follows."""

    source: torch.Tensor
    """(samples,) from the first frame of `mel` on."""
    turns: torch.Tensor
    """(harmonics,) float64, the phase where the source ends."""
    noise: RunningNoise | None
    """None where all sessions share a table."""
    n_held: int = 0
    """Frames at the end of `mel` that have not been heard."""
    n_sourced: int = 0
    """Frames of the session whose source is known."""


class CarriedCut(NamedTuple):
    """The shapes of a window, in frames."""

    n_frames: int
    """On the left, held back, and new."""
    n_left: int
    """Heard before."""
    n_sourced: int
    """Whose source is known, from the window's first frame on."""
    ended: bool


class Carried(Way[CarriedState, CarriedCut]):
    """What both versions share.

    Args:
        generator: of the version.
        spec: its numbers.
        device: its device.
        left_frames: on the left of the first frame to be heard.
        held_frames: on the right of the last one.
    """

    def __init__(
        self,
        generator: Generator,
        spec: VocoderSpec,
        device: torch.device,
        *,
        left_frames: int,
        held_frames: int,
    ) -> None:
        self._generator = generator
        self._spec = spec
        self._device = device
        self._left = left_frames
        self._held = held_frames

    def new_state(self, seed: np.random.SeedSequence) -> CarriedState:
        """All phases are 0."""
        spec, device = self._spec, self._device
        return CarriedState(
            mel=torch.empty((spec.mel_bands, 0), device=device),
            source=torch.empty(0, device=device),
            turns=torch.zeros(spec.harmonics, dtype=torch.float64, device=device),
            noise=self._own_noise(seed),
        )

    def prepare(self, state: CarriedState, job: VocoderJob) -> Work[CarriedCut] | None:
        """Nothing can be heard of a session that is shorter than what is held back."""
        n_new = job.mel.shape[1]
        n_held = state.n_held + n_new
        if n_held == 0 or (not job.final and (n_new == 0 or n_held <= self._held)):
            return None
        n_frames = state.mel.shape[1] + n_new
        cut = CarriedCut(
            n_frames=n_frames,
            n_left=n_frames - n_held,
            n_sourced=state.source.shape[0] // self._spec.frame_samples,
            ended=job.final,
        )
        mel = torch.cat((state.mel, job.mel), dim=1)
        n_noise = (self._source_end(cut) - cut.n_sourced) * self._spec.frame_samples
        return Work(cut, (mel, state.source, state.turns, self._noise(state, n_noise)))

    def compute(self, cut: CarriedCut, inputs: Tensors) -> Tensors:
        """Windows to samples, and what the next windows take over."""
        mel, source, turns, noise = inputs
        fresh, turns = self._source(cut, mel, turns, noise)
        source = torch.cat((source, fresh), dim=1)
        speech = self._speech(cut, mel, source)
        frame = self._spec.frame_samples
        heard_end = self._heard_end(cut)
        first = max(0, heard_end - self._left)
        return (
            speech[:, cut.n_left * frame : heard_end * frame].contiguous(),
            mel[:, :, first:].contiguous(),
            source[:, first * frame : self._kept_end(cut) * frame].contiguous(),
            turns,
        )

    def commit(self, state: CarriedState, job: VocoderJob, results: Tensors) -> torch.Tensor:
        """Keep what the next window needs."""
        n_held = state.n_held + job.mel.shape[1]
        if not results:
            state.mel = torch.cat((state.mel, job.mel), dim=1)
            state.n_held = n_held
            return state.mel.new_empty(0)
        known = state.source.shape[0] // self._spec.frame_samples
        dropped = state.mel.shape[1] + job.mel.shape[1] - results[1].shape[1]
        speech, state.mel, state.source, state.turns = results
        fresh = state.source.shape[0] // self._spec.frame_samples + dropped - known
        state.n_sourced += fresh
        if state.noise is not None:
            state.noise.used(fresh * self._spec.frame_samples)
        state.n_held = n_held - speech.shape[0] // self._spec.frame_samples
        return speech

    def _heard_end(self, cut: CarriedCut) -> int:
        return cut.n_frames if cut.ended else cut.n_frames - self._held

    @abstractmethod
    def _own_noise(self, seed: np.random.SeedSequence) -> RunningNoise | None: ...

    @abstractmethod
    def _noise(self, state: CarriedState, n_samples: int) -> torch.Tensor: ...

    @abstractmethod
    def _source_end(self, cut: CarriedCut) -> int:
        """The frame up to which a window computes its source."""

    @abstractmethod
    def _kept_end(self, cut: CarriedCut) -> int:
        """The frame up to which the source will not change when more comes."""

    @abstractmethod
    def _speech(self, cut: CarriedCut, mel: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """The samples of the window, as far as they are to be heard at least."""

    @abstractmethod
    def _source(
        self, cut: CarriedCut, mel: torch.Tensor, turns: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The source that is not known yet, and the phase at the end of what is kept."""


class CausalCarried(Carried):
    """Version 3, equal to the whole: upstream computes the whole anew for each chunk.

    Args:
        generator: causal.
        spec: its numbers.
        device: its device.
        table: by `fixed_noise`.
    """

    def __init__(
        self, generator: Generator, spec: VocoderSpec, device: torch.device, table: torch.Tensor
    ) -> None:
        # As upstream, three frames more are held back than are missing.
        held = spec.held_frames
        left = max(spec.left_frames, spec.pitch_left_frames)
        super().__init__(generator, spec, device, left_frames=left, held_frames=held)
        self._table = table

    def _own_noise(self, seed: np.random.SeedSequence) -> None:  # noqa: ARG002 - upstream's has none
        return None

    def _noise(self, state: CarriedState, n_samples: int) -> torch.Tensor:
        first = state.n_sourced * self._spec.frame_samples
        if first + n_samples > self._table.shape[0]:
            longest_s = self._table.shape[0] // self._spec.sample_rate_hz
            raise ValueError(f"there is noise for {longest_s} s of speech, and no more")
        return self._table[first : first + n_samples]

    def _source_end(self, cut: CarriedCut) -> int:
        return self._heard_end(cut) if cut.ended else self._heard_end(cut) + 2

    def _kept_end(self, cut: CarriedCut) -> int:
        return self._source_end(cut)

    def _speech(self, cut: CarriedCut, mel: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        if not cut.ended:
            mel = mel[:, :, : self._heard_end(cut) + 1 + self._spec.look_right_frames]
        return self._generator(mel, source, ended=cut.ended)

    def _source(
        self, cut: CarriedCut, mel: torch.Tensor, turns: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        context = min(cut.n_sourced, self._spec.pitch_left_frames)
        end = self._source_end(cut) + (0 if cut.ended else PITCH_RIGHT_FRAMES)
        seen = mel[:, :, cut.n_sourced - context : end]
        f0 = self._generator.f0_predictor(seen, ended=cut.ended)[:, context:].float()
        return self._generator.m_source.stepped(f0, turns, noise)


class SymmetricCarried(Carried):
    """Version 2 without upstream's jumps of phase: near to one call with the whole mel.

    The last frames of a window have a provisional source, since their F0 depends on what follows.

    Args:
        generator: not causal, its F0 predictor in double precision.
        spec: its numbers.
        device: its device.
    """

    LEFT_FRAMES = 32
    HELD_FRAMES = 18
    """12 that the network sees, and 6 whose source is provisional. With random weights of full size
    chunks then differ from the whole by rounding alone; with 12 in all, by up to 7e-3."""
    _PROVISIONAL = PITCH_LAYERS + 1

    def __init__(self, generator: Generator, spec: VocoderSpec, device: torch.device) -> None:
        left, held = self.LEFT_FRAMES, self.HELD_FRAMES
        super().__init__(generator, spec, device, left_frames=left, held_frames=held)

    def _own_noise(self, seed: np.random.SeedSequence) -> RunningNoise:
        return RunningNoise(seed, self._spec, self._device)

    def _noise(self, state: CarriedState, n_samples: int) -> torch.Tensor:
        assert state.noise is not None  # noqa: S101 - `_own_noise` made it
        return state.noise.ahead(n_samples)

    def _source_end(self, cut: CarriedCut) -> int:
        return cut.n_frames

    def _kept_end(self, cut: CarriedCut) -> int:
        return cut.n_frames if cut.ended else cut.n_frames - self._PROVISIONAL

    def _speech(self, cut: CarriedCut, mel: torch.Tensor, source: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return self._generator(mel, source, ended=True)

    def _source(
        self, cut: CarriedCut, mel: torch.Tensor, turns: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        context = min(cut.n_sourced, PITCH_LAYERS)
        seen = mel[:, :, cut.n_sourced - context :]
        f0 = self._generator.f0_predictor(seen, ended=True)[:, context:]
        source, centres = self._generator.m_source.sloped_on(
            f0, turns, noise, first=cut.n_sourced == 0
        )
        return source, centres[:, self._kept_end(cut) - cut.n_sourced - 1]
