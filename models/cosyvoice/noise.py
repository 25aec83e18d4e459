"""Gives what upstream draws from torch's global random generator to a stream's own generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from models.cosyvoice.sampling import torch_seed


class SeededNoise(TorchFunctionMode):  # type: ignore[misc]  # torch has no types in the front
    """While it is entered, `torch.rand`, `randn` and `randn_like` draw from this stream's numbers.

    Works around defect 8: upstream draws the flow's and the vocoder's noise from the process's
    generator, so that streams side by side change each other's sound and no seed repeats one. It
    holds in the thread that enters it and nowhere else, so streams need no lock.
    """

    def __init__(self, seed: np.random.SeedSequence) -> None:
        super().__init__()
        self._seed = torch_seed(seed)
        self._generators: dict[torch.device, torch.Generator] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever `func` returns
        options = dict(kwargs or {})
        if func is torch.randn_like:
            like = args[0]
            device, dtype = options.get("device") or like.device, options.get("dtype") or like.dtype
            return torch.randn(
                like.shape, device=device, dtype=dtype, generator=self._generator(device)
            )
        if func is torch.rand or func is torch.randn:
            options.setdefault("generator", self._generator(options.get("device") or "cpu"))
        return func(*args, **options)

    def _generator(self, device: torch.device | str) -> torch.Generator:
        device = torch.device(device)
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]
