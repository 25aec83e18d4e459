"""What the device takes, measured while it works.

Times are kept by size, in cells, and straight lines are laid through the cells. All cells share one
factor, the device's speed at the moment: what is seen often tells of a device that has become
slower, and so of sizes too that have not been seen for long.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import product
from operator import mul

import numpy as np
import numpy.typing as npt

from models.native.scheduler.capacity import USUAL_BEFORE_TOKENS
from models.native.scheduler.views import Costs

_Vector = npt.NDArray[np.float64]
# Steps are short, and there is one of these sums after each; arrays would take ten times as long.
_Sizes = tuple[float, ...]

_STEP = (8e-3, 8e-4)
"""Of the language model: each, and for each row."""
_CHUNKS = (2e-2, 2e-3, 1e-3)
"""A batch, each new token, each token before. How costs are to each other until they are seen."""
_KNOWN = 8
"""Times in a cell after which it is known: others than it are then news of the device."""
_SHARE_OF_SPEED = 0.1
"""Of a measurement, in the device's speed."""
_SHARE_OF_CELL = 0.02
"""The same in a cell that is known; what is left when the speed is right is the cell's own."""
_MOST = 2.0
"""By which a measurement counts as slower or faster than expected; it may be one that stalled."""
_MOST_AT_FIRST = 4.0
"""The same, slower than the line of others, for the first measurement of a size."""
_WEIGHT_OF_PRIOR = 0.01
"""Beside a cell's weight of 1: decides only what the cells leave open."""
_LEAST = 1e-3
"""Of what the prior says a cost is; nothing is for nothing."""
_SHARE_OF_BEFORE = 0.01
"""Of a chunk, in how many tokens are before one; those of one session are not to count for all."""
_LEAST_S = 1e-6
"""That anything takes; clocks may be coarser."""
_REFIT_AFTER = 64
"""Measurements; lines through the same cells change little by each."""


class MeasuredCosts:
    """Costs as straight lines through what has been measured.

    Belongs to one thread; its properties may be read by others.

    Args:
        overlap: steps and batches run side by side on the device.
    """

    def __init__(self, *, overlap: bool = False) -> None:
        self._overlap = overlap
        self._steps = _Table(_STEP)
        self._batches = _Table(_CHUNKS)
        self._n_before = float(USUAL_BEFORE_TOKENS)

    @property
    def costs(self) -> Costs:
        """As they are now."""
        step_s, step_row_s = self._steps.line
        batch_s, token_s, before_token_s = self._batches.line
        return Costs(
            step_s=step_s,
            step_row_s=step_row_s,
            batch_s=batch_s,
            token_s=token_s,
            before_token_s=before_token_s,
            overlap=self._overlap,
        )

    @property
    def n_before(self) -> float:
        """Tokens before a chunk that are computed again, on average."""
        return self._n_before

    def step_took(self, n_rows: int, seconds: float) -> None:
        """Take a step of the language model into account."""
        self._steps.took(_size(n_rows), (1, n_rows), seconds)

    def batch_took(self, n_new: int, n_before: int, seconds: float, *, n_rows: int) -> None:
        """Take a batch of chunks into account.

        Args:
            n_new: tokens that sound was made of, all rows together.
            n_before: tokens before those that were computed again.
            seconds: of the device.
            n_rows: chunks.
        """
        key = _size(n_new) // 2, _size(n_before) // 2
        self._batches.took(key, (1, n_new, n_before), seconds)
        share = 1 - (1 - _SHARE_OF_BEFORE) ** n_rows
        self._n_before += share * (n_before / n_rows - self._n_before)


@dataclass(slots=True)
class _Cell:
    sizes: _Sizes
    seconds: float
    """On a device of speed 1."""
    n_seen: int = 1


class _Table:
    def __init__(self, prior: _Sizes) -> None:
        self._prior = prior
        self._shape = prior
        self._slowness = 1.0
        self._cells: dict[Hashable, _Cell] = {}
        self._n_since_fit = 0

    @property
    def line(self) -> list[float]:
        """Seconds for each of the sizes, all above 0."""
        slowness = self._slowness
        return [cost_s * slowness for cost_s in self._shape]

    def took(self, key: Hashable, sizes: _Sizes, seconds: float) -> None:
        seconds = max(seconds, _LEAST_S)
        cell = self._cells.get(key)
        if cell is None:
            line_s = _sum(self._shape, sizes)
            if not self._cells:
                self._slowness = seconds / line_s
            found_s = min(seconds / self._slowness, line_s * _MOST_AT_FIRST)
            cell = self._cells[key] = _Cell(sizes, found_s)
        else:
            self._see_again(cell, sizes, seconds)
        self._n_since_fit += 1
        if cell.n_seen < _KNOWN or self._n_since_fit >= _REFIT_AFTER:
            self._n_since_fit = 0
            self._shape = _fitted(list(self._cells.values()), self._prior)

    def _see_again(self, cell: _Cell, sizes: _Sizes, seconds: float) -> None:
        # In one cell sizes differ; the line tells what that makes.
        expected_s = cell.seconds * _sum(self._shape, sizes) / _sum(self._shape, cell.sizes)
        ratio = seconds / (self._slowness * expected_s)
        first_again = cell.n_seen == 1
        cell.n_seen += 1
        is_known = cell.n_seen > _KNOWN
        share = _SHARE_OF_CELL if is_known else 1 / cell.n_seen
        if first_again and ratio < 1:
            # The first of a size chooses kernels and takes memory, which the next ones do not.
            share = 1.0
        else:
            ratio = min(max(ratio, 1 / _MOST), _MOST)
        cell.seconds += share * (expected_s * ratio - cell.seconds)
        cell.sizes = tuple(
            mean + share * (size - mean) for mean, size in zip(cell.sizes, sizes, strict=True)
        )
        if is_known:
            self._slowness *= 1 + _SHARE_OF_SPEED * (ratio - 1)


def _sum(costs: _Sizes, sizes: _Sizes) -> float:
    return float(sum(map(mul, costs, sizes)))


def _size(n: int) -> int:
    """0 for 1, and one more for each time that it doubles, as batches are padded."""
    return (n - 1).bit_length() if n else -1


def _fitted(cells: Sequence[_Cell], prior: _Sizes) -> _Sizes:
    """The line with the least relative errors, and no cost below 0, or quite there."""
    seconds = np.array([cell.seconds for cell in cells])
    rows = np.array([cell.sizes for cell in cells]) / seconds[:, None]
    scale = np.array(prior) * float(np.median(1 / (rows @ np.array(prior))))
    weight = np.sqrt(_WEIGHT_OF_PRIOR)
    # In units of the prior's costs, in which it is all ones.
    matrix = np.concatenate((rows * scale, weight * np.eye(len(prior))))
    wanted = np.concatenate((np.ones(len(cells)), np.full(len(prior), weight)))
    found = _non_negative(matrix.T @ matrix, matrix.T @ wanted)
    return tuple((scale * np.maximum(found, _LEAST)).tolist())


def _non_negative(square: _Vector, wanted: _Vector) -> _Vector:
    """Least squares without negative results, of two or three: which of them are 0 is tried out."""
    best, best_loss = np.zeros(len(wanted)), 0.0
    for chosen in product((False, True), repeat=len(wanted)):
        used = np.flatnonzero(chosen)
        found = np.zeros(len(wanted))
        found[used] = np.linalg.solve(square[np.ix_(used, used)], wanted[used])
        loss = float(found @ square @ found - 2 * wanted @ found)
        if loss < best_loss and (found >= 0).all():
            best, best_loss = found, loss
    return best
