"""Where the chunks of a stream end: on the grid that the flow was trained with.

Off the grid, a chunk's frames would be computed without seeing all that they see in training, and
would be others than those of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.native.flow.spec import FlowSpec

HOPS_TOKENS = (25, 50, 100)
"""Upstream's, one after the other; any order gives the same frames."""


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """The chunks of one stream.

    Args:
        spec: of the flow.
        n_prompt: tokens of the prompt, with which the grid begins.
    """

    spec: FlowSpec
    n_prompt: int

    @property
    def max_tokens(self) -> int:
        """How long the stream can become."""
        return self.spec.max_tokens - self.n_prompt

    def end(self, done: int, hop: int) -> int:
        """Tokens that are frames after a hop.

        The first hop of a prompt off the grid is longer, by what upstream calls `prompt_token_pad`.

        Args:
            done: tokens of the stream that are frames already.
            hop: tokens; one of `HOPS_TOKENS`.
        """
        chunk = self.spec.chunk_tokens
        return -(-(self.n_prompt + done + hop) // chunk) * chunk - self.n_prompt

    def tokens_needed(self, done: int, hop: int) -> int:
        """How many of the stream's tokens a hop needs: to its end, and what is looked ahead at."""
        return self.end(done, hop) + self.spec.lookahead_tokens

    def longest_hop(self, done: int, n_tokens: int) -> int | None:
        """The longest hop for which there are tokens; None for none."""
        ready = [hop for hop in HOPS_TOKENS if self.tokens_needed(done, hop) <= n_tokens]
        return max(ready, default=None)

    def first_frame(self, done: int) -> int:
        """Where the frames after `done` tokens of the stream begin, the prompt's counted."""
        return (self.n_prompt + done) * self.spec.frames_per_token
