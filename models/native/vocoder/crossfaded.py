"""Version 2 in upstream's way: windows that share 8 frames and are cross-faded there.

A window begins with the 8 frames that ended the last one, whose source it takes over. The phase of
what follows begins anew, so the fundamental jumps there (`CosyVoice2Model.token2wav`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from models.native.vocoder.generator import Generator
from models.native.vocoder.noise import ChunkNoise
from models.native.vocoder.spec import VocoderSpec
from models.native.vocoder.state import Tensors, VocoderJob, VocoderState, Way, Work

_SHARED_FRAMES = 8


@dataclass(slots=True, eq=False, kw_only=True)
class CrossfadedState(VocoderState):
    """The end of what has been computed."""

    noise: ChunkNoise
    source: torch.Tensor | None = None
    """(samples,) of the shared frames; None before the first window."""
    speech: torch.Tensor | None = None
    """(samples,) of the shared frames, which have not been heard."""


class CrossfadedCut(NamedTuple):
    """The shapes of a window."""

    n_frames: int
    follows: bool
    """Its first frames are those that it shares with the last window."""


class Crossfaded(Way[CrossfadedState, CrossfadedCut]):
    """Windows as upstream's.

    Args:
        generator: not causal.
        spec: its numbers.
        device: its device.
    """

    def __init__(self, generator: Generator, spec: VocoderSpec, device: torch.device) -> None:
        self._generator = generator
        self._spec = spec
        self._device = device
        self._shared = _SHARED_FRAMES * spec.frame_samples
        # In double precision, as upstream fades.
        window = torch.as_tensor(np.hamming(2 * self._shared), device=device)
        self._rise, self._fall = window[: self._shared], window[self._shared :]

    def new_state(self, seed: np.random.SeedSequence) -> CrossfadedState:
        """The noise is the session's own."""
        return CrossfadedState(
            mel=torch.empty((self._spec.mel_bands, 0), device=self._device),
            noise=ChunkNoise(seed, self._spec, self._device),
        )

    def prepare(self, state: CrossfadedState, job: VocoderJob) -> Work[CrossfadedCut] | None:
        """A first window has at least as many frames as are shared."""
        n_frames = state.mel.shape[1] + job.mel.shape[1]
        follows = state.source is not None
        if n_frames == 0 or (
            not job.final and (job.mel.shape[1] == 0 or n_frames < _SHARED_FRAMES)
        ):
            return None
        inputs: Tensors = (
            torch.cat((state.mel, job.mel), dim=1),
            state.noise.next_window(n_frames * self._spec.frame_samples),
        )
        if state.source is not None and state.speech is not None:
            inputs += (state.source, state.speech)
        return Work(CrossfadedCut(n_frames, follows), inputs)

    def compute(self, cut: CrossfadedCut, inputs: Tensors) -> Tensors:
        """Windows to samples, and the ends that the next windows take over."""
        mel, noise, *last = inputs
        f0 = self._generator.f0_predictor(mel, ended=True)
        source = self._generator.m_source.sloped(f0, noise)
        if cut.follows:
            source = torch.cat((last[0], source[:, self._shared :]), dim=1)
        speech = self._generator(mel, source, ended=True)
        if cut.follows:
            faded = speech[:, : self._shared] * self._rise + last[1] * self._fall
            speech = torch.cat((faded.float(), speech[:, self._shared :]), dim=1)
        ends = mel[:, :, -_SHARED_FRAMES:], source[:, -self._shared :], speech[:, -self._shared :]
        # The fade is louder than one in its middle.
        return (speech.clamp(-1.0, 1.0), *(end.contiguous() for end in ends))

    def commit(self, state: CrossfadedState, job: VocoderJob, results: Tensors) -> torch.Tensor:
        """Hold the shared frames back until more come."""
        if not results:
            state.mel = torch.cat((state.mel, job.mel), dim=1)
            return state.mel.new_empty(0)
        speech, state.mel, state.source, state.speech = results
        state.noise.used()
        return speech if job.final else speech[: -self._shared]
