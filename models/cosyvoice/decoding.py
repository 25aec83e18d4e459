"""Decodes the speech tokens of one stream, in the stream's own thread.

Upstream decodes in a thread beside, which its caller polls (defect 2, PR #1894). That thread cannot
be stopped, and when it fails its caller polls for ever (defect 6, issue #995, PR #1869). Here the
caller pulls one token after the other out of the official generators, so an exception arrives
where it belongs, and a stream that is dropped takes no further step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

import torch

from models.cosyvoice.lane import Lane
from models.cosyvoice.prompts import END_OF_PROMPT_ID
from models.cosyvoice.runtime import Official
from models.cosyvoice.sampling import TokenSampler
from models.cosyvoice.vllm_steps import VllmSteps

_SILENT_TOKENS_IN_A_ROW = 5
"""Upstream's `max_silent_token_num`."""
_MOST_TOKENS_PER_TEXT_TOKEN = 200
"""Never reached before `TokenGuard` raises. At upstream's own limit, 20, speech that has missed its
end is cut off without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmPrompt:
    """What the language model goes on from, on the model's device."""

    text: torch.Tensor
    """(1, n) int32: transcript or instruction, n may be 0."""
    speech: torch.Tensor
    """(1, n) int32: the recording, n may be 0."""
    embedding: torch.Tensor
    """(1, 192) float32, or (0, 192) for none. Versions 2 and 3 do not look at it."""


class Decoder:
    """The speech tokens of one stream.

    Args:
        official: the loaded model.
        lane: where the stream computes.
        sampler: the stream's own.
        check: sees each token before any is left out; raises to end the stream.
    """

    def __init__(
        self,
        official: Official,
        lane: Lane,
        sampler: TokenSampler,
        check: Callable[[int], None],
    ) -> None:
        self._official = official
        self._lane = lane
        self._check = check
        self._sampler = sampler
        # A shallow copy, so that the stream has a sampler of its own on shared weights.
        self._llm = copy.copy(official.model.llm)
        self._llm.sampling_ids = sampler
        if official.vllm:
            self._llm.inference_wrapper = VllmSteps(self._llm, sampler.seed)

    def tokens(
        self, prompt: LlmPrompt, text: Sequence[int] | Iterator[int]
    ) -> Generator[int, None, None]:
        """Decode.

        Args:
            prompt: what comes before.
            text: ids of the text; an iterator is read while speech is decoded.
        """
        if isinstance(text, Sequence):
            decoding = self._whole(prompt, text)
        else:
            decoding = self._streamed(prompt, text)
        try:
            yield from self._without_long_silence(self._steps(decoding))
        finally:
            with self._computing():
                decoding.close()

    def _computing(self) -> Any:  # noqa: ANN401 - a context manager
        return self._lane.computing(half=self._official.fp16 and not self._official.vllm)

    def _steps(self, decoding: Any) -> Iterator[int]:  # noqa: ANN401
        while True:
            with self._computing():
                token = next(decoding, None)
            if token is None:
                return
            self._check(int(token))
            yield int(token)

    def _without_long_silence(self, tokens: Iterator[int]) -> Iterator[int]:
        """Leave out what exceeds a few silent tokens in a row, as upstream does for version 3."""
        n_silent = 0
        for token in tokens:
            n_silent = n_silent + 1 if token in self._official.silent_tokens else 0
            if n_silent <= _SILENT_TOKENS_IN_A_ROW:
                yield token

    def _whole(self, prompt: LlmPrompt, text: Sequence[int]) -> Any:  # noqa: ANN401
        with self._computing():
            ids = self._row(text)
            return self._llm.inference(
                text=ids,
                text_len=_length(ids),
                max_token_text_ratio=_MOST_TOKENS_PER_TEXT_TOKEN,
                **self._prompt_inputs(prompt),
            )

    def _streamed(self, prompt: LlmPrompt, text: Iterator[int]) -> Any:  # noqa: ANN401
        # Upstream does not decode before so much has come. When the text ends before, it drops what
        # is left of the prompt's speech, and the model says the transcript's end, or nothing.
        n_first = bistream_layout(self._official, prompt).n_text_tokens
        first = list(islice(text, n_first))
        if len(first) < n_first:
            self._sampler.take_whole_text()
            return self._whole(prompt, first)
        text = chain(first, text)
        with self._computing():
            return self._llm.inference_bistream(
                # One by one, so that the layout does not depend on how the text came.
                text=(self._row((token,)) for token in text),
                **self._prompt_inputs(prompt),
            )

    def _prompt_inputs(self, prompt: LlmPrompt) -> dict[str, torch.Tensor]:
        return {
            "prompt_text": prompt.text,
            "prompt_text_len": _length(prompt.text),
            "prompt_speech_token": prompt.speech,
            "prompt_speech_token_len": _length(prompt.speech),
            "embedding": prompt.embedding,
        }

    def _row(self, ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(ids)], dtype=torch.int32, device=self._official.device)


class BistreamLayout(NamedTuple):
    """How upstream's `inference_bistream` begins after a prompt."""

    n_text_tokens: int
    """So many of the text's are needed before speech can be decoded."""
    first_fill: int
    """After so many speech tokens the model has to ask for text first."""


def bistream_layout(official: Official, prompt: LlmPrompt) -> BistreamLayout:
    """Text and speech in turns, of 5 tokens and 15: first the prompt's, then the stream's.

    Args:
        official: the loaded model, of version 2 or 3.
        prompt: what comes before.
    """
    n_text, n_speech = official.model.llm.mix_ratio
    n_prompt_text, n_prompt_speech = prompt.text.shape[1], prompt.speech.shape[1]
    has_instruction = official.version == 3  # noqa: PLR2004
    if has_instruction and END_OF_PROMPT_ID in prompt.text:
        # It stands before the turns.
        n_prompt_text -= prompt.text.flatten().tolist().index(END_OF_PROMPT_ID) + 1
    n_turns = max(1, -(-n_prompt_speech // n_speech))
    # Behind an instruction, upstream would decode the first turn's speech before its text.
    at_once = has_instruction and not n_prompt_speech
    return BistreamLayout(
        n_text_tokens=max(1, n_turns * n_text - n_prompt_text),
        first_fill=0 if at_once else n_speech - n_prompt_speech % n_speech,
    )


def _length(row: torch.Tensor) -> torch.Tensor:
    return torch.tensor([row.shape[1]], dtype=torch.int32, device=row.device)
