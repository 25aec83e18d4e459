"""Version 3's estimator: `DiT`, a transformer whose norms and gates depend on the moment.

They do on nothing else, so they are computed for the solver's moments once, when the weights are
there; of the 331 million weights this drops 138. Residual sums and norms are float32, products are
of the weights' type. Tensors are (rows, time, channels). Source: upstream's `cosyvoice/flow/DiT`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from models.native.flow.layers import SelfAttention, settle, sinusoids
from models.native.flow.past import Past
from models.native.flow.spec import ESTIMATOR_INPUTS, MEL_BANDS, NOISE_FRAMES, DitSpec

_NORM_EPS = 1e-6
_TIME_SIZE = 256
_POSITION_KERNEL = 31
_POSITION_GROUPS = 16
_BLOCK_PARTS = 6
_BLOCK_SCALES = (1, 4)
_LAST_PARTS = 2


class Modulation(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """`AdaLayerNormZero` and its last form: numbers for a norm and a gate, from the moment."""

    def __init__(self, size: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, parts * size)
        self._parts = parts

    def forward(self, moment: torch.Tensor) -> torch.Tensor:
        """(1, size) to (parts, size)."""
        return self.linear(F.silu(moment)).unflatten(-1, (self._parts, -1))[0]


class Norms(NamedTuple):
    """A block's numbers at one moment, each (size,)."""

    attention_shift: torch.Tensor
    attention_scale: torch.Tensor
    attention_gate: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor
    gate: torch.Tensor


class FeedForward(nn.Module):  # type: ignore[misc]
    """The lists' places are upstream's."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(size, inner), nn.GELU(approximate="tanh"))
        self.ff = nn.Sequential(first, nn.Identity(), nn.Linear(inner, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, time, size) to the same."""
        return self.ff(x.to(self.ff[2].weight.dtype))


