"""Tokens are drawn by upstream's rule, with numbers that belong to a session and a position."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import HOME
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_sampling import numbers, ras

from models.cosyvoice.runtime import Official
from models.cosyvoice.sampling import SamplingRule, SpeechVocabulary
from models.native.lm.sampling import NO_TOKEN, NOT_FINITE, NOT_FORCED, Choice, RasSampler
from models.native.lm.uniforms import signed, uniforms

N_SPEECH = 40
SEEDS = st.integers(-(2**70), 2**70)


def vocabulary(version: int = 2) -> SpeechVocabulary:
    return SpeechVocabulary.of_version(version, N_SPEECH, N_SPEECH + {2: 3, 3: 200}[version])


def draw(
    logits: torch.Tensor,
    *,
    version: int = 2,
    rule: SamplingRule | None = None,
    seeds: Sequence[int] = (),
    positions: Sequence[int] = (),
    recent: Sequence[Sequence[int]] = (),
    choice: Choice = Choice.ANY,
    forced: Sequence[int] = (),
) -> list[int]:
    """Tokens of (B, n_outputs) or of one row that is drawn from for each seed."""
    n_rows = max(len(logits) if logits.ndim == 2 else 1, len(seeds))
    logits = logits.expand(n_rows, -1)
    rule = rule or SamplingRule()
    last = torch.full((n_rows, rule.win_size), NO_TOKEN)
    for row, tokens in enumerate(recent):
        if tokens:
            last[row, : len(tokens)] = torch.tensor(tokens)
    return (
        RasSampler(vocabulary(version), rule)
        .draw(
            logits,
            seeds=torch.tensor([signed(seed) for seed in seeds or range(n_rows)]),
            positions=torch.tensor(positions or [0] * n_rows),
            recent=last,
            choices=torch.full((n_rows,), choice),
            forced=torch.tensor(forced or [NOT_FORCED] * n_rows),
        )
        .tolist()
    )


def scores(version: int = 2, seed: int = 0, scale: float = 1.0, **favoured: float) -> torch.Tensor:
    """Logits; `t7=9.0` makes token 7 likely."""
    generator = torch.Generator().manual_seed(seed)
    values = scale * torch.randn(vocabulary(version).n_outputs, generator=generator)
    for token, value in favoured.items():
        values[int(token[1:])] = value
    return values


@given(seed=SEEDS, position=st.integers(0, 10**6))
def test_numbers_are_those_of_plain_integers(seed: int, position: int) -> None:
    found = uniforms(torch.tensor([signed(seed)]), torch.tensor([position]), 2)
    assert tuple(found[0].tolist()) == numbers(seed, position)


def test_numbers_are_spread_evenly_and_apart() -> None:
    """Over positions, over seeds in a row, and between a position's two."""
    positions, seeds = torch.arange(20_000), torch.zeros(20_000, dtype=torch.long)
    for found in (uniforms(seeds, positions, 2), uniforms(positions, seeds, 2)):
        assert found.min() >= 0
        assert found.max() < 1
        counts = torch.histc(found.float(), 20, 0, 1)
        assert ((counts - 2000) ** 2 / 2000).sum() < 43.8  # chi-square, 19 degrees, 0.1 %
        columns = found.T.numpy()
        assert abs(np.corrcoef(*columns)[0, 1]) < 0.03
        assert abs(np.corrcoef(columns[0, 1:], columns[0, :-1])[0, 1]) < 0.03
    assert len(uniforms(seeds, positions, 2).unique()) > 39_990


RULES = st.builds(
    SamplingRule,
    top_p=st.sampled_from([0.1, 0.8, 1.0]),
    top_k=st.sampled_from([1, 5, 25, 99]),
    tau_r=st.sampled_from([0.1, 0.3]),
)


@settings(max_examples=60, deadline=None)
@given(
    rule=RULES,
    scale=st.sampled_from([0.3, 1.0, 4.0, 30.0]),
    seed=SEEDS,
    n_recent=st.integers(0, 10),
)
def test_the_same_numbers_give_the_token_of_a_plain_loop(
    rule: SamplingRule, scale: float, seed: int, n_recent: int
) -> None:
    rows = torch.stack([scores(seed=row, scale=scale) for row in range(16)])
    likely = rows[:, :N_SPEECH].topk(3).indices
    recent = [(likely[row].tolist() * 4)[:n_recent] for row in range(16)]
    found = draw(rows, rule=rule, seeds=[seed] * 16, positions=range(16), recent=recent)
    for row in range(16):
        scored = rows[row].log_softmax(0)
        assert found[row] == ras(scored, recent[row], rule, numbers(seed, row))


def test_of_equal_scores_the_first_come_first() -> None:
    rule = SamplingRule(top_k=3, top_p=1.0)
    equal = torch.zeros(N_SPEECH + 3)
    assert set(draw(equal, rule=rule, seeds=range(100), choice=Choice.SPEECH)) == {0, 1, 2}


