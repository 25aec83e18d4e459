"""The language model itself: a Qwen2 body between tables of inputs and a head over speech tokens.

Every sequence in a batch has a slot of its own for its keys and values, and a length of its own.
Nothing here depends on the values of a tensor, so that a call of given shapes can be captured.

Sources: Qwen2 (arXiv 2407.10671): RMSNorm, grouped queries with biases, rotary positions over both
halves of a head, SwiGLU; CosyVoice 2 (arXiv 2412.10117).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from models.cosyvoice.checkpoint import Checkpoint
from models.native.configuration import read_configuration
from models.native.lm.key_values import KeyValues
from models.native.lm.products import FewRowsLinear
from models.native.lm.spec import (
    BODY,
    CONTROL_TABLE,
    HEAD,
    SPEECH_TABLE,
    TEXT_TABLE,
    LmSpec,
    QwenSizes,
    read_spec,
)
from models.native.weights import fill, read_tensors

_UNUSED = "llm.model.lm_head."
"""Qwen2's head over text."""


class LmModel(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """A language model.

    Args:
        spec: its sizes.
    """

    def __init__(self, spec: LmSpec) -> None:
        super().__init__()
        self.spec = spec
        body = spec.body
        self.text = nn.Embedding(body.n_text, body.width)
        self.speech = nn.Embedding(spec.inputs.n_inputs - body.n_text, body.width)
        self.layers = nn.ModuleList(_Layer(body) for _ in range(body.layers))
        self.norm = _Norm(body.width, body.norm_eps)
        self.head = FewRowsLinear(body.width, spec.outputs.n_outputs, bias=spec.has_output_bias)
        self.requires_grad_(requires_grad=False)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return self.head.weight.dtype

    def new_key_values(self, *, n_slots: int, max_length: int) -> KeyValues:
        """Room for so many sequences of so many positions."""
        return KeyValues(
            self.spec.body,
            n_slots=n_slots,
            max_length=max_length,
            device=self.device,
            dtype=self.dtype,
        )

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Inputs by their ids.

        Args:
            ids: int64 of any shape (...), numbered as in `LmSpec.inputs`.

        Returns:
            Of shape (..., width).
        """
        n_text = self.spec.body.n_text
        text = self.text(ids.clamp(max=n_text - 1))
        speech = self.speech((ids - n_text).clamp(min=0))
        return torch.where((ids < n_text).unsqueeze(-1), text, speech)

    def append(
        self,
        key_values: KeyValues,
        slots: torch.Tensor,
        starts: torch.Tensor,
        embeddings: torch.Tensor,
        lengths: torch.Tensor,
        *,
        n_keys: int,
    ) -> torch.Tensor:
        """Let sequences go on: by one input, by a prompt, or by text in their middle.

        Args:
            key_values: of all slots; those of the new positions are written.
            slots: (B,) int64, each slot once; padding has the spare slot, start 0 and length 0.
            starts: (B,) int64, how many positions the sequence in the slot has so far.
            embeddings: (B, T, width); what follows, from the left, the rest of a row is padding.
            lengths: (B,) int64, how much follows; from 1 to T, start + length at most max_length.
            n_keys: no sequence has more positions afterwards; at most max_length.

        Returns:
            (B, n_outputs) float32 logits of what comes after each row's last position.
        """
        n_inputs = embeddings.shape[1]
        steps = torch.arange(n_inputs, device=embeddings.device)
        positions = starts.unsqueeze(1) + steps
        # Padding is written where nobody reads.
        places = torch.where(steps < lengths.unsqueeze(1), positions, key_values.max_length)
        span = _Span(
            slots=slots,
            places=places,
            n_keys=n_keys,
            rotation=_rotation(positions, self.spec.body, embeddings.dtype),
            bias=_causal_bias(positions, n_keys, self.spec.body, embeddings.dtype),
        )
        hidden = embeddings
        for layer, stored in zip(self.layers, key_values.layers.unbind(0), strict=True):
            hidden = layer(hidden, stored, span)
        rows = torch.arange(len(slots), device=hidden.device)
        last = hidden[rows, (lengths - 1).clamp(min=0)]
        logits: torch.Tensor = self.head(self.norm(last)).float()
        return logits


class _Span:
    """Where in their sequences the inputs of a call stand; the same for all layers."""

    def __init__(
        self,
        *,
        slots: torch.Tensor,
        places: torch.Tensor,
        n_keys: int,
        rotation: tuple[torch.Tensor, torch.Tensor],
        bias: torch.Tensor,
    ) -> None:
        self.slots = slots
        self.places = places
        self.n_keys = n_keys
        self.rotation = rotation
        self.bias = bias


class _Layer(nn.Module):  # type: ignore[misc]
    def __init__(self, body: QwenSizes) -> None:
        super().__init__()
        self._heads, self._kv_heads = body.heads, body.kv_heads
        self._head_size = body.head_size
        n_query = body.heads * body.head_size
        n_rows = n_query + 2 * body.kv_heads * body.head_size
        self.attention_norm = _Norm(body.width, body.norm_eps)
        self.queries_keys_values = FewRowsLinear(body.width, n_rows)
        self.attention_out = FewRowsLinear(n_query, body.width, bias=False)
        self.feed_forward_norm = _Norm(body.width, body.norm_eps)
        self.gate_up = FewRowsLinear(body.width, 2 * body.feed_forward, bias=False)
        self.down = FewRowsLinear(body.feed_forward, body.width, bias=False)

    def forward(self, hidden: torch.Tensor, stored: torch.Tensor, span: _Span) -> torch.Tensor:
        """One layer; `stored` is (slots, 2 * kv_heads, positions, head_size)."""
        hidden = hidden + self._attend(self.attention_norm(hidden), stored, span)
        gate, up = self.gate_up(self.feed_forward_norm(hidden)).chunk(2, dim=-1)
        return hidden + self.down(functional.silu(gate) * up)

    def _attend(self, hidden: torch.Tensor, stored: torch.Tensor, span: _Span) -> torch.Tensor:
        n_rows, n_inputs, _ = hidden.shape
        heads, kv_heads, head_size = self._heads, self._kv_heads, self._head_size
        mixed = self.queries_keys_values(hidden).view(n_rows, n_inputs, -1, head_size)
        mixed = mixed.transpose(1, 2)
        turned = _rotate(mixed[:, : heads + kv_heads], span.rotation)
        new = torch.cat((turned[:, heads:], mixed[:, heads + kv_heads :]), dim=1)
        each_head = torch.arange(2 * kv_heads, device=hidden.device)
        stored.index_put_(
            (span.slots[:, None, None], each_head[None, :, None], span.places[:, None, :]), new
        )
        past = stored[:, :, : span.n_keys].index_select(0, span.slots)
        # Heads that share keys are further queries, so keys are not repeated.
        queries = turned[:, :heads].reshape(n_rows, kv_heads, -1, head_size)
        read = functional.scaled_dot_product_attention(
            queries, past[:, :kv_heads], past[:, kv_heads:], attn_mask=span.bias
        )
        read = read.view(n_rows, heads, n_inputs, head_size).transpose(1, 2)
        attended: torch.Tensor = self.attention_out(read.reshape(n_rows, n_inputs, -1))
        return attended


class _Norm(nn.Module):  # type: ignore[misc]
    """RMSNorm, in float32 whatever the weights are."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self._eps = eps

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        values = hidden.float()
        scale = torch.rsqrt(values.square().mean(dim=-1, keepdim=True) + self._eps)
        return self.weight * (values * scale).to(hidden.dtype)


def _rotation(
    positions: torch.Tensor, body: QwenSizes, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of shape (B, 1, T, head_size), with the sign of `_rotate`'s swap."""
    half = torch.arange(0, body.head_size, 2, device=positions.device, dtype=torch.float32)
    speeds = 1.0 / (body.rope_theta ** (half / body.head_size))
    angles = positions[:, None, :, None].float() * speeds
    cosines, sines = angles.cos(), angles.sin()
    return (
        torch.cat((cosines, cosines), dim=-1).to(dtype),
        torch.cat((-sines, sines), dim=-1).to(dtype),
    )


def _rotate(heads: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    cosines, sines = rotation
    return heads * cosines + heads.roll(heads.shape[-1] // 2, dims=-1) * sines


def _causal_bias(
    positions: torch.Tensor, n_keys: int, body: QwenSizes, dtype: torch.dtype
) -> torch.Tensor:
    """(B, 1, queries, n_keys): 0 up to a query's own position, -inf behind it.

    All of a sequence's earlier positions have been written; what is behind may be another's.
    """
    keys = torch.arange(n_keys, device=positions.device)
    hidden = keys > positions.unsqueeze(-1)
    bias = torch.zeros(hidden.shape, device=positions.device, dtype=dtype)
    bias = bias.masked_fill(hidden, float("-inf")).unsqueeze(1)
    if positions.shape[1] == 1:
        return bias
    return bias.repeat(1, 1, body.heads // body.kv_heads, 1)


def load_lm(
    checkpoint: Checkpoint,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LmModel:
    """Load a checkpoint's language model.

    Args:
        checkpoint: of version 2 or 3.
        device: where it computes.
        dtype: of weights, keys and values; any but float32 changes what is said.

    Raises:
        CheckpointError: its files are damaged, contradict each other or are not supported.
        OSError: they cannot be read.
    """
    path = checkpoint.directory / "llm.pt"
    tensors = read_tensors(path)
    spec = read_spec(checkpoint, read_configuration(checkpoint.yaml_path), tensors)
    with torch.device("meta"):
        model = LmModel(spec)
    fill(model, _joined(spec, tensors), path, others=(_UNUSED,))
    model.to(device=device, dtype=dtype).requires_grad_(requires_grad=False)
    return model


def _joined(spec: LmSpec, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The file's weights under this module's names; what is multiplied at once is one matrix."""
    left = dict(tensors)

    def take(*names: str) -> torch.Tensor:
        parts = [left.pop(name).float() for name in names]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    tables = (SPEECH_TABLE, CONTROL_TABLE)[: 2 if spec.version == 2 else 1]  # noqa: PLR2004
    joined = {"text.weight": take(TEXT_TABLE), "speech.weight": take(*tables)}
    joined["norm.weight"] = take(f"{BODY}norm.weight")
    for name in ("weight", "bias") if spec.has_output_bias else ("weight",):
        joined[f"head.{name}"] = take(HEAD + name)
    for number in range(spec.body.layers):
        theirs, ours = f"{BODY}layers.{number}.", f"layers.{number}."
        for name in ("weight", "bias"):
            joined[f"{ours}queries_keys_values.{name}"] = take(
                *(f"{theirs}self_attn.{part}_proj.{name}" for part in "qkv")
            )
        mlp = f"{theirs}mlp."
        joined[f"{ours}gate_up.weight"] = take(f"{mlp}gate_proj.weight", f"{mlp}up_proj.weight")
        joined[f"{ours}down.weight"] = take(f"{mlp}down_proj.weight")
        joined[f"{ours}attention_out.weight"] = take(f"{theirs}self_attn.o_proj.weight")
        joined[f"{ours}attention_norm.weight"] = take(f"{theirs}input_layernorm.weight")
        joined[f"{ours}feed_forward_norm.weight"] = take(f"{theirs}post_attention_layernorm.weight")
    return {**joined, **left}  # what nothing wants is told by `fill`
