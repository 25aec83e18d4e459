"""Where a stream computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


class Lane:
    """A stream's own CUDA stream, or the CPU.

    Entered for each step and left again, so that nothing of it stays with the thread between two
    chunks. Works around defect 7 (issue #1245): upstream enters one CUDA stream's context from all
    threads at once. Nothing here waits for the device; copying a result out does, and for this
    stream alone (defect 5: upstream empties the allocator's cache after each utterance).

    Args:
        device: the model's.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def computing(self, *, half: bool = False) -> Iterator[None]:
        """Within it, operations go to this stream.

        Args:
            half: on CUDA, compute in float16 where that is safe.
        """
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self._stream is not None:
                stack.enter_context(torch.cuda.stream(self._stream))
            if half:
                stack.enter_context(torch.autocast("cuda", torch.float16))
            yield
