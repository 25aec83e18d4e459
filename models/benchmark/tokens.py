"""Whether the native engine says in a batch what it says alone, token by token.

It is looked at in the language model by itself, which is what draws the tokens. On the way it is
counted how often the sampling rule draws a second time, because random weights hardly ever repeat a
token and real ones do. The native engine computes both draws always, so that costs it nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import msgspec
import torch

from models.benchmark.sides import Task
from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.engine_options import EngineOptions
from models.cosyvoice.prompts import make_prompt
from models.cosyvoice.sampling import SamplingRule
from models.native.lm.engine import LmEngine
from models.native.lm.events import TokenDrawn
from models.native.lm.model import load_lm
from models.native.lm.sampling import NO_TOKEN, RasSampler
from models.native.lm.sequence import LmPrompt
from models.native.lm.session import LmSession
from models.native.tokenizer import TextTokenizer

IN_A_BATCH = 8
_TOKENS = 50
"""Of each session; more is the same again."""
_MAX_LENGTH = 1024


class TokenCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    sessions: int
    identical: int
    """Sessions of which every token is the same alone and in a batch of all."""
    tokens: int
    """Compared, in all."""
    same_tokens: int
    graphs: int
    """CUDA graphs that computed them; without, every kernel was launched by itself."""
    redraw_share: float
    """Of the draws, those for which the sampling rule drew a second time."""


class _CountingSampler:
    """A sampler that counts second draws, on the device and without waiting for it."""

    def __init__(self, sampler: RasSampler) -> None:
        self._sampler = sampler
        self._counts: torch.Tensor | None = None

    @property
    def rule(self) -> SamplingRule:
        return self._sampler.rule

    def draw(
        self,
        logits: torch.Tensor,
        *,
        recent: torch.Tensor,
        positions: torch.Tensor,
        forced: torch.Tensor,
        **others: torch.Tensor,
    ) -> torch.Tensor:
        drawn = self._sampler.draw(
            logits, recent=recent, positions=positions, forced=forced, **others
        )
        # What it would be if nothing had been said before: the first draw.
        first = self._sampler.draw(
            logits,
            recent=torch.full_like(recent, NO_TOKEN),
            positions=positions,
            forced=forced,
            **others,
        )
        # Rows that pad the batch, or still read, are at their first position.
        counted = (positions > 0) & (forced < 0)
        counts = torch.stack((counted.sum(), (counted & (drawn != first)).sum()))
        if self._counts is None:
            self._counts = torch.zeros_like(counts)
        self._counts += counts
        return drawn

    @property
    def share(self) -> float:
        if self._counts is None:
            return 0.0
        n_draws, n_second = self._counts.tolist()
        return float(n_second / n_draws) if n_draws else 0.0


def check_tokens(task: Task) -> TokenCheck:
    """Say the text with as many seeds, one after the other and then all in one batch.

    Raises:
        ModelError: the checkpoint or the machine cannot do it.
    """
    checkpoint = Checkpoint.open(task.directory)
    options = EngineOptions(device=task.device)
    options.show_device()
    options.check_machine(checkpoint, cuda=torch.cuda.is_available())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = TextTokenizer(checkpoint)
    ids = tokenizer.encode(task.text)
    samplers: list[_CountingSampler] = []

    def counting(*arguments: Any, **named: Any) -> _CountingSampler:  # noqa: ANN401
        samplers.append(_CountingSampler(RasSampler(*arguments, **named)))
        return samplers[-1]

    with mock.patch("models.native.lm.engine.RasSampler", counting):
        engine = LmEngine(
            load_lm(checkpoint, device=device), n_slots=IN_A_BATCH, max_length=_MAX_LENGTH
        )
    voice = checkpoint.speakers[task.voice]
    written = make_prompt(checkpoint.version, checkpoint.variant, voice, text=task.text)
    prompt = LmPrompt(text=tokenizer.encode(written.text) if written.text else ())
    if engine.graphs.enabled:
        with engine.graphs.capturing():  # as a model's warm-up does it
            _said(engine, prompt, ids, [0])
            _said(engine, prompt, ids, range(IN_A_BATCH))
    alone = [_said(engine, prompt, ids, [seed])[0] for seed in range(IN_A_BATCH)]
    together = _said(engine, prompt, ids, range(IN_A_BATCH))
    pairs = list(zip(alone, together, strict=True))
    return TokenCheck(
        sessions=len(pairs),
        identical=sum(one == other for one, other in pairs),
        tokens=sum(map(len, alone)),
        same_tokens=sum(a == b for one, other in pairs for a, b in zip(one, other, strict=False)),
        graphs=engine.graphs.n_captured,
        redraw_share=samplers[0].share,
    )


def _said(
    engine: LmEngine, prompt: LmPrompt, ids: Sequence[int], seeds: Sequence[int]
) -> list[list[int]]:
    """The first tokens of a session for each seed, all computed together."""
    said: dict[LmSession, list[int]] = {}
    for seed in seeds:
        session = engine.open(prompt, seed=seed)
        session.append_text(ids)
        session.end_text()
        said[session] = []
    while ready := [s for s, tokens in said.items() if s.is_ready and len(tokens) < _TOKENS]:
        for event in engine.tick(ready):
            if isinstance(event, TokenDrawn):
                said[event.session].append(event.token)
    for session in said:
        session.close()
    return list(said.values())
