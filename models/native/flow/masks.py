"""Who may see whom, in a batch of sequences of different lengths."""

from __future__ import annotations

import torch

_ALIGNMENT = 8
"""CUDA's memory efficient attention copies a mask whose rows do not begin at multiples of it."""


def attention_bias(
    lengths: torch.Tensor,
    full: torch.Tensor,
    size: int,
    chunk: int,
    dtype: torch.dtype,
    *,
    before: int = 0,
    kept: torch.Tensor | None = None,
) -> torch.Tensor:
    """What is added to attention scores: 0 where a position sees another, minus infinity elsewhere.

    A position sees its own chunk and all before it, up to the end of its sequence; padding sees the
    same, so no row is empty.

    Args:
        lengths: (rows,) of the sequences, each at least 1.
        full: (rows,) bool, sequences whose positions see all of it.
        size: to which the sequences are padded.
        chunk: positions that see each other.
        dtype: of the result.
        before: keys before the sequences.
        kept: (rows,) how many of those, the last ones, each row sees; by default all.

    Returns:
        (rows, 1, size, before + size).
    """
    position = torch.arange(size, device=lengths.device)
    chunk_end = (torch.div(position, chunk, rounding_mode="floor") + 1) * chunk
    end = torch.where(full[:, None], size, chunk_end)
    end = torch.minimum(end, lengths[:, None])
    key = torch.arange(-before, size, device=lengths.device)
    hidden = key >= end[:, :, None]
    if kept is not None:
        hidden |= key < -kept[:, None, None]
    width = -(-len(key) // _ALIGNMENT) * _ALIGNMENT
    bias = torch.zeros((lengths.shape[0], 1, size, width), dtype=dtype, device=lengths.device)
    return bias[..., : len(key)].masked_fill_(hidden[:, None], float("-inf"))
