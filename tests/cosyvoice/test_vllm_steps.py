"""Streams in one vLLM engine, against an engine that only counts. The real one needs CUDA."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from models.cosyvoice.vllm_steps import VllmSteps

STOP = [100, 101, 102]


class Engine:
    """Gives each request the tokens 1, 2, 3 ... and the stop token after its `max_tokens`."""

    def __init__(self) -> None:
        self.requests: dict[str, list[int]] = {}
        self.parameters: dict[str, Any] = {}
        self.aborted: list[str] = []
        self.tokens_per_step = 1
        self.steps = 0

    def add_request(self, name: str, prompt: dict[str, torch.Tensor], parameters: Any) -> None:
        assert prompt["prompt_embeds"].dtype is torch.bfloat16
        assert prompt["prompt_embeds"].shape == (5, 8)
        self.requests[name] = []
        self.parameters[name] = parameters

    def abort_request(self, names: list[str]) -> None:
        self.aborted += names
        for name in names:
            self.requests.pop(name, None)

    def step(self) -> list[Any]:
        self.steps += 1
        return [self._output(name) for name in list(self.requests)]

    def _output(self, name: str) -> Any:
        tokens = self.requests[name]
        for _ in range(self.tokens_per_step):
            tokens.append(len(tokens) + 1)
        finished = len(tokens) >= self.parameters[name].max_tokens
        if finished:
            del self.requests[name]
            tokens = [*tokens[: self.parameters[name].max_tokens], STOP[0]]
        outputs = [SimpleNamespace(token_ids=list(tokens))]
        return SimpleNamespace(request_id=name, outputs=outputs, finished=finished)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    vllm = ModuleType("vllm")
    vllm.SamplingParams = SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    return Engine()


@pytest.fixture
def llm(engine: Engine) -> Any:
    return SimpleNamespace(
        vllm=engine, lock=threading.Lock(), vllm_output_queue={}, stop_token_ids=STOP
    )


def decode(llm: Any, n_tokens: int, seed: int = 1) -> Iterator[int]:
    return VllmSteps(llm, seed)(torch.zeros(1, 5, 8), 25, 2, n_tokens, "upstream's id")


@pytest.mark.parametrize("tokens_per_step", [1, 4])
def test_every_token_arrives(llm: Any, engine: Engine, tokens_per_step: int) -> None:
    """Upstream keeps the last token of an output only."""
    engine.tokens_per_step = tokens_per_step
    assert list(decode(llm, 10)) == list(range(1, 11))
    assert llm.vllm_output_queue == {}


def test_the_request_s_seed_and_bounds(llm: Any, engine: Engine) -> None:
    list(decode(llm, 10, seed=7))
    (parameters,) = engine.parameters.values()
    assert vars(parameters) == {
        "top_k": 25, "seed": 7, "stop_token_ids": STOP, "min_tokens": 2, "max_tokens": 10
    }  # fmt: skip


def test_streams_step_the_engine_for_each_other(llm: Any, engine: Engine) -> None:
    first, second = decode(llm, 5), decode(llm, 5)
    assert [next(first), next(second)] == [1, 1]
    assert list(first) == [2, 3, 4, 5]
    steps = engine.steps
    assert list(second) == [2, 3, 4, 5]
    assert engine.steps == steps + 1  # the rest was there already


def test_a_dropped_stream_is_aborted(llm: Any, engine: Engine) -> None:
    dropped, other = decode(llm, 50), decode(llm, 5)
    next(dropped)
    next(other)
    (name,) = (name for name in engine.requests if len(engine.requests[name]) == 2)
    dropped.close()
    assert engine.aborted == [name]
    assert list(other) == [2, 3, 4, 5]
    assert llm.vllm_output_queue == {}


def test_an_exception_in_the_engine_reaches_the_caller(
    llm: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step() -> list[Any]:
        raise ZeroDivisionError("the engine broke")

    monkeypatch.setattr(engine, "step", step)
    with pytest.raises(ZeroDivisionError):
        next(decode(llm, 5))
    assert llm.vllm_output_queue == {}
    assert not llm.lock.locked()
