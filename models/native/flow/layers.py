"""Layers that several parts of the flow have, over tensors of (rows, time, channels)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from models.native.flow.past import Past


class CausalConvolution(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """A convolution that sees the past only.

    Short kernels are one matrix product over neighbours laid side by side, without turning time and
    channels around.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in, kernel), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(n_out), requires_grad=False)
        self._taps = kernel

    def settle(self) -> None:
        """Lay the weights out for `forward`."""
        self.weight = nn.Parameter(
            self.weight.permute(0, 2, 1).flatten(1).contiguous(), requires_grad=False
        )

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """(rows, time, in) to (rows, time, out)."""
        x = x.to(self.weight.dtype)
        if self._taps > 1:
            time = x.shape[1]
            x = past.extend(x, self._taps - 1)
            x = torch.cat([x[:, tap : tap + time] for tap in range(self._taps)], dim=-1)
        return F.linear(x, self.weight, self.bias)


class SelfAttention(nn.Module):  # type: ignore[misc]
    """Attention of several heads, with query, key and value in one product.

    Args:
        size: channels.
        heads: of it.
        head_size: channels of each.
        bias: of query, key and value.
    """

    def __init__(self, size: int, heads: int, head_size: int, *, bias: bool) -> None:
        super().__init__()
        inner = heads * head_size
        self.to_q: nn.Module = nn.Linear(size, inner, bias=bias)
        self.to_k: nn.Module = nn.Linear(size, inner, bias=bias)
        self.to_v: nn.Module = nn.Linear(size, inner, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(inner, size)])
        self._shape = (3, heads, head_size)

    def settle(self) -> None:
        """Join the weights."""
        parts = [self.to_q, self.to_k, self.to_v]
        self.weight = nn.Parameter(torch.cat([part.weight for part in parts]), requires_grad=False)
        self.bias = None
        if parts[0].bias is not None:
            self.bias = nn.Parameter(torch.cat([part.bias for part in parts]), requires_grad=False)
        del self.to_q, self.to_k, self.to_v

    def forward(
        self,
        x: torch.Tensor,
        past: Past,
        rotation: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Attend.

        Args:
            x: (rows, time, size).
            past: what else is attended to.
            rotation: cosines and sines, (rows or 1, time, head_size), by which the first head's
                query and key are turned.

        Returns:
            (rows, time, size).
        """
        joined = F.linear(x.to(self.weight.dtype), self.weight, self.bias)
        joined = joined.unflatten(-1, self._shape)
        if rotation is not None:
            first = joined[:, :, :2, 0]
            first.copy_(_turned(first, *rotation))
        query, key, value = joined.permute(2, 0, 3, 1, 4).unbind(0)
        found = past.attend(query, key, value)
        return self.to_out[0](found.transpose(1, 2).flatten(2))


def _turned(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Turn pairs of neighbouring channels of (rows, time, 2, head_size) by angles of their time."""
    pairs = x.float().unflatten(-1, (-1, 2))
    quarter = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)
    return x * cosine[:, :, None] + quarter * sine[:, :, None]


def settle(module: nn.Module) -> None:
    """Lay out the weights of a filled module's layers for use; to be called once."""
    for part in list(module.modules()):
        if isinstance(part, CausalConvolution | SelfAttention):
            part.settle()


def sinusoids(times: torch.Tensor, size: int) -> torch.Tensor:
    """Upstream's embedding of moments between 0 and 1.

    Args:
        times: (n,) float32.
        size: channels of the result, even.

    Returns:
        (n, size).
    """
    half = size // 2
    step = math.log(10000) / (half - 1)
    rates = torch.exp(torch.arange(half, device=times.device).float() * -step)
    angles = 1000 * times[:, None] * rates[None]
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def own(module: torch.nn.Module, device: torch.device) -> None:
    """Move a module, its weights laid out without gaps and no longer a part of the file.

    Weights that stay mapped would be read again page by page whenever memory was short.
    """
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            weight = parameter.detach().to(device).clone(memory_format=torch.contiguous_format)
            setattr(part, name, torch.nn.Parameter(weight, requires_grad=False))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, buffer.to(device))
