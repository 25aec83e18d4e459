"""Ten Euler steps from noise to mel, with classifier-free guidance."""

from __future__ import annotations

import math

import torch
from torch import nn

from models.native.flow.dit import Dit
from models.native.flow.past import Past
from models.native.flow.spec import STEPS, DitSpec, FlowSpec
from models.native.flow.unet import Unet


def schedule() -> tuple[torch.Tensor, torch.Tensor]:
    """When the solver asks the estimator, and how far it goes then.

    Moments are cosine-spaced. They are summed up from steps that are differences, as upstream does
    it, since float32 rounds that differently.

    Returns:
        moments (10,) and steps (10,), float32.
    """
    targets = 1 - torch.cos(torch.linspace(0, 1, STEPS + 1) * 0.5 * math.pi)
    moments, steps = [], []
    now = targets[0]
    for target in targets[1:]:
        moments.append(now)
        steps.append(target - now)
        now = now + steps[-1]
    return torch.stack(moments), torch.stack(steps)


class Solver(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """A flow's estimator and the way through its field.

    Nothing in `solve` depends on values: for given shapes it is always the same sequence of
    operations, which a CUDA graph can hold.
    """

    def __init__(self, spec: FlowSpec) -> None:
        super().__init__()
        estimator = spec.estimator
        self.estimator = Dit(estimator) if isinstance(estimator, DitSpec) else Unet(estimator)
        self.dtype = torch.float32
        self._guidance = spec.guidance
        self._steps: list[float] = []

    def settle(self, dtype: torch.dtype) -> None:
        """Get a filled estimator ready; `dtype` is of its matrix products."""
        moments, steps = schedule()
        self.estimator.settle(moments, dtype)
        self.dtype = dtype
        self._steps = steps.tolist()

    def solve(
        self,
        x: torch.Tensor,
        mu: torch.Tensor,
        past: Past,
        speaker: torch.Tensor,
        prompt: torch.Tensor,
    ) -> torch.Tensor:
        """Make mels. Each goes through the estimator twice, told what to say and not told.

        Args:
            x: (jobs, time, 80), the noise.
            mu: (jobs, time, 80), what the tokens say.
            past: of all steps, for twice as many rows: what is told, and what is not.
            speaker: (jobs, 80).
            prompt: (jobs, time, 80), the prompt's mel, and zeros after it.

        Returns:
            (jobs, time, 80) float32.
        """
        given = self.estimator.given(*(_and_zeros(told) for told in (mu, speaker, prompt)))
        for number, step in enumerate(self._steps):
            told, untold = self.estimator(torch.cat((x, x)), given, past, number).chunk(2)
            x = x + step * ((1.0 + self._guidance) * told - self._guidance * untold)
        return x


def _and_zeros(told: torch.Tensor) -> torch.Tensor:
    """What the second half of the rows is not told."""
    return torch.cat((told, torch.zeros_like(told)))
