"""One call of the device: what rows of a batch read, and the token that each draws after it."""

from __future__ import annotations

from enum import IntEnum

import torch

from models.native.lm.key_values import KeyValues
from models.native.lm.model import LmModel
from models.native.lm.sampling import RasSampler


class Column(IntEnum):
    """Of a batch, before the last tokens and the inputs."""

    SLOT = 0
    START = 1
    LENGTH = 2
    POSITION = 3
    CHOICE = 4
    FORCED = 5
    SEED = 6


class LmStep:
    """Embeds, appends and draws.

    All that it depends on is in one array of int64, and for arrays of one shape with one `n_keys`
    it does the same work on the device without waiting for it: what a CUDA graph can hold.

    Args:
        model: the weights.
        key_values: of the sessions.
        sampler: of the checkpoint's rule.
    """

    def __init__(self, model: LmModel, key_values: KeyValues, sampler: RasSampler) -> None:
        self._model = model
        self._key_values = key_values
        self._sampler = sampler
        self._n_recent = sampler.rule.win_size

    def __call__(self, batch: torch.Tensor, n_keys: int) -> torch.Tensor:
        """Compute a batch.

        Args:
            batch: (B, len(Column) + win_size + T) int64: the columns, the last tokens, the inputs.
            n_keys: see `LmModel.append`.

        Returns:
            (B,) int64 tokens; see `RasSampler.draw`. Of rows that read on they mean nothing but
            for `NOT_FINITE`.
        """
        recent, inputs = batch[:, len(Column) :].tensor_split([self._n_recent], dim=1)
        logits = self._model.append(
            self._key_values,
            batch[:, Column.SLOT],
            batch[:, Column.START],
            self._model.embed(inputs),
            batch[:, Column.LENGTH],
            n_keys=n_keys,
        )
        return self._sampler.draw(
            logits,
            seeds=batch[:, Column.SEED],
            positions=batch[:, Column.POSITION],
            recent=recent,
            choices=batch[:, Column.CHOICE],
            forced=batch[:, Column.FORCED],
        )
