"""The noise of the source: a session's own in version 2, one table for all in version 3.

Upstream's causal source draws its table when it is built, from torch's global generator, which the
flow's `CausalConditionalCFM` has seeded with 0 shortly before (`flow_matching.py`). So the table
follows from what is built in between, in the order of the YAML file, and is the same in all
processes. It holds uniform numbers from 0 to 1, where version 2 draws normal ones.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from models.cosyvoice.sampling import torch_seed
from models.native.configuration import Section
from models.native.vocoder.spec import (
    PITCH_KERNEL,
    PITCH_LAYERS,
    PITCH_RIGHT_FRAMES,
    VocoderSpec,
)

LONGEST_S = 300
"""What upstream has noise for, in the vocoder as in the flow."""
_FLOW_FRAME_HZ = 50
_BLOCK_FRAMES = 25


def fixed_noise(configuration: Section, spec: VocoderSpec, *, longest_s: int) -> torch.Tensor:
    """Version 3's table, or its beginning.

    Args:
        configuration: the checkpoint's.
        spec: its vocoder's.
        longest_s: how much of it, at most 300 s, of which each has 0.9 MB.

    Returns:
        (samples, harmonics) float32.
    """
    flow = configuration.section("flow")
    random = torch.Generator().manual_seed(0)
    bands, speaker = flow.integer("output_size"), flow.integer("spk_embed_dim")
    # What upstream builds between the seed and the table. All are drawn by functions that take as
    # many numbers as there are values, so shapes and bounds do not matter.
    torch.randn(bands * _FLOW_FRAME_HZ * LONGEST_S, generator=random)
    torch.randn(flow.integer("vocab_size") * flow.integer("input_size"), generator=random)
    size = spec.pitch_channels
    first, later = PITCH_RIGHT_FRAMES + 1, PITCH_KERNEL
    n_uniform = bands * (speaker + 1)
    n_uniform += size * (spec.mel_bands * first + 1)
    n_uniform += (PITCH_LAYERS - 1) * size * (size * later + 1)
    n_uniform += size + 1
    torch.rand(n_uniform + spec.harmonics, generator=random)
    n_samples = min(longest_s, LONGEST_S) * spec.sample_rate_hz
    return torch.rand(n_samples, spec.harmonics, generator=random)


class ChunkNoise:
    """A session's noise, drawn window by window as upstream draws it from its generator.

    What `models.cosyvoice.noise` draws for the same seed, so both runtimes make the same sound.

    Args:
        seed: of the session.
        spec: of the vocoder.
        device: of the generator and what it draws.
    """

    def __init__(
        self, seed: np.random.SeedSequence, spec: VocoderSpec, device: torch.device
    ) -> None:
        self._generator = torch.Generator(device).manual_seed(torch_seed(seed))
        self._device = device
        self._harmonics = spec.harmonics
        self._drawn: torch.Tensor | None = None

    def next_window(self, n_samples: int) -> torch.Tensor:
        """Noise of shape (samples, harmonics); the same again until it is `used`.

        Raises:
            ValueError: another length was asked for before, and was not used.
        """
        if self._drawn is None:
            self._draw(1, self._harmonics, normal=False)  # the phases, which upstream drops
            self._drawn = self._draw(n_samples, self._harmonics, normal=True)
            self._draw(n_samples, 1, normal=True)  # a branch that nothing hears
        if self._drawn.shape[0] != n_samples:
            raise ValueError("a window whose run failed was given up for another")
        return self._drawn

    def used(self) -> None:
        """The window has been heard."""
        self._drawn = None

    def _draw(self, n_samples: int, size: int, *, normal: bool) -> torch.Tensor:
        draw = torch.randn if normal else torch.rand
        shape = (1, n_samples, size) if normal else (n_samples, size)
        return draw(shape, generator=self._generator, device=self._device).view(n_samples, size)


class RunningNoise:
    """A session's noise by position, however the session is cut.

    Drawn in blocks of equal size, because a CUDA generator's numbers depend on how many are drawn
    at once.

    Args:
        seed: of the session.
        spec: of the vocoder.
        device: of the generator and what it draws.
    """

    def __init__(
        self, seed: np.random.SeedSequence, spec: VocoderSpec, device: torch.device
    ) -> None:
        self._generator = torch.Generator(device).manual_seed(torch_seed(seed))
        self._shape = (_BLOCK_FRAMES * spec.frame_samples, spec.harmonics)
        self._rest = torch.empty((0, spec.harmonics), device=device)

    def ahead(self, n_samples: int) -> torch.Tensor:
        """The next (samples, harmonics), which stay the next until they are `used`."""
        blocks = max(0, math.ceil((n_samples - self._rest.shape[0]) / self._shape[0]))
        drawn = [
            torch.randn(self._shape, generator=self._generator, device=self._rest.device)
            for _ in range(blocks)
        ]
        self._rest = torch.cat((self._rest, *drawn))
        return self._rest[:n_samples]

    def used(self, n_samples: int) -> None:
        """So many have been heard."""
        self._rest = self._rest[n_samples:].clone()
