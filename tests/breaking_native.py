"""The native engine on a device that fails once: as long as a file exists, which it deletes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.native.flow.flow import Mels
from models.native.flow.jobs import FlowJob
from models.native.model import NativeModel


class BreakingNative(NativeModel):
    """Hosted like any other.

    Args:
        breaks: the file.
    """

    def __init__(self, *, breaks: str, **options: Any) -> None:
        super().__init__(**options)
        flow = self._engine._stages.flow
        original = flow.launch

        def launch(jobs: Sequence[FlowJob]) -> Mels:
            if Path(breaks).exists():
                Path(breaks).unlink()
                raise torch.AcceleratorError("CUDA error: device-side assert triggered")
            mels: Mels = original(jobs)
            return mels

        flow.launch = launch  # type: ignore[method-assign]
