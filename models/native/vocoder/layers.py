"""Layers of the vocoder, under upstream's names of weights.

Source: HiFi-GAN's residual blocks with Snake activations (arXiv:2006.08195), as HiFTNet
(arXiv:2309.09493) and upstream's `cosyvoice/hifigan/generator.py` arrange them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn

_TINY = 1e-9


class Snake(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """x + sin²(αx)/α, α by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes (rows, channels, steps) in and out."""
        alpha = self.alpha[:, None]
        return (x * alpha).sin_().square_().mul_(1.0 / (alpha + _TINY)).add_(x)


class Convolution(nn.Conv1d):  # type: ignore[misc]
    """As many steps out as in: zeros stand before a causal one, on both sides of another.

    Args:
        size_in: channels.
        size_out: channels.
        kernel: odd if not causal.
        dilation: of the kernel.
        causal: sees nothing of later steps.
    """

    def __init__(
        self, size_in: int, size_out: int, kernel: int, *, dilation: int = 1, causal: bool
    ) -> None:
        span = (kernel - 1) * dilation
        super().__init__(
            size_in, size_out, kernel, dilation=dilation, padding=0 if causal else span // 2
        )
        self._before = span if causal else 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes (rows, channels, steps) in and out."""
        return super().forward(F.pad(x, (self._before, 0)) if self._before else x)


class Block(nn.Module):  # type: ignore[misc]
    """Residual pairs of a dilated and a plain convolution."""

    def __init__(
        self, channels: int, kernel: int, dilations: tuple[int, ...], *, causal: bool
    ) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            Convolution(channels, channels, kernel, dilation=dilation, causal=causal)
            for dilation in dilations
        )
        self.convs2 = nn.ModuleList(
            Convolution(channels, channels, kernel, causal=causal) for _ in dilations
        )
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes (rows, channels, steps) in and out."""
        pairs = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for bend, dilated, bend_again, plain in pairs:
            x = plain(bend_again(dilated(bend(x)))) + x
        return x


class Repeating(nn.Conv1d):  # type: ignore[misc]
    """The causal upsampling: each step so many times, then a causal convolution."""

    def __init__(self, size_in: int, size_out: int, kernel: int, rate: int) -> None:
        super().__init__(size_in, size_out, kernel)
        self._rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes (rows, channels, steps) in, (rows, channels, rate * steps) out."""
        spread = x.unsqueeze(-1).expand(*x.shape, self._rate).flatten(-2)
        return super().forward(F.pad(spread, (self.kernel_size[0] - 1, 0)))


class Skipping(nn.Conv1d):  # type: ignore[misc]
    """The causal downsampling of a spectrum of one step more than a multiple of the rate."""

    def __init__(self, size_in: int, size_out: int, rate: int) -> None:
        super().__init__(size_in, size_out, 2 * rate, stride=rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes (rows, channels, rate * steps + 1) in, (rows, channels, steps) out."""
        return super().forward(F.pad(x, (self.stride[0] - 1, 0)))


def upsampling(size_in: int, kernel: int, rate: int, *, causal: bool) -> nn.Module:
    """A layer to half the channels and `rate` times the steps."""
    if causal:
        return Repeating(size_in, size_in // 2, kernel, rate)
    return nn.ConvTranspose1d(size_in, size_in // 2, kernel, rate, padding=(kernel - rate) // 2)


def downsampling(size_in: int, size_out: int, rate: int, *, causal: bool) -> nn.Module:
    """A layer from the source's spectrum to the steps of a stage."""
    if rate == 1:
        return nn.Conv1d(size_in, size_out, 1)
    if causal:
        return Skipping(size_in, size_out, rate)
    return nn.Conv1d(size_in, size_out, 2 * rate, rate, padding=rate // 2)
