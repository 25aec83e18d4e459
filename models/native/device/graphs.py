"""Work that a device is asked for again and again, captured so that asking is one call.

A capture does again what was done then, with other values in its inputs: shapes, Python values that
its function met, and the addresses of all that it reached beside its inputs are part of it. So what
differs in any of these needs a key of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import torch

from models.native.device.lane import Capture, Function, Lane, Tensors

ROW_SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Rows to which batches of chunks are padded where work is captured."""
_MOST_GRAPHS = 2000
"""In a lane; each takes some of the device's memory."""


class Graphs:
    """What is captured in one lane.

    Nothing is captured but inside `capturing`, where time does not matter: a capture waits for the
    device, and for all its lanes. What has not been captured is computed as it comes.

    Args:
        lane: all work is done in it.
        enabled: False to capture nothing, so that errors can be searched for.
        most: captures.
    """

    def __init__(self, lane: Lane, *, enabled: bool = True, most: int = _MOST_GRAPHS) -> None:
        self.lane = lane
        self.enabled = enabled and lane.can_capture
        self.n_eager: Counter[str] = Counter()
        """Calls of each unit that were not captured, apart from those inside `capturing`."""
        self.n_left_out = 0
        """Captures for which there was no room."""
        self._most = most
        self._held: dict[Hashable, _Held] = {}
        self._capturing = False

    @property
    def n_captured(self) -> int:
        """So many are held."""
        return len(self._held)

    def n_missed(self, unit: str) -> int:
        """Calls that could not be served by a graph though there are some."""
        return self.n_eager[unit] if self._held else 0

    def padded_rows(self, n_rows: int) -> int:
        """Rows of a batch, so that there are few different shapes."""
        if not self.enabled:
            return n_rows
        return next((size for size in ROW_SIZES if size >= n_rows), n_rows)

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """What is run inside for the first time is captured, as long as there is room."""
        self._capturing = True
        try:
            yield
        finally:
            self._capturing = False

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def run(self, unit: str, key: Hashable, function: Function, inputs: Tensors) -> Tensors:
        """Compute `function(*inputs)`, by a graph if there is one.

        Args:
            unit: what it is a part of, for the count.
            key: everything that decides what the function does, apart from its inputs' shapes.
            function: see `Function`; what it reaches beside its inputs stays where it is.
            inputs: on the lane's device.

        Returns:
            Tensors of the caller's own.
        """
        if not self.enabled:
            return function(*inputs)
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        held = self._held.get((unit, key, shapes))
        if held is not None:
            return held.run(inputs)
        # As part of a capture, too: libraries choose and load their kernels when they first meet a
        # shape, which cannot be captured.
        results = function(*inputs)
        if not self._capturing:
            self.n_eager[unit] += 1
        elif self.n_captured < self._most and self.lane.has_room():
            self._held[unit, key, shapes] = _Held(self.lane, function, inputs)
        else:
            self.n_left_out += 1
        return results


class _Held:
    """A capture and the inputs that it reads."""

    def __init__(self, lane: Lane, function: Function, inputs: Tensors) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        self._capture: Capture = lane.capture(function, self._inputs)

    def run(self, inputs: Tensors) -> Tensors:
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._capture.replay()
        return tuple(output.clone() for output in self._capture.outputs)
