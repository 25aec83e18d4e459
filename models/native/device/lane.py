"""A lane: work that a device does in order, beside what it does in other lanes.

On CUDA it is a stream. On a CPU everything is done at once, and the same code finds it done.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Tensors: TypeAlias = tuple[torch.Tensor, ...]
Function: TypeAlias = Callable[..., Tensors]
"""Of tensors, whose shapes alone decide what it does."""


class Mark(ABC):
    """A point in a lane's work."""

    @abstractmethod
    def reached(self) -> bool:
        """Whether all work before it is done; does not wait.

        Raises:
            torch.AcceleratorError: the device has failed.
        """

    @abstractmethod
    def wait(self) -> None:
        """Sleep until it is reached, in any thread.

        Raises:
            torch.AcceleratorError: the device has failed.
        """

    @abstractmethod
    def seconds_since(self, earlier: Self) -> float:
        """Between two marks of a lane that have been reached, by the device's clock."""


class Fetched(ABC):
    """Values on their way from the device."""

    @abstractmethod
    def take(self) -> npt.NDArray[Any]:
        """Wait for them; to be called once at most.

        Raises:
            torch.AcceleratorError: the device has failed.
        """


class Capture(ABC):
    """Work that is held ready, to be done again."""

    outputs: Tensors
    """Where it puts its results. Other captures of the lane may use the same memory when they run,
    so they are to be copied before."""

    @abstractmethod
    def replay(self) -> None:
        """Do it, with what is in its inputs now."""


class Lane(ABC):
    """Belongs to one thread. Everything but `current` is to be called inside of that."""

    @property
    @abstractmethod
    def can_capture(self) -> bool:
        """Whether `capture` is there."""

    @abstractmethod
    def current(self) -> AbstractContextManager[Any]:
        """What is asked of the device inside goes into this lane."""

    @abstractmethod
    def mark(self) -> Mark:
        """The point behind all work so far."""

    @abstractmethod
    def send(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the host, on the device; does not wait.

        Args:
            values: of any shape, and free to be changed when this returns on CUDA; the same tensor
                on a CPU.
        """

    @abstractmethod
    def fetch(self, values: torch.Tensor) -> Fetched:
        """Begin to copy values of the device to the host; does not wait."""

    @abstractmethod
    def capture(self, function: Function, inputs: Tensors) -> Capture:
        """Hold work ready. It should have been done once before with inputs of these shapes.

        Args:
            function: asks the device for the work, and for nothing that waits for it.
            inputs: on the device; they stay the work's inputs, to be written to before a replay.
        """

    @abstractmethod
    def has_room(self) -> bool:
        """Whether the device has memory to spare for another capture."""


class HostLane(Lane):
    """Of a device that does everything when it is asked for.

    Args:
        device: usually the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @property
    def can_capture(self) -> bool:
        """A CPU has no use for it."""
        return False

    def current(self) -> AbstractContextManager[Any]:
        """There is no other."""
        return nullcontext()

    def mark(self) -> Mark:
        """Reached already."""
        return HostMark()

    def send(self, values: torch.Tensor) -> torch.Tensor:
        """Nothing is copied on a CPU."""
        return values.to(self._device)

    def fetch(self, values: torch.Tensor) -> Fetched:
        """Nothing is copied."""
        return HostFetched(values)

    def capture(self, function: Function, inputs: Tensors) -> Capture:
        """Not to be called."""
        raise NotImplementedError

    def has_room(self) -> bool:
        """Not to be called."""
        raise NotImplementedError


class HostMark(Mark):
    """A moment of the host's clock."""

    def __init__(self) -> None:
        self._at_s = time.perf_counter()

    def reached(self) -> bool:
        """Always."""
        return True

    def wait(self) -> None:
        """There is nothing to wait for."""

    def seconds_since(self, earlier: Self) -> float:
        """By the host's clock."""
        return self._at_s - earlier._at_s


class HostFetched(Fetched):
    """Values that are there."""

    def __init__(self, values: torch.Tensor) -> None:
        self._values = values

    def take(self) -> npt.NDArray[Any]:
        """The values themselves."""
        return np.asarray(self._values)
