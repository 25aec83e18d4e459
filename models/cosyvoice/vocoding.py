"""Makes sound of one stream's speech tokens, chunk by chunk, with upstream's `token2wav`.

Every stream works on a shallow copy of the official model with tables of its own: hop lengths and
caches cannot reach another stream (defect 1, PR #1849, issue #1798), and nothing is left behind
when a stream is dropped (defect 6, issues #995 and #704).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.base import Samples
from models.cosyvoice.noise import SeededNoise

_KEY = "stream"
"""Each stream is alone in its tables."""
_FIRST_HOP_TOKENS = 25
"""The chunk size that the flow of versions 2 and 3 was trained with; hops are multiples of it."""
_LONGEST_HOP_TOKENS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPrompt:
    """What the sound takes after, on the model's device."""

    tokens: torch.Tensor
    """(1, n) int32, n may be 0."""
    mel: torch.Tensor
    """(1, frames, 80) float32."""
    embedding: torch.Tensor
    """(1, 192) float32."""


class Vocoder(ABC):
    """The sound of one stream."""

    def __init__(self, model: Any, prompt: FlowPrompt, seed: np.random.SeedSequence) -> None:  # noqa: ANN401 - upstream has no types
        self._noise = SeededNoise(seed)
        self._model = copy.copy(model)
        self._model.hift = _Seeded(model.hift, self._noise)
        self._model.hift_cache_dict = {_KEY: None}
        self._prompt = prompt

    @property
    def max_tokens(self) -> int | None:
        """As many tokens as the flow can make sound of in one stream; None for any number."""
        return None

    @property
    @abstractmethod
    def tokens_needed(self) -> int:
        """How many of the stream's tokens must be there for the next chunk."""

    @abstractmethod
    def next_chunk(self, tokens: Sequence[int]) -> Samples:
        """The next chunk, of the first `tokens_needed` of all tokens of the stream."""

    @abstractmethod
    def last_chunk(self, tokens: Sequence[int]) -> Samples:
        """The rest of the sound of all tokens, of which there is at least one."""

    def _sound(self, tokens: Sequence[int], *, last: bool, **options: object) -> Samples:
        sound = self._model.token2wav(
            token=torch.tensor([list(tokens)], dtype=torch.int32),
            prompt_token=self._prompt.tokens,
            prompt_feat=self._prompt.mel,
            embedding=self._prompt.embedding,
            uuid=_KEY,
            finalize=last,
            **options,
        )
        samples: Samples = sound.reshape(-1).float().cpu().numpy()
        # Upstream's cross-fade has a gain of 1.08.
        return np.clip(samples, -1.0, 1.0)


class CausalVocoder(Vocoder):
    """Versions 2 and 3: the flow runs over prompt and all tokens so far, in growing hops."""

    def __init__(self, model: Any, prompt: FlowPrompt, seed: np.random.SeedSequence) -> None:  # noqa: ANN401
        super().__init__(model, prompt, seed)
        self._lookahead = int(model.flow.pre_lookahead_len)
        n_prompt = int(prompt.tokens.shape[1])
        # Hops lie on the grid of the flow's chunks, which the prompt begins.
        self._hop = _FIRST_HOP_TOKENS + -n_prompt % _FIRST_HOP_TOKENS
        self._next_hop = 2 * _FIRST_HOP_TOKENS
        self._done = 0
        # Its noise is a table of 300 seconds, the prompt included (defect 18).
        n_frames = int(model.flow.decoder.rand_noise.shape[2])
        self._max_tokens = n_frames // int(model.flow.token_mel_ratio) - n_prompt

    @property
    def max_tokens(self) -> int | None:
        """So many, prompt and sound together, as there is noise for."""
        return self._max_tokens

    @property
    def tokens_needed(self) -> int:
        """Up to the end of the hop, and what the flow looks ahead."""
        return self._done + self._hop + self._lookahead

    def next_chunk(self, tokens: Sequence[int]) -> Samples:
        """The sound of one hop; the hops that follow are longer."""
        window = tokens[: self.tokens_needed]
        samples = self._sound(window, last=False, stream=True, token_offset=self._done)
        self._done += self._hop
        self._hop = self._next_hop
        self._next_hop = min(_LONGEST_HOP_TOKENS, 2 * self._next_hop)
        return samples

    def last_chunk(self, tokens: Sequence[int]) -> Samples:
        """The sound of what is left."""
        # Upstream lets the last chunk attend to everything even after others have been played, and
        # so computes its past anew (defect 12); here only a text of one chunk is computed so.
        follows = self._done > 0
        return self._sound(tokens, last=True, stream=follows, token_offset=self._done)


class WindowedVocoder(Vocoder):
    """Version 1: windows that overlap and are cross-faded."""

    def __init__(self, model: Any, prompt: FlowPrompt, seed: np.random.SeedSequence) -> None:  # noqa: ANN401
        super().__init__(model, prompt, seed)
        self._model.flow = _Seeded(model.flow, self._noise)
        self._model.mel_overlap_dict = {_KEY: torch.zeros(1, 80, 0)}
        self._model.flow_cache_dict = {_KEY: torch.zeros(1, 80, 0, 2)}
        self._hop = int(model.token_min_hop_len)
        self._overlap = int(model.token_overlap_len)
        self._done = 0

    @property
    def tokens_needed(self) -> int:
        """Up to the end of the window."""
        return self._done + self._hop + self._overlap

    def next_chunk(self, tokens: Sequence[int]) -> Samples:
        """The sound of one window, but for its end, which the next one shares."""
        samples = self._sound(tokens[self._done : self.tokens_needed], last=False)
        self._done += self._hop
        return samples

    def last_chunk(self, tokens: Sequence[int]) -> Samples:
        """The sound of what is left."""
        return self._sound(tokens[self._done :], last=True)


def open_vocoder(
    version: int,
    model: Any,  # noqa: ANN401
    prompt: FlowPrompt,
    seed: np.random.SeedSequence,
) -> Vocoder:
    """The vocoder of a version for one stream.

    Args:
        version: 1, 2 or 3.
        model: the official one.
        prompt: of the stream's voice.
        seed: of the stream's noise.
    """
    return (WindowedVocoder if version == 1 else CausalVocoder)(model, prompt, seed)


class _Seeded:
    """A module of the official model whose `inference` draws a stream's own noise."""

    def __init__(self, module: Any, noise: SeededNoise) -> None:  # noqa: ANN401
        self._module = module
        self._noise = noise

    def inference(self, **inputs: object) -> Any:  # noqa: ANN401
        with self._noise:
            return self._module.inference(**inputs)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._module, name)