class DitBlock(nn.Module):  # type: ignore[misc]
    """`DiTBlock`."""

    def __init__(self, spec: DitSpec) -> None:
        super().__init__()
        self.attn_norm = Modulation(spec.size, _BLOCK_PARTS)
        self.attn = SelfAttention(spec.size, spec.heads, spec.head_size, bias=True)
        self.ff = FeedForward(spec.size, spec.feed_forward)

    def forward(
        self,
        x: torch.Tensor,
        norms: Norms,
        past: Past,
        rotation: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """(rows, time, size) to the same; for the rest see `SelfAttention`."""
        found = self.attn(_norm(x, norms.attention_scale, norms.attention_shift), past, rotation)
        x = x + norms.attention_gate * found
        return x + norms.gate * self.ff(_norm(x, norms.scale, norms.shift))


def _norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """A norm whose scale and shift are the moment's, which is the same for all rows."""
    return F.layer_norm(x, scale.shape, scale, shift, _NORM_EPS)


class PositionEmbedding(nn.Module):  # type: ignore[misc]
    """`CausalConvPositionEmbedding`. The lists' places are upstream's."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv1 = nn.ModuleList([self._convolution(size)])
        self.conv2 = nn.ModuleList([self._convolution(size)])

    @staticmethod
    def _convolution(size: int) -> nn.Conv1d:
        return nn.Conv1d(size, size, _POSITION_KERNEL, groups=_POSITION_GROUPS)

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """(rows, time, size) to the same."""
        x = x.to(self.conv1[0].weight.dtype)
        for convolution in (self.conv1[0], self.conv2[0]):
            seen = past.extend(x, _POSITION_KERNEL - 1).transpose(1, 2)
            x = F.mish(convolution(seen)).transpose(1, 2)
        return x


class InputEmbedding(nn.Module):  # type: ignore[misc]
    """`InputEmbedding`: all inputs side by side, and where they stand."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.proj = nn.Linear(ESTIMATOR_INPUTS, size)
        self.conv_pos_embed = PositionEmbedding(size)

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """(rows, time, 320) to (rows, time, size), float32."""
        x = self.proj(x.to(self.proj.weight.dtype)).float()
        return self.conv_pos_embed(x, past) + x


class TimeEmbedding(nn.Module):  # type: ignore[misc]
    """`TimestepEmbedding` of the DiT."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(nn.Linear(_TIME_SIZE, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, times: torch.Tensor) -> torch.Tensor:
        """(n,) to (n, size)."""
        return self.time_mlp(sinusoids(times, _TIME_SIZE))


class RotaryEmbedding(nn.Module):  # type: ignore[misc]
    """Angles by position; upstream's file has their rates."""

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", torch.empty(head_size // 2))

    def forward(self, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines, (positions, head_size), every angle for two neighbouring channels."""
        position = torch.arange(positions, device=self.inv_freq.device).float()
        angle = (position[:, None] * self.inv_freq).repeat_interleave(2, dim=-1)
        return angle.cos(), angle.sin()


class Dit(nn.Module):  # type: ignore[misc]
    """`DiT`, for some moments.

    To be filled and settled before it is used.
    """

    def __init__(self, spec: DitSpec) -> None:
        super().__init__()
        self.time_embed = TimeEmbedding(spec.size)
        self.input_embed = InputEmbedding(spec.size)
        self.rotary_embed = RotaryEmbedding(spec.head_size)
        self.transformer_blocks = nn.ModuleList([DitBlock(spec) for _ in range(spec.depth)])
        self.norm_out = Modulation(spec.size, _LAST_PARTS)
        self.proj_out = nn.Linear(spec.size, MEL_BANDS)

    def settle(self, times: torch.Tensor, dtype: torch.dtype) -> None:
        """Get ready.

        Args:
            times: (steps,) float32, the moments that it will be asked about.
            dtype: of matrix products; float32 or bfloat16.
        """
        # One by one: in products of several rows, other sums may come out.
        moments = [self.time_embed(time[None]) for time in times]
        blocks = [
            torch.stack([block.attn_norm(moment) for block in self.transformer_blocks])
            for moment in moments
        ]
        table = torch.stack(blocks)
        table[:, :, _BLOCK_SCALES] += 1
        last = torch.stack([self.norm_out(moment) for moment in moments])
        last[:, 0] += 1
        cosines, sines = self.rotary_embed(NOISE_FRAMES)
        self.register_buffer("_table", table, persistent=False)  # (steps, depth, 6, size)
        self.register_buffer("_last", last, persistent=False)  # (steps, 2, size)
        self.register_buffer("_cosines", cosines, persistent=False)
        self.register_buffer("_sines", sines, persistent=False)
        for block in self.transformer_blocks:
            del block.attn_norm
        del self.time_embed, self.norm_out, self.rotary_embed
        settle(self)
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Conv1d | SelfAttention):
                part.to(dtype)

    def given(self, mu: torch.Tensor, speaker: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """What stays the same in all steps, laid out for `forward`.

        Args:
            mu: (rows, time, 80), what the tokens say.
            speaker: (rows, 80).
            prompt: (rows, time, 80), the prompt's mel, and zeros after it.

        Returns:
            (rows, time, 240).
        """
        return torch.cat((prompt, mu, speaker[:, None].expand_as(mu)), dim=-1)

    def forward(self, x: torch.Tensor, given: torch.Tensor, past: Past, step: int) -> torch.Tensor:
        """Where to go from here.

        Args:
            x: (rows, time, 80), the mel so far.
            given: by `given`.
            past: in which this moment's is next.
            step: which of the moments it is.

        Returns:
            (rows, time, 80) float32.
        """
        rotation = self._cosines[past.positions], self._sines[past.positions]
        x = self.input_embed(torch.cat((x, given), dim=-1), past)
        for block, numbers in zip(self.transformer_blocks, self._table[step], strict=True):
            x = block(x, Norms(*numbers), past, rotation)
        x = _norm(x, *self._last[step])
        return self.proj_out(x.to(self.proj_out.weight.dtype)).float()
