"""What speech tokens say to the estimator: mel-like features for each frame.

Version 3 looks ahead and repeats; version 2 has a Conformer around its upsampling. Tensors are
(rows, time, channels). Source: upstream's `cosyvoice/transformer/upsample_encoder.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from models.native.flow.layers import CausalConvolution
from models.native.flow.past import Past
from models.native.flow.spec import MEL_BANDS, DitSpec, EncoderSpec, FlowSpec

_UP_BLOCKS = 4
_UP_KERNEL = 5
_BLOCK_EPS = 1e-12


class Lookahead(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """`PreLookaheadLayer`: each position sees some positions ahead and two back."""

    def __init__(self, size: int, channels: int, lookahead: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(size, channels, lookahead + 1)
        self.conv2 = CausalConvolution(channels, size, 3)

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """(rows, time + lookahead, size) to (rows, time, size)."""
        ahead = F.leaky_relu(self.conv1(x.transpose(1, 2)).transpose(1, 2))
        return self.conv2(ahead, past) + x[:, : ahead.shape[1]]


class RelativeAttention(nn.Module):  # type: ignore[misc]
    """Attention that knows how far apart positions are (Transformer-XL, section 3.3)."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.linear_q = nn.Linear(size, size)
        self.linear_k = nn.Linear(size, size)
        self.linear_v = nn.Linear(size, size)
        self.linear_out = nn.Linear(size, size)
        self.linear_pos = nn.Linear(size, size, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(heads, size // heads))
        self.pos_bias_v = nn.Parameter(torch.empty(heads, size // heads))
        self._heads = heads
        self._scale = 1 / math.sqrt(size // heads)

    def forward(self, x: torch.Tensor, distances: torch.Tensor, past: Past) -> torch.Tensor:
        """Attend.

        Args:
            x: (rows, time, size).
            distances: by `distance_features`, for this time and what is before it.
            past: what else is attended to.

        Returns:
            (rows, time, size).
        """
        query, key, value = (
            linear(x).unflatten(-1, (self._heads, -1))
            for linear in (self.linear_q, self.linear_k, self.linear_v)
        )
        by_content = (query + self.pos_bias_u).transpose(1, 2)
        by_distance = (query + self.pos_bias_v).transpose(1, 2)
        place = self.linear_pos(distances).unflatten(-1, (self._heads, -1)).transpose(0, 1)
        far = _by_position(by_distance @ place.transpose(1, 2))
        found = past.attend(
            by_content, key.transpose(1, 2), value.transpose(1, 2), far * self._scale
        )
        return self.linear_out(found.transpose(1, 2).flatten(2))


def distance_features(
    time: int, size: int, device: torch.device, n_before: int = 0
) -> torch.Tensor:
    """Sinusoids of the distances from `n_before` + `time` - 1 back to `time` - 1 ahead.

    Returns:
        (n_before + 2 * time - 1, size).
    """
    distance = torch.arange(n_before + time - 1, -time, -1, dtype=torch.float32, device=device)
    even = torch.arange(0, size, 2, dtype=torch.float32, device=device)
    angle = distance[:, None] * torch.exp(even * -(math.log(10000.0) / size))
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


def _by_position(scores: torch.Tensor) -> torch.Tensor:
    """(rows, heads, time, distances) to (rows, heads, time, keys), without moving anything.

    The distance of query i and key j is the element time - 1 - i + j of row i; from row to row it
    begins one element earlier.
    """
    rows, heads, time, distances = scores.shape
    scores = scores.contiguous()
    keys = distances - time + 1
    strides = (scores.stride(0), scores.stride(1), distances - 1, 1)
    return scores.as_strided((rows, heads, time, keys), strides, scores.storage_offset() + time - 1)


class FeedForward(nn.Module):  # type: ignore[misc]
    """`PositionwiseFeedForward` with Swish."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, inner)
        self.w_2 = nn.Linear(inner, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, time, size) to the same."""
        return self.w_2(F.silu(self.w_1(x)))


class ConformerBlock(nn.Module):  # type: ignore[misc]
    """`ConformerEncoderLayer` without convolution, normalising first."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.self_attn = RelativeAttention(spec.size, spec.heads)
        self.feed_forward = FeedForward(spec.size, spec.feed_forward)
        self.norm_ff = nn.LayerNorm(spec.size, eps=_BLOCK_EPS)
        self.norm_mha = nn.LayerNorm(spec.size, eps=_BLOCK_EPS)

    def forward(self, x: torch.Tensor, distances: torch.Tensor, past: Past) -> torch.Tensor:
        """(rows, time, size) to the same; for the rest see `RelativeAttention`."""
        x = x + self.self_attn(self.norm_mha(x), distances, past)
        return x + self.feed_forward(self.norm_ff(x))


class InputLayer(nn.Module):  # type: ignore[misc]
    """`LinearNoSubsampling`, and the scale of upstream's positional encoding."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(size, size), nn.LayerNorm(size))
        self._scale = math.sqrt(size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, time, size) to the same."""
        return self.out(x) * self._scale


class Upsampling(nn.Module):  # type: ignore[misc]
    """`Upsample1D`: every position twice, then a convolution that sees the past."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv = CausalConvolution(size, size, _UP_KERNEL)

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """(rows, time, size) to (rows, 2 * time, size)."""
        return self.conv(x.repeat_interleave(2, dim=1), past)


class UpsamplingEncoder(nn.Module):  # type: ignore[misc]
    """`UpsampleConformerEncoder`."""

    def __init__(self, spec: EncoderSpec, lookahead: int) -> None:
        super().__init__()
        self.embed = InputLayer(spec.size)
        self.after_norm = nn.LayerNorm(spec.size)
        self.pre_lookahead_layer = Lookahead(spec.size, spec.size, lookahead)
        self.encoders = nn.ModuleList([ConformerBlock(spec) for _ in range(spec.blocks)])
        self.up_layer = Upsampling(spec.size)
        self.up_embed = InputLayer(spec.size)
        self.up_encoders = nn.ModuleList([ConformerBlock(spec) for _ in range(_UP_BLOCKS)])

    def forward(
        self, x: torch.Tensor, there: torch.Tensor, past: Past, up_past: Past
    ) -> torch.Tensor:
        """Encode.

        Args:
            x: (rows, time + lookahead, size), embedded tokens.
            there: (rows, time + lookahead, 1), 1 where there is a token, 0 elsewhere.
            past: of the tokens.
            up_past: of the frames.

        Returns:
            (rows, 2 * time, size).
        """
        x = self.pre_lookahead_layer(self.embed(x) * there, past)
        x = self._attend(self.encoders, x, past)
        x = self.up_embed(self.up_layer(x, up_past))
        x = self._attend(self.up_encoders, x, up_past)
        return self.after_norm(x)

    @staticmethod
    def _attend(blocks: nn.ModuleList, x: torch.Tensor, past: Past) -> torch.Tensor:
        distances = distance_features(x.shape[1], x.shape[2], x.device, past.n_before)
        for block in blocks:
            x = block(x, distances, past)
        return x


class TokenEncoder(nn.Module):  # type: ignore[misc]
    """Everything of a flow that is not its estimator.

    Args:
        spec: of the flow.
    """

    def __init__(self, spec: FlowSpec) -> None:
        super().__init__()
        self.input_embedding = nn.Embedding(spec.vocabulary, spec.token_size)
        self.spk_embed_affine_layer = nn.Linear(spec.speaker_size, MEL_BANDS)
        if spec.encoder is not None:
            self.encoder = UpsamplingEncoder(spec.encoder, spec.lookahead_tokens)
            self.encoder_proj = nn.Linear(spec.encoder.size, MEL_BANDS)
        elif isinstance(spec.estimator, DitSpec):
            channels = spec.estimator.lookahead_channels
            self.pre_lookahead_layer = Lookahead(spec.token_size, channels, spec.lookahead_tokens)
        self._spec = spec

    def speaker(self, embedding: torch.Tensor) -> torch.Tensor:
        """(rows, 192) to (rows, 80)."""
        return self.spk_embed_affine_layer(F.normalize(embedding, dim=1))

    @property
    def rates(self) -> tuple[int, ...]:
        """For each of the pasts that `forward` takes, how many positions a token is."""
        return (1,) if self._spec.encoder is None else (1, self._spec.frames_per_token)

    def forward(
        self, tokens: torch.Tensor, given: torch.Tensor, pasts: Sequence[Past]
    ) -> torch.Tensor:
        """Encode tokens.

        Args:
            tokens: (rows, time + lookahead) int64.
            given: (rows,) how many of a row's tokens are there, those looked ahead at included.
            pasts: one for each of `rates`.

        Returns:
            (rows, frames per token * time, 80); padding has values of no meaning.
        """
        there = torch.arange(tokens.shape[1], device=tokens.device) < given[:, None]
        there = there[:, :, None].float()
        x = self.input_embedding(tokens) * there
        if self._spec.encoder is not None:
            return self.encoder_proj(self.encoder(x, there, *pasts))
        ahead = self.pre_lookahead_layer(x, *pasts)
        return ahead.repeat_interleave(self._spec.frames_per_token, dim=1)
