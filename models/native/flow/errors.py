"""What can go wrong while the flow runs."""

from __future__ import annotations

from collections.abc import Sequence

from models.base import ModelError


class FlowJobError(ModelError):
    """Jobs of a batch cannot be computed; the others can, without them.

    Args:
        message: may be shown to a client.
        jobs: indices of the guilty.
    """

    def __init__(self, message: str, jobs: Sequence[int]) -> None:
        super().__init__("failed", message)
        self.jobs = tuple(jobs)


class TooLongError(FlowJobError):
    """Jobs have more frames than upstream's table has noise for: 300 seconds, the prompt included.

    Who counts by `FlowSpec.max_tokens` never meets it.
    """


class NotFiniteError(FlowJobError):
    """Jobs came out as numbers that are none; in bfloat16, float32 may do better."""
