"""What the engine's flow keeps: nobody hears it, and nothing is left of streams that have ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from spoken import LONG, TEXT, VOICE, open_stream, opened, speak, speak_together
from spoken import tiny_checkpoint as make_tiny

from models.base import Samples
from models.native.flow.flow import Flow
from models.native.flow.jobs import FlowJob
from models.native.model import NativeModel
from models.native.options import NativeOptions
from models.native.room import flow_memory_bytes, machine_bytes

REQUESTS = [(LONG, "clone", 1), (TEXT * 3, VOICE, 2), (LONG, "guilty", 3), (LONG, "clone", 4)]
N_PROMPT = 60
"""Of the clones; floor((60 - 3) / 25) pages of them are shared."""


@pytest.fixture(scope="module")
def directory(version: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(version, tmp_path_factory.mktemp("spoken") / f"v{version}")


@pytest.fixture(scope="module")
def stateless(directory: Path) -> Iterator[NativeModel]:
    model = opened(directory, hops="growing", flow_memory_gib=0)
    yield model
    model.close()


@pytest.fixture(scope="module")
def expected(stateless: NativeModel) -> list[Samples]:
    assert stateless._engine._stages.flow.n_pages == 0
    return [speak(stateless, *request) for request in REQUESTS]


@pytest.fixture(scope="module")
def model(directory: Path) -> Iterator[NativeModel]:
    model = opened(directory, hops="growing")
    yield model
    model.close()


def all_slots(model: NativeModel) -> int:
    return model.capabilities.slots + model.capabilities.parked


def check(found: list[Samples], expected: list[Samples]) -> None:
    for samples, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(samples, theirs, atol=1e-4)


def test_streams_sound_as_without(model: NativeModel, expected: list[Samples]) -> None:
    assert model._engine._stages.flow.n_pages == all_slots(model) * 90
    check([speak(model, *request) for request in REQUESTS], expected)
    check(speak_together(model, REQUESTS), expected)
    assert model.holdings()["flow_pages"] == 0
    assert model.holdings()["flow_pages_kept"] == 2 * (N_PROMPT - 3) // 25
    assert not model.take_incidents()


def test_only_what_is_new_is_computed(model: NativeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[FlowJob] = []
    original = Flow.launch

    def launch(flow: Flow, batch: list[FlowJob]) -> object:
        jobs.extend(batch)
        return original(flow, batch)

    monkeypatch.setattr(Flow, "launch", launch)
    speak(model, LONG, "clone", 9)
    speak(model, LONG, "clone", 8)
    second = [job for job in jobs[1:] if job.first_new_frame == 2 * N_PROMPT]
    assert second[0].n_kept == 50  # its voice is known
    for job in jobs:
        if job.first_new_frame > 2 * N_PROMPT:  # on the grid after the first chunk
            assert job.n_kept == job.first_new_frame // 2


def test_with_too_few_pages_streams_sound_the_same(
    directory: Path, expected: list[Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.native.stages._PAGES_OF_SESSION", 1)
    model = opened(directory, slots=1, hops="growing")
    try:
        assert model._engine._stages.flow.n_pages == all_slots(model)
        check(speak_together(model, REQUESTS), expected)
        assert model.take_incidents()["page_evicted"] > 0
        assert model.holdings()["flow_pages"] == 0
    finally:
        model.close()


def test_a_stream_that_is_closed_gives_its_pages_back(model: NativeModel) -> None:
    stream = open_stream(model, LONG * 4, "clone", seed=9)
    next(stream)
    assert model.holdings()["flow_pages"] > 0
    stream.close()
    speak(model, TEXT)  # by when everything before has been obeyed
    assert model.holdings()["flow_pages"] == 0


def test_what_has_no_numbers_is_not_kept(
    model: NativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = model._engine._stages.flow
    solve, calls = flow.solver.solve, iter([True])

    def spoiled(*given: object) -> torch.Tensor:
        mels: torch.Tensor = solve(*given)
        return mels * float("nan") if next(calls, False) else mels

    expected = speak(model, LONG, VOICE, 5)
    monkeypatch.setattr(flow.solver, "solve", spoiled)
    found = speak(model, LONG, VOICE, 5)
    assert model.take_incidents()["nan"] == 1
    assert np.isfinite(found).all()
    assert len(found)
    monkeypatch.undo()
    check([speak(model, LONG, VOICE, 5)], [expected])
    assert model.holdings()["flow_pages"] == 0


# --- How much --------------------------------------------------------------------------------


@pytest.mark.parametrize("gib", [-1.0, float("nan"), float("inf")])
def test_memory_that_cannot_be(gib: float) -> None:
    with pytest.raises(ValueError, match="flow_memory_gib"):
        NativeOptions(flow_memory_gib=gib).check_values()


def test_memory_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.native.room.machine_bytes", lambda: 100)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert flow_memory_bytes(None, cpu) == 25
    assert flow_memory_bytes(None, cuda) == 0
    assert flow_memory_bytes(0.5, cuda) == 1 << 29
    assert flow_memory_bytes(0.0, cpu) == 0


def test_a_container_has_less_than_the_machine(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    whole = machine_bytes(limit)
    assert whole > 1 << 28
    for text, found in (("max\n", whole), ("1000000\n", 1_000_000), (f"{whole * 2}\n", whole)):
        limit.write_text(text)
        assert machine_bytes(limit) == found
