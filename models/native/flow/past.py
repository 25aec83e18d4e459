"""What layers know of the positions before those that they are given.

Layers ask their past in the order in which they are computed, and a stack that is computed several
times asks again, so it need not be told which layer asks. Tensors are (rows, time, channels), those
of attention (rows, heads, time, head_size).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812


class Past(Protocol):
    """Of a stack of layers."""

    @property
    def positions(self) -> torch.Tensor:
        """(rows or 1, time) int64, where the given positions are in the sequence."""

    @property
    def n_before(self) -> int:
        """How many keys `attend` puts before the given ones."""

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scores: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The next layer's attention, over the past and what is given.

        Args:
            query: (rows, heads, time, head_size), as the others.
            key: of the given positions.
            value: likewise.
            scores: (rows, heads, time, n_before + time), to be added to the scaled products.

        Returns:
            (rows, heads, time, head_size).
        """

    def extend(self, x: torch.Tensor, n: int) -> torch.Tensor:
        """Put before the next convolution's input the `n` positions that it looks back at.

        Returns:
            (rows, n + time, channels).
        """


class NoPast:
    """The given positions are the sequence from its beginning.

    Args:
        size: the given positions.
        bias: by `attention_bias`, for the layers that attend.
        device: of everything.
    """

    n_before = 0

    def __init__(
        self, size: int, bias: torch.Tensor | None, device: torch.device | None = None
    ) -> None:
        self._bias = bias
        self.positions = torch.arange(size, device=device)[None]

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scores: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Past`."""
        bias = self._bias if scores is None else scores + self._bias
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    def extend(self, x: torch.Tensor, n: int) -> torch.Tensor:
        """See `Past`; before the beginning there are zeros."""
        return F.pad(x, (0, 0, n, 0))


class Tail(NamedTuple):
    """What a convolution looks back at."""

    positions: int
    channels: int


class Layout(NamedTuple):
    """What a stack of layers must know of its past, in the order in which it asks."""

    heads: tuple[tuple[int, int], ...]
    """(heads, head_size) of each layer that attends."""
    tails: tuple[Tail, ...]


class Recorder(NoPast):
    """Finds out what a stack of layers asks of its past, when it is computed with this one."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(1, None, device)
        self._heads: list[tuple[int, int]] = []
        self._tails: list[Tail] = []

    @property
    def layout(self) -> Layout:
        """Of what has been computed."""
        return Layout(tuple(self._heads), tuple(self._tails))

    def attend(
        self,
        query: torch.Tensor,  # noqa: ARG002 - of the interface
        key: torch.Tensor,
        value: torch.Tensor,
        scores: torch.Tensor | None = None,  # noqa: ARG002
    ) -> torch.Tensor:
        """See `Past`."""
        self._heads.append((key.shape[1], key.shape[3]))
        return value

    def extend(self, x: torch.Tensor, n: int) -> torch.Tensor:
        """See `Past`."""
        self._tails.append(Tail(n, x.shape[2]))
        return super().extend(x, n)
