"""Page-locked memory, from and to which a device copies while the host goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import torch

_LEAST_BYTES = 1 << 12


class Reached(Protocol):
    """A mark, or an event."""

    def __call__(self) -> bool:
        """Whether it has been reached."""


class StagingBuffers:
    """Buffers of a lane, used again and again, because to lock memory takes long.

    Args:
        allocate: makes a buffer, (n,) uint8, of so many bytes.
    """

    def __init__(self, allocate: Callable[[int], torch.Tensor]) -> None:
        self._allocate = allocate
        self._free: list[torch.Tensor] = []
        self._in_use: deque[tuple[Reached, torch.Tensor]] = deque()

    def take(self, n_bytes: int) -> torch.Tensor:
        """A buffer of at least so many bytes that nobody reads or writes."""
        while self._in_use and self._in_use[0][0]():
            self._free.append(self._in_use.popleft()[1])
        fitting = [buffer for buffer in self._free if buffer.numel() >= n_bytes]
        if not fitting:
            return self._allocate(max(_LEAST_BYTES, 1 << (n_bytes - 1).bit_length()))
        smallest = min(fitting, key=torch.Tensor.numel)
        self._free = [buffer for buffer in self._free if buffer is not smallest]
        return smallest

    def give_back(self, buffer: torch.Tensor, reached: Reached) -> None:
        """The device still uses it, up to a point in the lane that comes after all others so far.

        Args:
            buffer: of `take`.
            reached: tells whether that point has been reached.
        """
        self._in_use.append((reached, buffer))


def laid_out(buffer: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The beginning of a buffer, as a tensor of another's shape and type."""
    return buffer[: like.numel() * like.element_size()].view(like.dtype).view(like.shape)
