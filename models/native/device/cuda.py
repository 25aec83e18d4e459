"""Lanes on CUDA: a thin cover of torch's streams, events and graphs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from models.native.device.lane import Capture, Fetched, Function, HostLane, Lane, Mark, Tensors
from models.native.device.staging import StagingBuffers, laid_out

_URGENT, _USUAL = -1, 0
"""Priorities of streams; the lower goes first."""
_SHARE = 0.2
"""Of the device's memory that the captures of one lane may take. Some drivers keep 64 KB for each
kernel of a graph, and a batch of chunks has thousands."""
_RESERVE = 0.1
"""Of it that they leave to everything else in any case."""


def open_lane(device: torch.device, *, urgent: bool = False) -> Lane:
    """A new lane of a device.

    Args:
        device: any.
        urgent: its work goes before that of other lanes, where the device knows of that.
    """
    if device.type != "cuda":
        return HostLane(device)
    return CudaLane(device, urgent=urgent)


class CudaLane(Lane):
    """A stream, and the memory that its graphs share, since they never run at the same time.

    Args:
        device: which.
        urgent: see `open_lane`.
    """

    def __init__(self, device: torch.device, *, urgent: bool) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device, priority=_URGENT if urgent else _USUAL)
        self._pool = torch.cuda.graph_pool_handle()
        self._buffers = StagingBuffers(_locked)
        self._captured_bytes = 0

    @property
    def can_capture(self) -> bool:
        """As CUDA graphs."""
        return True

    def current(self) -> AbstractContextManager[Any]:
        """A new one each time: torch's cannot be entered twice."""
        context: AbstractContextManager[Any] = torch.cuda.stream(self._stream)
        return context

    def mark(self) -> Mark:
        """An event that can be slept on, and knows its time."""
        return _CudaMark()

    def send(self, values: torch.Tensor) -> torch.Tensor:
        """Through a buffer, which is used again when the copy is done."""
        buffer = self._buffers.take(values.nbytes)
        staged = laid_out(buffer, values).copy_(values)
        sent: torch.Tensor = staged.to(self._device, non_blocking=True)
        self._buffers.give_back(buffer, _event().query)
        return sent

    def fetch(self, values: torch.Tensor) -> Fetched:
        """Through a buffer, which is used again when the values have been taken."""
        buffer = self._buffers.take(values.nbytes)
        staged = laid_out(buffer, values).copy_(values, non_blocking=True)
        return _CudaFetched(staged, buffer, self._buffers)

    def capture(self, function: Function, inputs: Tensors) -> Capture:
        """A graph, captured in this lane's own stream.

        Its kernels keep that stream's priority, and its matrix products that stream's workspace.
        """
        graph = torch.cuda.CUDAGraph()
        torch.cuda.empty_cache()
        free_bytes, _ = torch.cuda.mem_get_info(self._device)
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            outputs = function(*inputs)
        left_bytes, _ = torch.cuda.mem_get_info(self._device)
        self._captured_bytes += free_bytes - left_bytes
        return _CudaCapture(graph, outputs)

    def has_room(self) -> bool:
        """Captures have not taken their share, and something is left."""
        free_bytes, total_bytes = torch.cuda.mem_get_info(self._device)
        is_within_share = self._captured_bytes < total_bytes * _SHARE
        return bool(is_within_share and free_bytes > total_bytes * _RESERVE)


class _CudaMark(Mark):
    def __init__(self) -> None:
        self._event = torch.cuda.Event(enable_timing=True, blocking=True)
        self._event.record()

    def reached(self) -> bool:
        return bool(self._event.query())

    def wait(self) -> None:
        self._event.synchronize()

    def seconds_since(self, earlier: Self) -> float:
        return float(earlier._event.elapsed_time(self._event)) / 1000


class _CudaFetched(Fetched):
    def __init__(self, staged: torch.Tensor, buffer: torch.Tensor, buffers: StagingBuffers) -> None:
        self._staged = staged
        self._buffer = buffer
        self._buffers = buffers
        self._event = _event()

    def take(self) -> npt.NDArray[Any]:
        # Spins, and does not hold the interpreter: a step is awaited for too short a time to sleep.
        self._event.synchronize()
        found = np.array(self._staged.numpy())
        self._buffers.give_back(self._buffer, self._event.query)
        return found


class _CudaCapture(Capture):
    def __init__(self, graph: torch.cuda.CUDAGraph, outputs: Tensors) -> None:
        self._graph = graph
        self.outputs = outputs

    def replay(self) -> None:
        self._graph.replay()


def _event() -> torch.cuda.Event:
    """Behind all work so far of the current stream."""
    event = torch.cuda.Event()
    event.record()
    return event


def _locked(n_bytes: int) -> torch.Tensor:
    with torch.inference_mode(mode=False):  # so that it can be written to in any mode
        return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)
