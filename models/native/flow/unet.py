"""Version 2's estimator: `CausalConditionalDecoder`, a row of residual and transformer blocks.

Time is embedded for the solver's moments once, when the weights are there. Residual sums and norms
are float32; products are of the weights' type. Tensors are (rows, time, channels). Source:
upstream's `cosyvoice/flow/decoder.py` and what it takes from Matcha-TTS.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from models.native.flow.layers import CausalConvolution, SelfAttention, settle, sinusoids
from models.native.flow.past import Past
from models.native.flow.spec import ESTIMATOR_INPUTS, MEL_BANDS, UnetSpec

_FEED_FORWARD = 4
_TIME = 4
_KERNEL = 3


class ConvolutionBlock(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """`CausalBlock1D`: convolution, norm and Mish. The list's places are upstream's."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            [CausalConvolution(n_in, n_out, _KERNEL), nn.Identity(), nn.LayerNorm(n_out)]
        )

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """(rows, time, in) to (rows, time, out), float32."""
        return F.mish(self.block[2](self.block[0](x, past).float()))


class ResidualBlock(nn.Module):  # type: ignore[misc]
    """`CausalResnetBlock1D`."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(_TIME * n_out, n_out))
        self.block1 = ConvolutionBlock(n_in, n_out)
        self.block2 = ConvolutionBlock(n_out, n_out)
        self.res_conv = CausalConvolution(n_in, n_out, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor, past: Past) -> torch.Tensor:
        """(rows, time, in) to (rows, time, out); `time` is (out,), by `mlp`."""
        return self.block2(self.block1(x, past) + time, past) + self.res_conv(x, past)


class GeluLayer(nn.Module):  # type: ignore[misc]
    """`diffusers`' GELU: a linear layer and the function."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(size, inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, time, size) to (rows, time, inner)."""
        return F.gelu(self.proj(x))


class FeedForward(nn.Module):  # type: ignore[misc]
    """The list's places are those of `diffusers`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        inner = _FEED_FORWARD * size
        self.net = nn.Sequential(GeluLayer(size, inner), nn.Identity(), nn.Linear(inner, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, time, size) to the same."""
        return self.net(x.to(self.net[2].weight.dtype))


class TransformerBlock(nn.Module):  # type: ignore[misc]
    """`BasicTransformerBlock` with self-attention only."""

    def __init__(self, spec: UnetSpec) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(spec.size)
        self.attn1 = SelfAttention(spec.size, spec.heads, spec.head_size, bias=False)
        self.norm3 = nn.LayerNorm(spec.size)
        self.ff = FeedForward(spec.size)

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """(rows, time, size) to the same."""
        x = x + self.attn1(self.norm1(x), past)
        return x + self.ff(self.norm3(x))


class Stage(nn.ModuleList):  # type: ignore[misc]
    """A residual block and transformer blocks; in the first and the last stage, a convolution."""

    def __init__(self, spec: UnetSpec, n_in: int, *, convolution: bool) -> None:
        blocks = nn.ModuleList([TransformerBlock(spec) for _ in range(spec.blocks)])
        super().__init__([ResidualBlock(n_in, spec.size), blocks])
        if convolution:
            self.append(CausalConvolution(spec.size, spec.size, _KERNEL))

    def attend(self, x: torch.Tensor, time: torch.Tensor, past: Past) -> torch.Tensor:
        """The blocks without the convolution."""
        x = self[0](x, time, past)
        for block in self[1]:
            x = block(x, past)
        return x


class TimeEmbedding(nn.Module):  # type: ignore[misc]
    """`TimestepEmbedding` of Matcha-TTS."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(ESTIMATOR_INPUTS, _TIME * size)
        self.linear_2 = nn.Linear(_TIME * size, _TIME * size)

    def forward(self, times: torch.Tensor) -> torch.Tensor:
        """(n,) to (n, 4 * size)."""
        return self.linear_2(F.silu(self.linear_1(sinusoids(times, ESTIMATOR_INPUTS))))


class Unet(nn.Module):  # type: ignore[misc]
    """`CausalConditionalDecoder`, for some moments.

    To be filled and settled before it is used.
    """

    def __init__(self, spec: UnetSpec) -> None:
        super().__init__()
        self.time_mlp = TimeEmbedding(spec.size)
        self.down_blocks = nn.ModuleList([Stage(spec, ESTIMATOR_INPUTS, convolution=True)])
        self.mid_blocks = nn.ModuleList(
            [Stage(spec, spec.size, convolution=False) for _ in range(spec.middle_blocks)]
        )
        self.up_blocks = nn.ModuleList([Stage(spec, 2 * spec.size, convolution=True)])
        self.final_block = ConvolutionBlock(spec.size, spec.size)
        self.final_proj = CausalConvolution(spec.size, MEL_BANDS, 1)

    def settle(self, times: torch.Tensor, dtype: torch.dtype) -> None:
        """Get ready.

        Args:
            times: (steps,) float32, the moments that it will be asked about.
            dtype: of matrix products; float32 or bfloat16.
        """
        stages = [*self.down_blocks, *self.mid_blocks, *self.up_blocks]
        # One by one: in products of several rows, other sums may come out.
        moments = [self.time_mlp(time[None]) for time in times]
        table = torch.stack([torch.cat([stage[0].mlp(at) for stage in stages]) for at in moments])
        self.register_buffer("_table", table, persistent=False)  # (steps, stages, size)
        for stage in stages:
            del stage[0].mlp
        del self.time_mlp
        settle(self)
        for part in self.modules():
            if isinstance(part, nn.Linear | CausalConvolution | SelfAttention):
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
        return torch.cat((mu, speaker[:, None].expand_as(mu), prompt), dim=-1)

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
        times = iter(self._table[step])
        down, up = self.down_blocks[0], self.up_blocks[0]
        skipped = down.attend(torch.cat((x, given), dim=-1), next(times), past)
        x = down[2](skipped, past)
        for stage in self.mid_blocks:
            x = stage.attend(x, next(times), past)
        x = up.attend(torch.cat((x, skipped), dim=-1), next(times), past)
        x = self.final_block(up[2](x, past), past)
        return self.final_proj(x, past).float()
