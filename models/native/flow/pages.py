"""Pages: what is kept of a chunk of one stream, so that later chunks need not compute it again.

A page has a number, and its place in every tensor of every store.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import torch

from models.native.flow.past import Layout

BLANK, WASTE = 0, 1
"""Pages of nobody: zeros that are only read, and what is only written."""
_N_OWN = 2
_ROOM = 16
"""Pages that a stream may well need; they are left to whoever is before another."""


class PageStore:
    """What a stack of layers keeps, for all pages; on a CPU memory is taken as pages are used.

    Args:
        layout: of what the stack asks for.
        positions: of a page.
        passes: through the stack, of which each has a past of its own.
        branches: rows that a stream has in each pass.
        n_pages: at most in use.
        dtype: of everything.
        device: of everything.
        blank: keys are read from `BLANK` pages too.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        positions: int,
        passes: int,
        branches: int,
        n_pages: int,
        dtype: torch.dtype,
        device: torch.device,
        blank: bool,
    ) -> None:
        heads, head_size = layout.heads[0] if layout.heads else (0, 0)
        if any(shape != (heads, head_size) for shape in layout.heads):
            raise ValueError(f"layers of different heads: {set(layout.heads)}")
        if any(tail.positions > positions for tail in layout.tails):
            raise ValueError(f"pages of {positions} positions do not hold {layout.tails}")
        self.positions = positions
        self.branches = branches
        self.passes = passes
        self.n_pages = _N_OWN + n_pages
        places = branches * self.n_pages
        depth = len(layout.heads)
        shape = (passes, depth, 2, heads, places, positions, head_size)
        # A head's keys lie side by side, from page to page too: where pages follow each other they
        # are read without being copied. Branches come one after the other.
        self.keys = _empty(shape, dtype, device)
        """(passes, layers, 2, heads, branches * pages, positions, head_size), keys and values."""
        self.tails = [_empty((passes, places, *tail), dtype, device) for tail in layout.tails]
        """For each convolution (passes, branches * pages, n, channels)."""
        for place in range(BLANK, places, self.n_pages):
            if blank:
                self.keys[:, :, :, :, place] = 0
            for tail in self.tails:
                tail[:, place] = 0

    @property
    def page_bytes(self) -> int:
        """Of one page."""
        n_bytes: int = sum(tensor.nbytes for tensor in (self.keys, *self.tails))
        return n_bytes // self.n_pages

    def places(self, pages: torch.Tensor) -> torch.Tensor:
        """(jobs, n) numbers of pages to (branches * jobs, n) places in the tensors."""
        return torch.cat([pages + branch * self.n_pages for branch in range(self.branches)])


def _empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A tensor that on a CPU takes memory as it is written to.

    Not in huge pages of the operating system: one holds pieces of all of ours, so all would be
    there with the first.
    """
    size = math.prod(shape)
    if device.type != "cpu" or not size or not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return torch.empty(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, size * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


class PagePool:
    """Which pages are free, and how often the others are held. Pure bookkeeping.

    Args:
        n_pages: that there are.
    """

    def __init__(self, n_pages: int) -> None:
        self.n_pages = n_pages
        self._holders = [0] * (_N_OWN + n_pages)
        self._n_free = n_pages

    @property
    def n_free(self) -> int:
        """Pages that nobody holds."""
        return self._n_free

    def holders(self, page: int) -> int:
        """How often a page is held."""
        return self._holders[page]

    def take(self, n: int, after: int | None = None) -> list[int]:
        """Hold free pages.

        Args:
            n: how many; there may be fewer.
            after: the page before them, which they follow if they can.
        """
        found: list[int] = []
        for _ in range(min(n, self._n_free)):
            page = self._near(found[-1] if found else after)
            self._holders[page] = 1
            self._n_free -= 1
            found.append(page)
        return found

    def hold(self, pages: Iterable[int]) -> None:
        """Hold pages that are held already once more."""
        for page in pages:
            self._holders[page] += 1

    def release(self, pages: Iterable[int]) -> None:
        """Hold pages once less; who holds them last gives them back."""
        for page in pages:
            self._holders[page] -= 1
            if not self._holders[page]:
                self._n_free += 1

    def _near(self, page: int | None) -> int:
        if page is not None and page + 1 < len(self._holders) and not self._holders[page + 1]:
            return page + 1
        gaps = list(self._gaps())
        # The first that suffices for two: pages that were never used take no memory on a CPU.
        wide = (gap for gap in gaps if gap[1] - gap[0] >= 2 * _ROOM)
        begin, end = next(wide, None) or max(gaps, key=lambda gap: gap[1] - gap[0])
        # Not at its beginning, so that who is before it can go on as well.
        return begin if begin == _N_OWN else min((begin + end) // 2, begin + _ROOM)

    def _gaps(self) -> Iterator[tuple[int, int]]:
        used = [page for page, n in enumerate(self._holders) if n and page >= _N_OWN]
        for before, after in pairwise((_N_OWN - 1, *used, len(self._holders))):
            if after > before + 1:
                yield before + 1, after


def runs(pages: Sequence[int]) -> list[tuple[int, int]]:
    """Where pages follow each other: (begin, end) of each run."""
    cuts = [i for i in range(1, len(pages)) if pages[i] != pages[i - 1] + 1]
    return [
        (pages[begin], pages[end - 1] + 1)
        for begin, end in pairwise((0, *cuts, len(pages)))
        if end > begin
    ]
