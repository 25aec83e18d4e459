"""Lanes that stand for a device that is not there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

import numpy.typing as npt
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from models.native.device.lane import (
    Capture,
    Fetched,
    Function,
    HostFetched,
    HostLane,
    Mark,
    Tensors,
)

CPU = torch.device("cpu")


class CapturingLane(HostLane):
    """Captures by calling the function again: quick, and it knows how often it was asked."""

    def __init__(self, device: torch.device = CPU) -> None:
        super().__init__(device)
        self.n_captures = 0
        self.n_replays = 0
        self.room = True

    @property
    def can_capture(self) -> bool:
        return True

    def has_room(self) -> bool:
        return self.room

    def capture(self, function: Function, inputs: Tensors) -> Capture:
        self.n_captures += 1
        return _Again(self, self._held(function, inputs), inputs)

    def _held(self, function: Function, inputs: Tensors) -> Function:
        return function


class TracingLane(CapturingLane):
    """Captures as CUDA does: operations and Python values are those of the capture for ever.

    What asks a tensor for its value in order to go on cannot be captured, and raises.
    """

    def _held(self, function: Function, inputs: Tensors) -> Function:
        traced: Function = make_fx(function)(*inputs)
        return traced


class _Again(Capture):
    """Results lie in the same memory each time, and are no good when the next ones come."""

    def __init__(self, lane: CapturingLane, held: Function, inputs: Tensors) -> None:
        self._lane = lane
        self._held = held
        self._inputs = inputs
        self.outputs = tuple(torch.clone(output) for output in held(*inputs))

    def replay(self) -> None:
        self._lane.n_replays += 1
        for output, new in zip(self.outputs, self._held(*self._inputs), strict=True):
            output.copy_(new)


class ManualLane(HostLane):
    """Its work takes as long as the test wants."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.flying = threading.Event()
        """A batch has been asked for as a whole, and not been released."""
        self.n_marks = 0
        self._n_done = 0
        self._has_fetched = False
        self._changed = threading.Condition()
        self._is_held = False
        self._error: Exception | None = None

    def hold(self) -> None:
        """What is begun from now on stays under way."""
        self._is_held = True

    def land(self, error: Exception | None = None, *, hold: bool = False) -> None:
        """Everything so far is done, or nothing will ever be.

        Args:
            error: why not.
            hold: what follows stays under way.
        """
        with self._changed:
            self._is_held = hold
            self._n_done = self.n_marks
            self._error = error
            self.flying.clear()
            self._changed.notify_all()

    def mark(self) -> Mark:
        with self._changed:
            self.n_marks += 1
            if self._is_held and self._has_fetched:
                self.flying.set()
            self._has_fetched = False
            return _ManualMark(self, self.n_marks)

    def fetch(self, values: torch.Tensor) -> Fetched:
        self._has_fetched = True
        return _ManualFetched(values, self.is_done, self.n_marks)

    def is_done(self, number: int) -> bool:
        """Whether work up to a mark is."""
        if self._error is not None:
            raise self._error
        return number <= self._n_done or not self._is_held

    def wait(self, number: int) -> None:
        """Until it is."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_done(number))


class _ManualMark(Mark):
    def __init__(self, lane: ManualLane, number: int) -> None:
        self._lane = lane
        self._number = number

    def reached(self) -> bool:
        return self._lane.is_done(self._number)

    def wait(self) -> None:
        self._lane.wait(self._number)

    def seconds_since(self, earlier: Self) -> float:
        return 0.01 * (self._number - earlier._number)


class _ManualFetched(HostFetched):
    def __init__(self, values: torch.Tensor, is_done: Callable[[int], bool], number: int) -> None:
        super().__init__(values)
        self._is_done = is_done
        self._number = number

    def take(self) -> npt.NDArray[Any]:
        assert self._is_done(self._number), "the samples were waited for"
        return super().take()
