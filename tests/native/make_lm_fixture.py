"""Writes down what the official language model says: `python make_lm_fixture.py CHECKOUT`.

The weights are drawn anew wherever they are needed, so only tokens and a few log-probabilities are
kept. They are the checkout's, commit ace7c47, on torch 2.13 and transformers 4.52.4.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lm_cases import prompt, scrambled, text
from reference_sampling import LoopSampler

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.decoding import Decoder, LlmPrompt, bistream_layout
from models.cosyvoice.engine_options import EngineOptions
from models.cosyvoice.lane import Lane
from models.cosyvoice.runtime import Official, load_official
from models.cosyvoice.sampling import SamplingRule
from models.random_checkpoint.maker import make

FIXTURE = Path(__file__).with_name("lm_fixture.npz")
SEED = 17
N_KEPT = 24
"""Log-probabilities of a step: of the first ids."""
N_STEPS_KEPT = 4


class Case(NamedTuple):
    """What is said."""

    n_prompt_text: int
    n_prompt_speech: int
    n_text: int
    streamed: bool
    n_most: int = 60

    def __str__(self) -> str:
        layout = "streamed" if self.streamed else "whole"
        return f"{layout}-{self.n_prompt_text}-{self.n_prompt_speech}-{self.n_text}"


CASES = (
    Case(0, 0, 7, streamed=False),
    Case(9, 40, 12, streamed=False),
    Case(0, 0, 13, streamed=True, n_most=70),
    Case(14, 87, 27, streamed=True, n_most=70),
    Case(25, 75, 8, streamed=True),
    Case(25, 30, 3, streamed=True),
    Case(14, 87, 9, streamed=True),  # too short for turns
)


def official_speech(
    official: Official, case: Case, rule: SamplingRule
) -> tuple[list[int], list[torch.Tensor]]:
    """Tokens as `models.cosyvoice` has them of the official package, and the log-probabilities
    that each was drawn from.
    """
    ours = prompt(official.version, case.n_prompt_text, case.n_prompt_speech)
    theirs = LlmPrompt(
        text=torch.tensor([list(ours.text)], dtype=torch.int32),
        speech=torch.tensor([list(ours.speech)], dtype=torch.int32),
        embedding=torch.zeros(0, 192),
    )
    first_fill = bistream_layout(official, theirs).first_fill if case.streamed else None
    sampler = LoopSampler(
        official.vocabulary,
        rule,
        SEED,
        seed=np.random.SeedSequence(0),
        device=official.device,
        first_fill=first_fill,
    )
    decoder = Decoder(official, Lane(official.device), sampler, lambda token: None)
    decoder._official = _without_silent_tokens(official)
    ids = text(case.n_text)
    tokens = decoder.tokens(theirs, iter(ids) if case.streamed else ids)
    said = [int(token) for token in islice(tokens, case.n_most)]
    tokens.close()
    return said, sampler.scores


def _without_silent_tokens(official: Official) -> Official:
    """What upstream leaves out of version 3's speech is left out behind the language model."""
    from dataclasses import replace

    return replace(official, silent_tokens=frozenset())


def main() -> None:
    """Write the file."""
    options = EngineOptions(home=Path(sys.argv[1]), device="cpu")
    arrays: dict[str, np.ndarray] = {}
    for version in (2, 3):
        with tempfile.TemporaryDirectory() as folder:
            tiny = make(f"cosyvoice{version}-tiny", Path(folder) / "tiny")
            directory = scrambled(tiny, Path(folder) / "scrambled")
            official = load_official(Checkpoint.open(directory), options)
            for case in CASES:
                tokens, scores = official_speech(official, case, SamplingRule())
                kept = torch.stack(scores[:N_STEPS_KEPT])[:, :N_KEPT]
                arrays[f"v{version} {case} tokens"] = np.array(tokens, np.int16)
                arrays[f"v{version} {case} scores"] = kept.float().numpy()
    np.savez_compressed(FIXTURE, **arrays)


if __name__ == "__main__":
    main()
