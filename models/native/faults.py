"""Finds who is guilty of a batch that fails, and whether the device is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from models.native.flow.errors import FlowJobError

Row = TypeVar("Row")
Result = TypeVar("Result")


class BrokenDeviceError(Exception):
    """Nothing can be computed in this process any more."""


class Bisection:
    """Computes batches such that only the rows that make one fail are lost.

    Args:
        device: where they are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def run(
        self,
        compute: Callable[[Sequence[Row]], Result],
        rows: Sequence[Row],
        failed: Callable[[Row, Exception], None],
    ) -> Iterator[tuple[Sequence[Row], Result]]:
        """Compute rows together, or in the largest parts that can be computed.

        Args:
            compute: computes rows; if it raises, it can be called again with some of them.
            rows: in any number.
            failed: is told of each row that cannot be computed even alone.

        Returns:
            The parts, and what they became.

        Raises:
            BrokenDeviceError: the device has failed, so there is no use in trying again.
        """
        if not rows:
            return
        try:
            result = compute(rows)
        except Exception as error:
            if self._is_broken(error):
                raise BrokenDeviceError(str(error)) from error
            for part in _parts(rows, error, failed):
                yield from self.run(compute, part, failed)
        else:
            yield rows, result

    def _is_broken(self, error: Exception) -> bool:
        if isinstance(error, torch.AcceleratorError):
            return True
        if self._device.type != "cuda" or isinstance(error, torch.OutOfMemoryError):
            return False
        try:
            # A context that has failed fails at everything, whatever the first error was called.
            torch.cuda.synchronize(self._device)
        except RuntimeError:
            return True
        return False


def _parts(
    rows: Sequence[Row], error: Exception, failed: Callable[[Row, Exception], None]
) -> list[Sequence[Row]]:
    """What is left to try."""
    if isinstance(error, FlowJobError) and error.jobs:
        for index in error.jobs:
            failed(rows[index], error)
        return [[row for index, row in enumerate(rows) if index not in error.jobs]]
    if len(rows) == 1:
        failed(rows[0], error)
        return []
    half = len(rows) // 2
    return [rows[:half], rows[half:]]
