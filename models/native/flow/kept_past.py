"""The past of jobs that begin in the middle of their streams: in pages.

What is computed of whole chunks is kept in new pages at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812

from models.native.flow.masks import attention_bias
from models.native.flow.pages import BLANK, PageStore, runs


class Placement(NamedTuple):
    """Where a job's past is, and where what is computed is to be kept."""

    kept: Sequence[int]
    """Pages of its stream, from the beginning."""
    new: Sequence[int]
    """Pages for its first whole chunks; the others are not kept."""


class Places(NamedTuple):
    """The same of a batch of jobs, as tensors; jobs with fewer pages have `BLANK` or `WASTE`."""

    kept: torch.Tensor
    """(jobs, n) int64; those of each job are the last of its row."""
    new: torch.Tensor
    """(jobs, m) int64, of the m whole chunks that are computed."""


class KeptPast:
    """See `Past`. All jobs of a batch together, padded to the longest past.

    Pasts end where the given positions begin, so distances are the same for all rows. What a call
    does depends on shapes only.

    Args:
        store: of the stack of layers.
        places: the pages.
        positions: (jobs, time) int64, of what is computed.
        bias: (rows, 1, time, n_before + time), by `attention_bias`.
    """

    def __init__(
        self,
        store: PageStore,
        places: Places,
        positions: torch.Tensor,
        bias: torch.Tensor,
    ) -> None:
        self.positions = positions.repeat(store.branches, 1)
        self.n_before = places.kept.shape[1] * store.positions
        self._keys = iter(store.keys.flatten(0, 1))
        self._tails = iter([tail[number] for number in range(store.passes) for tail in store.tails])
        self._page = store.positions
        self._kept = store.places(places.kept)
        # Before the beginning there are zeros.
        self._last = F.pad(places.kept, (1, 0), value=BLANK)[:, -1:]
        self._last = store.places(self._last).flatten()
        self._new = store.places(places.new)
        self._bias = bias

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scores: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Past`."""
        store = next(self._keys)
        new = torch.stack((key, value))
        whole = _cut(new, 3, self._new.shape[1], self._page)
        store.index_copy_(2, self._new.flatten(), whole.transpose(1, 2).flatten(2, 3))
        rows, n = self._kept.shape
        old = store.index_select(2, self._kept.flatten())
        old = old.reshape(2, old.shape[1], rows, n * self._page, old.shape[4]).transpose(1, 2)
        keys, values = torch.cat((old, new), dim=3)
        bias = self._bias if scores is None else scores + self._bias
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=bias)

    def extend(self, x: torch.Tensor, n: int) -> torch.Tensor:
        """See `Past`."""
        tails = next(self._tails)
        ends = _cut(x, 1, self._new.shape[1], self._page)[:, :, -n:]
        before = tails.index_select(0, self._last)
        tails.index_copy_(0, self._new.flatten(), ends.flatten(0, 1))
        return torch.cat((before, x), dim=1)


class KeptPastOfEach(KeptPast):
    """The same, but job by job, without padding, and without copies where pages are in a row.

    For a CPU, where padding costs more than calls. Takes no scores.

    Args:
        store: see `KeptPast`.
        places: likewise.
        positions: likewise.
        placements: of each job.
        lengths: positions of each job that are computed, without padding.
    """

    def __init__(
        self,
        store: PageStore,
        places: Places,
        positions: torch.Tensor,
        placements: Sequence[Placement],
        lengths: Sequence[int],
    ) -> None:
        super().__init__(store, places, positions, positions.new_empty(0))
        self._n_pages = store.n_pages
        self._jobs = [
            _Job(placement, length, self._page, store.keys.dtype)
            for placement, length in zip(placements, lengths, strict=True)
        ]

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scores: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Past`."""
        if scores is not None:
            raise NotImplementedError("scores of each job")
        # Of shape (2, heads, branches, pages, positions, head_size).
        store = next(self._keys).unflatten(2, (-1, self._n_pages))
        found = torch.zeros_like(query)
        for row, job in enumerate(self._jobs):
            mine = slice(row, None, len(self._jobs)), slice(None), slice(job.length)
            found[mine] = job.attend(query[mine], torch.stack((key[mine], value[mine])), store)
        return found


class _Job:
    """One of a batch."""

    def __init__(self, placement: Placement, length: int, page: int, dtype: torch.dtype) -> None:
        self.length = length
        self._page = page
        self._new = runs(placement.new)
        self._n_kept_new = len(placement.new) * page
        pages = [*placement.kept, *placement.new]
        in_a_row = runs(pages)
        self._run = in_a_row[0] if len(in_a_row) == 1 else None
        self._pages = torch.tensor(pages, dtype=torch.int64)
        self._bias = None
        if length > page:
            one = torch.tensor([length]), torch.tensor([False])
            before = len(placement.kept) * page
            self._bias = attention_bias(*one, length, page, dtype, before=before)

    def attend(self, query: torch.Tensor, new: torch.Tensor, store: torch.Tensor) -> torch.Tensor:
        """One layer.

        Args:
            query: (branches, heads, time, head_size).
            new: (2, branches, heads, time, head_size), keys and values.
            store: (2, heads, branches, pages, positions, head_size).
        """
        new = new.transpose(1, 2)
        done = 0
        for begin, end in self._new:
            whole = _cut(new[:, :, :, done:], 3, end - begin, self._page)
            store[:, :, :, begin:end] = whole
            done += (end - begin) * self._page
        if self._run is not None:
            both = store[:, :, :, slice(*self._run)]
        else:
            both = store.index_select(3, self._pages)
        both = both.flatten(3, 4)
        if self.length > self._n_kept_new:
            both = torch.cat((both, new[:, :, :, self._n_kept_new :]), dim=3)
        keys, values = both.transpose(1, 2)
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=self._bias)


def _cut(x: torch.Tensor, dim: int, n: int, size: int) -> torch.Tensor:
    """The first `n` chunks of a dimension, which becomes two."""
    return x.narrow(dim, 0, n * size).unflatten(dim, (n, size))
