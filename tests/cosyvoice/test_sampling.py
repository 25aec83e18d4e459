"""Speech tokens are drawn by upstream's rule, from a stream's own numbers."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from conftest import HOME

from models.cosyvoice.guards import BadSegmentError
from models.cosyvoice.sampling import SamplingRule, SpeechToken, SpeechVocabulary, TokenSampler

N_SPEECH = 40


def vocabulary(version: int) -> SpeechVocabulary:
    return SpeechVocabulary.of_version(version, N_SPEECH, N_SPEECH + {1: 1, 2: 3, 3: 200}[version])


def sampler(
    version: int = 2,
    *,
    seed: int = 0,
    rule: SamplingRule | None = None,
    first_fill: int | None = None,
) -> TokenSampler:
    return TokenSampler(
        vocabulary(version),
        rule or SamplingRule(),
        seed=np.random.SeedSequence(seed),
        device=torch.device("cpu"),
        first_fill=first_fill,
    )


def scores(version: int = 2, seed: int = 0, **favoured: float) -> torch.Tensor:
    """Log-probabilities; `t7=9.0` makes token 7 likely."""
    values = torch.randn(
        vocabulary(version).n_outputs, generator=torch.Generator().manual_seed(seed)
    )
    for token, value in favoured.items():
        values[int(token[1:])] = value
    return values.log_softmax(dim=0)


def shares(draw: object, recent: Sequence[int], n: int = 4000) -> np.ndarray:
    counts = Counter(int(draw(recent)) for _ in range(n))
    return np.array([counts[token] for token in range(N_SPEECH + 3)]) / n


@pytest.mark.parametrize(
    "recent", [(), (3, 3, 3), tuple(range(30, 40))], ids=["begin", "repeats", "others"]
)
def test_the_distribution_is_upstream_s(version: int, recent: Sequence[int]) -> None:
    if version != 2:
        pytest.skip("the rule is the same in all versions")
    if recent and recent[0] == 3 and not HOME:
        pytest.skip("the copy of mid-2025 may draw the repeated token again")
    common = importlib.import_module("cosyvoice.utils.common")
    torch.manual_seed(0)
    values = scores(t3=3.0, t30=2.5)
    theirs = shares(
        lambda tokens: common.ras_sampling(values.clone(), list(tokens), 25), recent, n=2000
    )
    draw = sampler()
    ours = shares(lambda tokens: draw(values.clone(), list(tokens), 25, False), recent)
    # The end is drawn as any control token in upstream's last phase: fold them as we do.
    theirs[N_SPEECH] += theirs[N_SPEECH + 1 :].sum()
    theirs[N_SPEECH + 1 :] = 0
    # Four standard deviations of the smaller sample, at most.
    assert np.abs(ours - theirs).max() < 4 * np.sqrt(0.25 / 2000)


def test_a_repeated_token_is_drawn_again() -> None:
    draw = sampler()
    values = scores(t5=12.0)
    drawn = Counter(int(draw(values.clone(), [5])) for _ in range(500))
    assert len(drawn) > 20
    assert 5 not in drawn
    assert Counter(int(draw(values.clone(), [6] * 10)) for _ in range(100))[5] > 95
    assert Counter(int(draw(values.clone(), [5] + [6] * 10)) for _ in range(100))[5] > 95


def test_the_nucleus_ends_with_its_share_and_its_number() -> None:
    values = torch.full((N_SPEECH + 3,), -100.0)
    values[:4] = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    nucleus = {int(sampler(seed=seed)(values.clone(), [])) for seed in range(200)}
    assert nucleus == {0, 1, 2}  # 0.75 is less than 0.8, 0.9 is not
    best = SamplingRule(top_p=1.0, top_k=2)
    assert {int(sampler(seed=seed, rule=best)(values.clone(), [])) for seed in range(100)} == {0, 1}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_end_is_held_back_by_version(version: int) -> None:
    """Upstream masks 6561 in every version; version 3 ends with 6562."""
    end = vocabulary(version).end
    assert end == N_SPEECH + (1 if version == 3 else 0)
    values = scores(version, **{f"t{end}": 20.0})
    assert sampler(version)(values.clone(), [], 25, False) == end
    held_back = [sampler(version, seed=seed)(values.clone(), [], 25, True) for seed in range(50)]
    assert max(held_back) < N_SPEECH


@pytest.mark.parametrize("version", [2, 3])
def test_control_tokens_where_text_is_streamed(version: int) -> None:
    fill = N_SPEECH + (3 if version == 3 else 2)
    others = {f"t{token}": 20.0 for token in range(N_SPEECH, fill)}
    favoured = scores(version, **others, **{f"t{fill}": 19.0})
    drawn = {int(sampler(version, seed=s, first_fill=9)(favoured.clone(), [])) for s in range(50)}
    assert drawn <= {*range(N_SPEECH), fill}
    assert fill in drawn
    # When the text has ended, whatever control token comes is the end.
    assert (
        sampler(version, first_fill=9)(favoured.clone(), [], 25, False) == vocabulary(version).end
    )


def test_the_first_request_for_text_is_made_for_the_model() -> None:
    draw = sampler(2, first_fill=3)
    fill = N_SPEECH + 2
    assert draw(scores(t1=20.0), [4, 5, 6]) == fill
    assert draw(scores(t1=20.0), [4, fill, 6]) == 1
    assert draw(scores(t1=20.0), [4, 5, 6], 25, False) == 1
    assert draw(scores(t1=20.0), [4, 5]) == 1


def test_a_seed_repeats_the_tokens() -> None:
    def drawn(seed: int) -> list[int]:
        draw, tokens = sampler(seed=seed), []
        for _ in range(50):
            tokens.append(int(draw(scores(), tokens)))
        return tokens

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers(wrong: float) -> None:
    values = scores()
    values[7] = wrong
    with pytest.raises(BadSegmentError, match="nan"):
        sampler()(values, [])


def test_a_token_serves_both_generations_of_the_package() -> None:
    token = SpeechToken(7)
    weight = torch.arange(20.0).reshape(10, 2)
    assert token.item() == 7
    assert weight[token].tolist() == [14.0, 15.0]