@pytest.mark.parametrize(
    "recent", [(), (3, 3, 3), tuple(range(30, 40))], ids=["begin", "repeats", "others"]
)
def test_the_distribution_is_upstream_s(
    version: int, load_reference: Callable[[Path], Official], checkpoint: Path, recent: list[int]
) -> None:
    if version != 2:
        pytest.skip("the rule is the same in all versions")
    if recent and not HOME:
        pytest.skip("the copy of mid-2025 may draw the repeated token again")
    load_reference(checkpoint)  # makes the package importable
    from cosyvoice.utils import common

    torch.manual_seed(0)
    values = scores(t3=3.0, t30=2.5)
    n_theirs, n_ours = 800, 20_000
    theirs = np.bincount(
        [
            int(common.ras_sampling(values.log_softmax(0), list(recent), 25))
            for _ in range(n_theirs)
        ],
        minlength=len(values),
    )
    ours = np.bincount(
        draw(values, seeds=range(n_ours), recent=[recent] * n_ours), minlength=len(values)
    )
    # Chi-square of two samples, over tokens that are not too rare.
    frequent = (theirs + ours) / (n_theirs + n_ours) * n_theirs >= 5
    assert frequent.sum() >= 8
    ratio = math.sqrt(n_ours / n_theirs)
    often_theirs, often_ours = theirs[frequent], ours[frequent]
    terms = (often_theirs * ratio - often_ours / ratio) ** 2 / (often_theirs + often_ours)
    assert terms.sum() < len(terms) + 4 * math.sqrt(2 * len(terms))
    assert abs(theirs[~frequent].sum() / n_theirs - ours[~frequent].sum() / n_ours) < 0.05


def test_a_repeated_token_is_drawn_again_and_is_another() -> None:
    peaked = scores(t5=12.0)
    again = draw(peaked, seeds=range(500), recent=[[5]] * 500)
    assert 5 not in again
    assert len(set(again)) > 20
    assert draw(peaked, seeds=range(100), recent=[[6] * 10] * 100) == [5] * 100
    twice = SamplingRule(tau_r=0.2)
    assert draw(peaked, rule=twice, recent=[[5, 6]]) == [5]
    assert draw(peaked, rule=twice, recent=[[5, 5]]) != [5]


def test_others_are_drawn_where_one_has_all_of_the_share() -> None:
    """In float32 the others' shares are 0 beside it."""
    certain = scores(t5=500.0)
    again = draw(certain, seeds=range(200), recent=[[5]] * 200)
    assert 5 not in again
    assert len(set(again)) > 20


def test_what_cannot_be_replaced_is_kept() -> None:
    only = torch.full((N_SPEECH + 3,), -math.inf)
    only[5] = 0
    sampler = RasSampler(vocabulary(), SamplingRule())
    found = sampler._from_nucleus(only.unsqueeze(0), torch.tensor([0.5]).double())
    assert found.tolist() == [5]
    assert draw(torch.where(only.isfinite(), only, -3e38), recent=[[5]]) != [NOT_FINITE]


@pytest.mark.parametrize(
    ("choice", "allowed"),
    [
        (Choice.SPEECH, set()),
        (Choice.SPEECH_OR_FILL, {"fill"}),
        (Choice.ANY, {"end", "fill", "other"}),
    ],
)
def test_control_tokens(version: int, choice: Choice, allowed: set[str]) -> None:
    ids = vocabulary(version)
    assert ids.end == N_SPEECH + {2: 0, 3: 1}[version]
    other = ids.n_outputs - 1 if version == 3 else N_SPEECH + 1
    named = {"end": ids.end, "fill": ids.fill, "other": other}
    for name, token in named.items():
        likely = scores(version, **{f"t{token}": 20.0})
        found = draw(likely, version=version, seeds=range(50), choice=choice)
        if name in allowed:
            assert set(found) == {token}
        else:
            assert {token for token in found if token >= N_SPEECH} <= {ids.fill} & {
                named[other] for other in allowed
            }


def test_forced_tokens() -> None:
    logits = torch.stack([scores(t1=20.0)] * 3)
    found = draw(logits, forced=[42, NOT_FORCED, 0], choice=Choice.SPEECH)
    assert found == [42, 1, 0]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_spoil_their_row_only(wrong: float) -> None:
    logits = torch.stack([scores(t1=20.0)] * 3)
    logits[1, 7] = wrong
    assert draw(logits) == [1, NOT_FINITE, 1]
    assert draw(logits, forced=[42, 42, NOT_FORCED]) == [42, NOT_FINITE, 1]


def test_rows_do_not_see_each_other() -> None:
    rows = torch.stack([scores(seed=row) for row in range(8)])
    recent = [[row, row + 1] for row in range(8)]
    together = draw(rows, seeds=range(8), positions=range(10, 18), recent=recent)
    for row in range(8):
        assert draw(rows[row], seeds=[row], positions=[10 + row], recent=[recent[row]]) == [
            together[row]
        ]
