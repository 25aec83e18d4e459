"""The flow's noise: the same for everybody, by position."""

from __future__ import annotations

import torch

from models.native.flow.spec import MEL_BANDS, NOISE_FRAMES


def noise_table() -> torch.Tensor:
    """What upstream draws when it builds `CausalConditionalCFM`, right after seeding with 0.

    Returns:
        (15000, 80) float32.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, MEL_BANDS, NOISE_FRAMES, generator=generator)
    return noise[0].T.contiguous()
