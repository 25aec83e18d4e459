"""The flow makes what the official package makes of the same weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lively_flow import LOOKAHEAD, job, lively, upstream_mel, with_flow

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.runtime import Official
from models.native.flow.flow import Flow
from models.native.flow.jobs import FlowJob
from models.native.flow.past import NoPast
from models.native.flow.solver import schedule

_SOLVE = 2e-5

CHUNKS = [
    job(0, 28),
    job(75, 53),
    job(37, 13 + 25 + 3),  # off the grid, with upstream's pad
    job(37, 13 + 75 + 3, done=13 + 25),
    job(30, 17),  # a hop off the grid
]
LAST = [job(30, 61, final=True), job(20, 7, final=True), job(0, 1, final=True)]


@pytest.fixture(scope="module")
def upstream(official: Official) -> Any:
    flow = copy.deepcopy(official.model.flow)
    flow.load_state_dict(lively(flow.state_dict()))
    return flow


@pytest.fixture(scope="module")
def directory(checkpoint: Path, upstream: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_flow(checkpoint, tmp_path_factory.mktemp("lively") / "v", upstream.state_dict())


@pytest.fixture(scope="module")
def flow(directory: Path) -> Flow:
    return Flow.open(Checkpoint.open(directory))


def upstream_mu(flow: Any, tokens: torch.Tensor, *, streaming: bool, final: bool) -> torch.Tensor:
    """What upstream's `inference` gives to its solver."""
    x = flow.input_embedding(tokens)
    context = {} if final else {"context": x[:, -LOOKAHEAD:]}
    x = x if final else x[:, :-LOOKAHEAD]
    if not hasattr(flow, "encoder"):
        return flow.pre_lookahead_layer(x, **context).repeat_interleave(2, dim=1)
    lengths = torch.tensor([x.shape[1]])
    return flow.encoder_proj(flow.encoder(x, lengths, streaming=streaming, **context)[0])


def no_past(flow: Flow, n_tokens: int, time: int, rate: int, *, full: bool) -> NoPast:
    return flow._no_past(torch.tensor([n_tokens]), torch.tensor([full]), time, rate, torch.float32)


def test_noise(flow: Flow, upstream: Any) -> None:
    assert torch.equal(flow._noise.T, upstream.decoder.rand_noise[0])


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("final", [True, False])
def test_encoder(flow: Flow, upstream: Any, streaming: bool, final: bool) -> None:
    tokens = torch.from_numpy(job(30, 61).tokens).long()[None]
    n_given = tokens.shape[1]
    n = n_given if final else n_given - LOOKAHEAD
    with torch.inference_mode():
        theirs = upstream_mu(upstream, tokens, streaming=streaming, final=final)
        padding = torch.zeros((1, 9 + (LOOKAHEAD if final else 0)), dtype=torch.int64)
        ours = flow._encoder(
            torch.cat([tokens, padding], dim=1),
            torch.tensor([n_given]),
            [no_past(flow, n, n + 9, rate, full=not streaming) for rate in flow._encoder.rates],
        )
    assert theirs.std() > 0.3
    assert torch.allclose(ours[:, : 2 * n], theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("step", [0, 4, 9])
@pytest.mark.parametrize("streaming", [True, False])
def test_one_evaluation_of_the_estimator(
    flow: Flow, upstream: Any, streaming: bool, step: int
) -> None:
    generator = torch.Generator().manual_seed(step)
    x, mu, prompt = torch.randn(3, 2, 120, 80, generator=generator)
    speaker = torch.randn(2, 80, generator=generator)
    moments, _ = schedule()
    with torch.inference_mode():
        theirs = upstream.decoder.estimator(
            x.mT,
            torch.ones(2, 1, 120),
            mu.mT,
            moments[step].repeat(2),
            speaker,
            prompt.mT,
            streaming=streaming,
        ).mT
        estimator = flow.solver.estimator
        past = no_past(flow, 60, 60, 2, full=not streaming)
        ours = estimator(x, estimator.given(mu, speaker, prompt), past, step)
    assert theirs.std() > 0.3
    # Relative to their size, which is some units.
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-5 * max(1, theirs.abs().max().item()))


@pytest.mark.parametrize("one", [*CHUNKS, *LAST], ids=range(8))
def test_solve_with_what_has_been_heard(flow: Flow, upstream: Any, one: FlowJob) -> None:
    theirs = upstream_mel(upstream, one, streaming=True)
    (ours,) = flow.run([one])
    assert theirs.std() > 1.3  # the noise it begins with has 1
    assert torch.allclose(ours, theirs, rtol=0, atol=_SOLVE)


def test_solve_as_upstream_ends(directory: Path, upstream: Any) -> None:
    flow = Flow.open(Checkpoint.open(directory), final_policy="upstream")
    for last in LAST:
        theirs = upstream_mel(upstream, last, streaming=False)
        assert torch.allclose(flow.run([last])[0], theirs, rtol=0, atol=_SOLVE)
    (chunk,) = flow.run(CHUNKS[:1])
    theirs = upstream_mel(upstream, CHUNKS[0], streaming=True)
    assert torch.allclose(chunk, theirs, rtol=0, atol=_SOLVE)


def test_a_batch_of_all(flow: Flow, upstream: Any) -> None:
    jobs = [*CHUNKS, *LAST]
    for one, ours in zip(jobs, flow.run(jobs), strict=True):
        theirs = upstream_mel(upstream, one, streaming=True)
        assert torch.allclose(ours, theirs, rtol=0, atol=_SOLVE)
