"""Chunks of several sessions, through flow and vocoder, to samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from models.base import Samples
from models.native.flow.flow import Flow
from models.native.flow.jobs import FlowJob
from models.native.session import Session
from models.native.vocoder.state import VocoderJob
from models.native.vocoder.vocoder import Vocoder

_MOST_PADDING = 1.5
"""By which the longest of a batch may exceed the shortest."""


class ChunkRow(NamedTuple):
    """A chunk that is being computed."""

    session: Session
    n_tokens: int
    final: bool
    job: FlowJob


def batches(rows: Sequence[ChunkRow]) -> list[list[ChunkRow]]:
    """Rows of about the same length together, the most urgent batch first.

    Args:
        rows: the most urgent first.
    """
    ranks = {id(row): rank for rank, row in enumerate(rows)}
    found: list[list[ChunkRow]] = []
    for row in sorted(rows, key=lambda row: len(row.job.tokens)):
        if found and len(row.job.tokens) <= _MOST_PADDING * len(found[-1][0].job.tokens):
            found[-1].append(row)
        else:
            found.append([row])
    return sorted(found, key=lambda batch: min(ranks[id(row)] for row in batch))


def sound(flow: Flow, vocoder: Vocoder, rows: Sequence[ChunkRow]) -> list[Samples]:
    """Compute chunks together; the sessions' states change when all have succeeded.

    Returns:
        For each row its samples, perhaps none.
    """
    mels = flow.run([row.job for row in rows])
    sounds = vocoder.run(
        [
            VocoderJob(row.session.vocoder, mel, row.final)
            for row, mel in zip(rows, mels, strict=True)
        ]
    )
    # In one copy, which is what waits for the device.
    joined = torch.cat(sounds).cpu().numpy()
    ends = np.cumsum([len(samples) for samples in sounds])
    return np.split(joined, ends[:-1])
