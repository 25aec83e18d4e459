"""What the device takes, measured while it works."""

from __future__ import annotations

from dataclasses import replace

from models.native.scheduler.views import Costs

_SHARE_OF_NEW = 0.1
"""Of the latest measurement; shapes vary, and one that was slow once should not count for long."""
_STEP = Costs(step_s=8e-3, step_row_s=8e-4, batch_s=0.0, token_s=0.0)
_CHUNKS = Costs(step_s=0.0, step_row_s=0.0, batch_s=2e-2, token_s=2e-3, before_token_s=1e-3)
"""How costs are to each other; measurements stretch them."""


class MeasuredCosts:
    """Costs whose shape is given and whose size is measured.

    A line that is fitted freely says nothing about what has not been seen lately; here every step
    and every batch, of whatever size, tells of all sizes.
    """

    def __init__(self) -> None:
        self._step_factor: float | None = None
        self._chunk_factor: float | None = None

    @property
    def costs(self) -> Costs:
        """As they are now."""
        step, chunk = self._step_factor or 1.0, self._chunk_factor or 1.0
        return replace(
            _CHUNKS,
            step_s=_STEP.step_s * step,
            step_row_s=_STEP.step_row_s * step,
            batch_s=_CHUNKS.batch_s * chunk,
            token_s=_CHUNKS.token_s * chunk,
            before_token_s=_CHUNKS.before_token_s * chunk,
        )

    def step_took(self, n_rows: int, seconds: float) -> None:
        """Take a step of the language model into account."""
        self._step_factor = _mean(self._step_factor, seconds / _STEP.step(n_rows))

    def batch_took(self, n_new: int, n_before: int, seconds: float) -> None:
        """Take a batch of chunks into account, with so many tokens that are new, or were before."""
        expected_s = _CHUNKS.batch_s + n_new * _CHUNKS.token_s + n_before * _CHUNKS.before_token_s
        self._chunk_factor = _mean(self._chunk_factor, seconds / expected_s)


def _mean(so_far: float | None, latest: float) -> float:
    return latest if so_far is None else so_far + _SHARE_OF_NEW * (latest - so_far)
