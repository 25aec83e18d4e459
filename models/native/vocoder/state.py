"""What a session keeps between its chunks, and how a way of cutting windows is spoken to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import torch

Tensors: TypeAlias = tuple[torch.Tensor, ...]


@dataclass(slots=True, eq=False, kw_only=True)
class VocoderState:
    """Belongs to one session, and may be dropped at any time: nothing else knows of it.

    It changes only when a whole `Vocoder.run` has succeeded, so a run that fails may be repeated.
    """

    mel: torch.Tensor
    """(bands, frames): the frames that later ones still need."""
    ended: bool = False
    """The final job has been done."""


@dataclass(frozen=True, slots=True, eq=False)
class VocoderJob:
    """One session's next frames.

    Args:
        state: the session's.
        mel: (bands, n) float32 on the vocoder's device; n may be 0.
        final: no frame follows.
    """

    state: VocoderState
    mel: torch.Tensor
    final: bool


_State = TypeVar("_State", bound=VocoderState)
_Cut = TypeVar("_Cut", bound=Hashable)


@dataclass(frozen=True, slots=True, eq=False)
class Work(Generic[_Cut]):
    """What a job asks for: jobs of equal cuts have inputs of equal shapes."""

    cut: _Cut
    inputs: Tensors


class Way(ABC, Generic[_State, _Cut]):
    """How a session's mel is cut into windows, and what goes over from one to the next."""

    @abstractmethod
    def new_state(self, seed: np.random.SeedSequence) -> _State:
        """The state of a session of which nothing has been heard."""

    @abstractmethod
    def prepare(self, state: _State, job: VocoderJob) -> Work[_Cut] | None:
        """What the job asks for; None if nothing can be heard of its frames yet.

        Raises:
            ValueError: the session is too long.
        """

    @abstractmethod
    def compute(self, cut: _Cut, inputs: Tensors) -> Tensors:
        """Compute jobs of one cut: a function of the tensors alone.

        Args:
            cut: of all.
            inputs: of all, stacked.

        Returns:
            Tensors whose rows are the jobs'.
        """

    @abstractmethod
    def commit(self, state: _State, job: VocoderJob, results: Tensors) -> torch.Tensor:
        """Take a job's results into its state.

        Args:
            state: the session's.
            job: what was asked.
            results: its rows of what `compute` returned; none, if there was nothing to compute.

        Returns:
            The samples that can be heard now.
        """
