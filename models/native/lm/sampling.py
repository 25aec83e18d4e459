"""Draws the next speech token of every row of a batch, on the device.

The rule is repetition-aware sampling (VALL-E 2, arXiv 2406.05370) as upstream has it in
`cosyvoice.utils.common`: draw from the nucleus; if that token occurs too often among the last ones,
draw once more from all others.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch.nn import functional

from models.cosyvoice.sampling import SamplingRule, SpeechVocabulary
from models.native.lm.uniforms import uniforms

NOT_FINITE = -1
"""In place of a token: the logits were no numbers."""
NOT_FORCED = -1
NO_TOKEN = -1
"""Among the last tokens, where there are fewer."""
_DRAWS = 2


class Choice(IntEnum):
    """Which control tokens may be drawn."""

    SPEECH = 0
    """None of them: it is too early for the end."""
    SPEECH_OR_FILL = 1
    """The one that asks for text."""
    ANY = 2
    """All, for each ends speech. Upstream raises at some of them where text is streamed."""


class RasSampler:
    """Draws tokens.

    Args:
        vocabulary: of the version.
        rule: of the checkpoint.
        device: where the logits are.
    """

    def __init__(
        self, vocabulary: SpeechVocabulary, rule: SamplingRule, device: torch.device | str = "cpu"
    ) -> None:
        self.rule = rule
        self._top_k = min(rule.top_k, vocabulary.n_outputs)
        held_back = torch.zeros((len(Choice), vocabulary.n_outputs), dtype=torch.bool)
        held_back[: Choice.ANY, vocabulary.n_speech :] = True
        held_back[Choice.SPEECH_OR_FILL, vocabulary.fill] = False
        self._held_back = held_back.to(device)
        n_outputs = vocabulary.n_outputs
        # Of equal probabilities the lower id comes first, as by upstream's stable sort.
        self._rank_bits = n_outputs.bit_length()
        self._ranks = torch.arange(n_outputs, 0, -1, device=device)

    def draw(
        self,
        logits: torch.Tensor,
        *,
        seeds: torch.Tensor,
        positions: torch.Tensor,
        recent: torch.Tensor,
        choices: torch.Tensor,
        forced: torch.Tensor,
    ) -> torch.Tensor:
        """Draw one token for each row.

        Args:
            logits: (B, n_outputs) float32.
            seeds: (B,) int64, of the sessions.
            positions: (B,) int64, how many tokens each has drawn.
            recent: (B, win_size) int64, its last tokens in any order, `NO_TOKEN` for none.
            choices: (B,) int64 of `Choice`.
            forced: (B,) int64, the token that it has to be, or `NOT_FORCED`.

        Returns:
            (B,) int64; `NOT_FINITE` for a row without usable logits.
        """
        numbers = uniforms(seeds, positions, _DRAWS)
        scores = logits.masked_fill(self._held_back[choices], float("-inf"))
        first = self._from_nucleus(scores, numbers[:, 0])
        repeats = (recent == first.unsqueeze(1)).sum(dim=1)
        second = _from_all_but(scores, first, numbers[:, 1])
        drawn = torch.where(repeats >= self.rule.repeats_allowed, second, first)
        drawn = torch.where(forced >= 0, forced, drawn)
        return torch.where(logits.isfinite().all(dim=1), drawn, NOT_FINITE)

    def _from_nucleus(self, scores: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        shares = scores.softmax(dim=-1)
        # Floats that are not negative are ordered as their bits; with its rank, each is different.
        keys = (shares.view(torch.int32).long() << self._rank_bits) | self._ranks
        ids = keys.topk(self._top_k, dim=-1).indices
        best = shares.gather(1, ids).double()
        before = functional.pad(best.cumsum(dim=-1)[:, :-1], (1, 0))
        best = best.masked_fill(before >= self.rule.top_p, 0.0)
        return ids.gather(1, _drawn_index(best, numbers).unsqueeze(1)).squeeze(1)


def _from_all_but(
    scores: torch.Tensor, tokens: torch.Tensor, numbers: torch.Tensor
) -> torch.Tensor:
    others = scores.scatter(1, tokens.unsqueeze(1), float("-inf"))
    shares = others.softmax(dim=-1).double()
    drawn = _drawn_index(shares, numbers)
    # If nothing else may be drawn there are no shares.
    return torch.where(others.amax(dim=-1).isfinite(), drawn, tokens)


def _drawn_index(shares: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """(B,) indices into (B, n) shares, which need not sum up to 1; never one whose share is 0."""
    bounds = shares.cumsum(dim=-1)
    targets = numbers * bounds[:, -1]
    return (bounds <= targets.unsqueeze(1)).sum(dim=-1).clamp(max=shares.shape[1] - 1)
