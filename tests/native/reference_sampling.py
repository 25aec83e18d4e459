"""Repetition-aware sampling as plain loops, with the counter's numbers as plain integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from models.cosyvoice.sampling import SamplingRule, SpeechVocabulary, TokenSampler

WORD = (1 << 64) - 1


def mixed(value: int) -> int:
    """The output function of SplitMix64."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & WORD
    value = (value ^ value >> 27) * 0x94D049BB133111EB & WORD
    return value ^ value >> 31


def numbers(seed: int, position: int) -> tuple[float, float]:
    """The two uniform numbers of a position."""
    key = mixed(seed & WORD ^ 0x5851F42D4C957F2D)
    first, second = (
        mixed(key + 0x9E3779B97F4A7C15 * (2 * position + draw) & WORD) >> 32 for draw in (1, 2)
    )
    return first / 2**32, second / 2**32


def drawn_from(shares: Sequence[float], number: float) -> int:
    """The index whose share a number falls into."""
    target, bound = number * math.fsum(shares), 0.0
    for index, share in enumerate(shares):
        bound += share
        if target < bound:
            return index
    raise AssertionError("the number is too large")


def ras(
    scores: torch.Tensor,
    decoded: Sequence[int],
    rule: SamplingRule,
    uniform: tuple[float, float],
) -> int:
    """One token by log-probabilities of shape (n_outputs,)."""
    shares = scores.softmax(dim=0).tolist()
    best = sorted(range(len(shares)), key=lambda token: (-shares[token], token))
    nucleus: list[int] = []
    so_far = 0.0
    for token in best:
        if so_far >= rule.top_p or len(nucleus) >= rule.top_k:
            break
        nucleus.append(token)
        so_far += shares[token]
    token = nucleus[drawn_from([shares[token] for token in nucleus], uniform[0])]
    if list(decoded[-rule.win_size :]).count(token) < rule.win_size * rule.tau_r:
        return token
    others = scores.clone()
    others[token] = -math.inf
    return drawn_from(others.softmax(dim=0).tolist(), uniform[1])


class LoopSampler(TokenSampler):
    """Samples for the official language model, with the native engine's numbers."""

    def __init__(
        self, vocabulary: SpeechVocabulary, rule: SamplingRule, number_seed: int, **options: Any
    ) -> None:
        super().__init__(vocabulary, rule, **options)
        self._number_seed = number_seed
        self.scores: list[torch.Tensor] = []
        """Log-probabilities of each draw, of none where a token is forced."""

    def _draw(self, scores: torch.Tensor, decoded: Sequence[Any], *, held_back: bool) -> int:
        self.scores.append(scores.clone())
        if held_back:
            scores = scores.index_fill(0, self._held_back, -math.inf)
        uniform = numbers(self._number_seed, len(decoded))
        return ras(scores, [int(token) for token in decoded], self._rule, uniform)
