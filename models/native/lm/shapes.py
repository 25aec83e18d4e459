"""The few shapes that batches come in, so that each can be captured once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

_ROWS = (1, 2, 4, 8, 16, 32, 64, 96, 128)
_INPUTS = (1, 8, 16, 32, 64, 128, 256)
_FINE_INPUTS = (1, *range(8, 257, 8))
_LEAST_KEYS = 256
_FINE_KEYS = 64
_MOST_KEYS_OF_TEXT = 1024
"""Of a sequence that reads on, as far as it is common: prompts, and the text after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShapes:
    """Sizes that a batch is padded to. They do not change what is computed."""

    rows: Sequence[int]
    """Sessions in a batch, ascending; more are computed in several."""
    inputs: Sequence[int]
    """Inputs of a row, ascending from 1; more are read in pieces."""
    keys: Sequence[int]
    """Positions that are attended to, ascending up to the longest sequence's."""

    @classmethod
    def coarse(cls, max_length: int) -> Self:
        """Few, for CUDA graphs."""
        keys = [_LEAST_KEYS]
        while keys[-1] < max_length:
            keys.append(2 * keys[-1])
        return cls(rows=_ROWS, inputs=_INPUTS, keys=[*keys[:-1], max_length])

    @classmethod
    def fine(cls, max_length: int) -> Self:
        """With little padding, for a CPU, which computes it like anything else."""
        keys = [*range(_FINE_KEYS, max_length, _FINE_KEYS), max_length]
        return cls(rows=range(1, _ROWS[-1] + 1), inputs=_FINE_INPUTS, keys=keys)

    def common(self, n_sessions: int) -> Iterator[tuple[int, int, int]]:
        """Shapes that batches of so many sessions come in all the time: rows, inputs and keys.

        All steps by one token; of text, what a tick reads of it, in few rows or in many.
        """
        most_rows = at_least(self.rows, n_sessions)
        for n_inputs in self.inputs:
            for n_rows in (size for size in self.rows if size <= most_rows):
                if n_inputs > 1 and n_rows * n_inputs > self.inputs[-1]:
                    break
                for n_keys in self.keys:
                    if n_inputs == 1 or n_inputs <= n_keys <= _MOST_KEYS_OF_TEXT:
                        yield n_rows, n_inputs, n_keys


def at_least(sizes: Sequence[int], n: int) -> int:
    """The smallest size that holds `n`; the largest, if none does."""
    return sizes[min(bisect_left(sizes, n), len(sizes) - 1)]


def at_most(sizes: Sequence[int], n: int) -> int:
    """The largest size that `n` holds; 0, if it holds none."""
    fitting = bisect_right(sizes, n)
    return sizes[fitting - 1] if fitting else 0
