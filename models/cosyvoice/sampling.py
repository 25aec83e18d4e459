"""Chooses the next speech token: repetition-aware sampling with a stream's own random numbers.

The rule is that of VALL-E 2 (arXiv 2406.05370) as upstream has it in `cosyvoice.utils.common`: draw
from the nucleus; if that token is among the last ones, draw once more from all others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.cosyvoice.guards import BadSegmentError

_SEED_BITS = 63
"""torch.Generator takes no more."""


class SpeechToken(int):
    """A speech token's id.

    `item` is for the package of mid-2025, whose language model expects a tensor where the later one
    expects an int.
    """

    def item(self) -> int:
        """The id, as a tensor of one element gives it."""
        return int(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechVocabulary:
    """The ids that a version's language model may choose from."""

    n_speech: int
    """Ids from 0 to this are sounds; those above control the sequence."""
    n_outputs: int
    end: int
    fill: int | None
    """Asks for more text where text is streamed; None in version 1."""

    @classmethod
    def of_version(cls, version: int, n_speech: int, n_outputs: int) -> SpeechVocabulary:
        """The control ids as `cosyvoice.llm.llm` lays them out; not every copy names them."""
        end, fill = {1: (0, None), 2: (0, 2), 3: (1, 3)}[version]
        return cls(
            n_speech=n_speech,
            n_outputs=n_outputs,
            end=n_speech + end,
            fill=None if fill is None else n_speech + fill,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRule:
    """Parameters of repetition-aware sampling, by the names of the checkpoint's YAML file."""

    top_p: float = 0.8
    top_k: int = 25
    win_size: int = 10
    tau_r: float = 0.1

    @property
    def repeats_allowed(self) -> float:
        """A token that is this often among the last `win_size` is drawn again."""
        return self.win_size * self.tau_r


class TokenSampler:
    """Samples the tokens of one stream; stands in for the language model's `sampling_ids`.

    Works around defect 9 (one wait for the device per candidate token: here one per token) and
    defect 10 (PR #1916, issue #995: version 3 does not hold back its end token, so that its
    shortest length is ignored and streamed text raises).

    Args:
        vocabulary: of the version.
        rule: of the checkpoint.
        seed: of the stream.
        device: where the scores are.
        first_fill: where text is streamed, so many tokens after which the model has to ask for
            more of it, unless it has before; None where the text is whole.
    """

    def __init__(
        self,
        vocabulary: SpeechVocabulary,
        rule: SamplingRule,
        *,
        seed: np.random.SeedSequence,
        device: torch.device,
        first_fill: int | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._rule = rule
        nucleus_seed, device_seed = seed.spawn(2)
        self.seed = torch_seed(device_seed)
        self._random = np.random.default_rng(nucleus_seed)
        self._device_random = torch.Generator(device).manual_seed(self.seed)
        self._first_fill = first_fill
        self._held_back = self._held_back_ids(device)

    def __call__(
        self,
        weighted_scores: torch.Tensor,
        decoded_tokens: Sequence[Any],
        sampling: int = 0,  # noqa: ARG002 - upstream's call passes a number that its rule ignores
        ignore_eos: bool = True,
    ) -> SpeechToken:
        """Draw a token.

        Args:
            weighted_scores: log-probabilities of shape (n_outputs,).
            decoded_tokens: the tokens so far.
            sampling: unused.
            ignore_eos: the sequence may not end here.

        Raises:
            BadSegmentError: `nan`, the scores are no numbers.
        """
        if self._must_ask_for_text(decoded_tokens) and ignore_eos:
            return SpeechToken(self._vocabulary.fill or 0)
        token = self._draw(weighted_scores, decoded_tokens, held_back=ignore_eos)
        if not ignore_eos and token >= self._vocabulary.n_speech:
            # Upstream ends at any control token in one place and raises in another.
            token = self._vocabulary.end
        return SpeechToken(token)

    def take_whole_text(self) -> None:
        """The text has turned out to be whole: the model is not to ask for more."""
        self._first_fill = None
        self._held_back = self._held_back_ids(self._held_back.device)

    def _held_back_ids(self, device: torch.device) -> torch.Tensor:
        held_back = set(range(self._vocabulary.n_speech, self._vocabulary.n_outputs))
        if self._first_fill is not None and self._vocabulary.fill is not None:
            held_back.discard(self._vocabulary.fill)
        return torch.tensor(sorted(held_back), device=device, dtype=torch.long)

    def _must_ask_for_text(self, decoded: Sequence[Any]) -> bool:
        """Upstream of mid-2025 leaves the first time to the model, which may babble on instead."""
        return len(decoded) == self._first_fill and self._vocabulary.fill not in decoded

    def _draw(self, scores: torch.Tensor, decoded: Sequence[Any], *, held_back: bool) -> int:
        scores = scores.float()
        if held_back:
            scores = scores.index_fill(0, self._held_back, -math.inf)
        best = scores.softmax(dim=0).topk(min(self._rule.top_k, len(scores)))
        # The two winners of an exponential race: the first is a draw from the whole distribution,
        # and without the token that the nucleus gave, the better of the rest is a draw from that.
        noise = torch.empty_like(scores).exponential_(generator=self._device_random)
        race = (scores - noise.log()).topk(2).indices
        packed = torch.cat((best.values.double(), best.indices.double(), race.double())).tolist()
        n_best = len(best.values)
        shares, ids = packed[:n_best], packed[n_best : 2 * n_best]
        if math.isnan(sum(shares)):
            raise BadSegmentError("nan")
        token = int(ids[self._nucleus_index(shares)])
        recent = decoded[-self._rule.win_size :]
        if sum(int(other) == token for other in recent) < self._rule.repeats_allowed:
            return token
        first, second = (int(winner) for winner in packed[2 * n_best :])
        return second if first == token else first

    def _nucleus_index(self, shares: Sequence[float]) -> int:
        """Which of the best tokens: of those that come before `top_p` is reached."""
        bounds = np.cumsum(shares)
        n_nucleus = 1 + int(np.searchsorted(bounds, self._rule.top_p, side="left"))
        bounds = bounds[:n_nucleus]
        drawn = int(np.searchsorted(bounds, self._random.random() * bounds[-1], side="right"))
        return min(drawn, len(bounds) - 1)


def torch_seed(seed: np.random.SeedSequence) -> int:
    """A number for `torch.Generator.manual_seed`."""
    return int(seed.generate_state(1, np.uint64)[0]) >> (64 - _SEED_BITS)
