"""Sessions say, token for token, what the official language model says with the same numbers.

Live against the official package where there is one, as `models.cosyvoice` drives it; and against
its tokens and log-probabilities as `make_lm_fixture.py` has written them down.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lm_cases import GREEDY, prompt, run, scrambled, text
from make_lm_fixture import CASES, FIXTURE, N_KEPT, SEED, Case, official_speech

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.runtime import Official
from models.cosyvoice.sampling import SamplingRule
from models.native.lm.engine import LmEngine
from models.native.lm.events import TokenDrawn
from models.native.lm.model import LmModel, load_lm
from models.native.lm.sampling import NOT_FORCED, RasSampler
from models.native.lm.sequence import LmLimits

WITHOUT_BOUNDS = LmLimits(longest=10**6)


@pytest.fixture(scope="module")
def directory(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scrambled(checkpoint, tmp_path_factory.mktemp("lm") / "scrambled")


@pytest.fixture(scope="module")
def model(directory: Path) -> LmModel:
    return load_lm(Checkpoint.open(directory))


@pytest.fixture(scope="module")
def reference(directory: Path, load_reference: Callable[[Path], Official]) -> Official:
    return load_reference(directory)


def native_speech(
    model: LmModel, case: Case, rule: SamplingRule, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[int], list[torch.Tensor]]:
    """Tokens, and the log-probabilities that each was drawn from."""
    engine = LmEngine(model, n_slots=2, max_length=512, sampling=rule)
    session = engine.open(
        prompt(model.spec.version, case.n_prompt_text, case.n_prompt_speech),
        seed=SEED,
        limits=WITHOUT_BOUNDS,
        layout="streamed" if case.streamed else "whole",
    )
    scores: list[torch.Tensor] = []
    draw = RasSampler.draw

    def recording(self: RasSampler, logits: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        if more["forced"][0] == NOT_FORCED:
            scores.append(logits[0].log_softmax(0))
        return draw(self, logits, **more)

    monkeypatch.setattr(RasSampler, "draw", recording)
    tokens: list[int] = []
    for token in text(case.n_text):
        session.append_text([token])
        tokens += run(engine, session)[0]
    session.end_text()
    while session.is_ready and len(tokens) < case.n_most:
        tokens += [event.token for event in engine.tick([session]) if isinstance(event, TokenDrawn)]
    return tokens[: case.n_most], scores


@pytest.mark.parametrize("rule", [GREEDY, SamplingRule()], ids=["greedy", "drawn"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_tokens_and_scores_are_the_official_ones(
    model: LmModel,
    reference: Official,
    case: Case,
    rule: SamplingRule,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens, scores = native_speech(model, case, rule, monkeypatch)
    theirs, their_scores = official_speech(reference, case, rule)
    assert tokens == theirs
    assert len(tokens) > 10
    for ours, expected in zip(scores, their_scores, strict=False):
        assert (ours - expected).abs().max() < 1e-4


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_the_official_model_has_said(
    version: int, model: LmModel, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    with np.load(FIXTURE) as written:
        theirs = written[f"v{version} {case} tokens"].tolist()
        their_scores = torch.from_numpy(written[f"v{version} {case} scores"])
    tokens, scores = native_speech(model, case, SamplingRule(), monkeypatch)
    assert tokens == theirs
    found = torch.stack(scores[: len(their_scores)])[:, :N_KEPT]
    assert (found - their_scores).abs().max() < 1e-4
