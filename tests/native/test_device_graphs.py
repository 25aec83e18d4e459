"""Graphs hold what they were captured with, and nothing of what changes from call to call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_lanes import CapturingLane, TracingLane
from lively_flow import job, lively, with_flow
from lively_vocoder import random_mel
from lm_cases import GREEDY, prompt, run, scrambled, text
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from models.cosyvoice.checkpoint import Checkpoint
from models.native.device.graphs import Graphs
from models.native.device.lane import Tensors
from models.native.device.staging import StagingBuffers, laid_out
from models.native.flow.flow import Flow
from models.native.flow.jobs import FlowJob
from models.native.lm.engine import LmEngine
from models.native.lm.model import LmModel, load_lm
from models.native.lm.sampling import NOT_FORCED, RasSampler
from models.native.lm.sequence import LmLimits
from models.native.lm.shapes import BatchShapes
from models.native.lm.step import Column, LmStep
from models.native.vocoder.state import VocoderJob, VocoderState
from models.native.vocoder.vocoder import Joins, Vocoder

# --- The holder --------------------------------------------------------------------------------


def doubled(x: torch.Tensor) -> Tensors:
    return (2 * x,)


def ones(*shape: int) -> Tensors:
    return (torch.ones(shape),)


def test_what_is_captured_runs_again_with_other_values() -> None:
    lane = CapturingLane()
    graphs = Graphs(lane)
    with graphs.capturing():
        (first,) = graphs.run("unit", "key", doubled, ones(3))
    (again,) = graphs.run("unit", "key", doubled, (torch.tensor([1.0, 2.0, 3.0]),))
    (last,) = graphs.run("unit", "key", doubled, ones(3))
    assert (lane.n_captures, lane.n_replays) == (1, 2)
    assert first.tolist() == last.tolist() == [2, 2, 2]
    assert again.tolist() == [2, 4, 6]  # not overwritten by what came after it
    assert not graphs.n_eager


@pytest.mark.parametrize(
    ("key", "inputs"),
    [("other", ones(3)), ("key", ones(4)), ("key", (torch.ones(3, dtype=torch.float64),))],
    ids=["key", "shape", "type"],
)
def test_another_key_shape_or_type_is_another_work(key: str, inputs: Tensors) -> None:
    lane = CapturingLane()
    graphs = Graphs(lane)
    with graphs.capturing():
        graphs.run("unit", "key", doubled, ones(3))
        graphs.run("unit", "key", doubled, ones(3))
    (found,) = graphs.run("unit", key, doubled, inputs)
    assert (lane.n_captures, lane.n_replays) == (1, 1)
    assert graphs.n_eager == {"unit": 1}
    assert torch.equal(found, 2 * inputs[0])


def test_nothing_is_captured_while_it_serves() -> None:
    lane = CapturingLane()
    graphs = Graphs(lane)
    for _ in range(2):
        graphs.run("unit", "key", doubled, ones(3))
    assert lane.n_captures == 0
    assert graphs.n_eager == {"unit": 2}


def test_there_is_an_end_of_graphs_and_of_memory() -> None:
    lane = CapturingLane()
    graphs = Graphs(lane, most=2)
    with graphs.capturing():
        for size in range(1, 4):
            graphs.run("unit", "key", doubled, ones(size))
    assert (graphs.n_captured, graphs.n_left_out) == (2, 1)
    graphs = Graphs(lane)
    lane.room = False
    with graphs.capturing():
        graphs.run("unit", "key", doubled, ones(1))
    assert (graphs.n_captured, graphs.n_left_out) == (0, 1)


def test_switched_off() -> None:
    lane = CapturingLane()
    graphs = Graphs(lane, enabled=False)
    with graphs.capturing():
        graphs.run("unit", "key", doubled, ones(3))
    assert lane.n_captures == 0
    assert graphs.padded_rows(5) == 5
    assert Graphs(lane).padded_rows(5) == 6
    assert Graphs(lane).padded_rows(17) == 17


# --- What stands for CUDA here does find what a CUDA graph would not bear -----------------------


def test_a_python_value_is_that_of_the_capture() -> None:
    """So that a unit which lets one through differs from what it does without graphs."""
    factor = 2
    graphs = Graphs(TracingLane())
    with graphs.capturing():
        graphs.run("unit", None, lambda x: (factor * x,), ones(1))
    factor = 3
    (found,) = graphs.run("unit", None, lambda x: (factor * x,), ones(1))
    assert found.item() == 2


@pytest.mark.parametrize("look", [torch.Tensor.item, torch.nonzero], ids=["item", "nonzero"])
def test_what_looks_at_a_value_cannot_be_captured(look: object) -> None:
    graphs = Graphs(TracingLane())
    with graphs.capturing(), pytest.raises(RuntimeError):
        graphs.run("unit", None, lambda x: (x * look(x.sum()),), ones(3))  # type: ignore[operator]


class OnDevice(TorchDispatchMode):  # type: ignore[misc]
    """Raises if anything is made on the host, from where it would have to be copied."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        results = function(*args, **(kwargs or {}))
        for result in pytree.tree_leaves(results):
            if isinstance(result, torch.Tensor):
                assert result.is_meta, f"{function} made a tensor on the host"
        return results


@contextmanager
def on_device() -> Iterator[None]:
    """Of tensors without values, whose device is not the host, everything stays there."""
    with torch.inference_mode(), OnDevice():
        yield


def test_a_tensor_of_the_host_is_found() -> None:
    with on_device(), pytest.raises(AssertionError, match="on the host"):
        torch.ones(3, device="meta") * torch.tensor(2.0)


# --- The language model ------------------------------------------------------------------------

SHAPES = BatchShapes(rows=(1, 4), inputs=(1, 16), keys=(64, 192))


@pytest.fixture(scope="module")
def lm(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> LmModel:
    directory = scrambled(checkpoint, tmp_path_factory.mktemp("graphs") / "scrambled")
    return load_lm(Checkpoint.open(directory))


def said(engine: LmEngine, version: int) -> list[list[int]]:
    """By sessions that differ in everything, one alone and then three together."""
    courses = [(1, 5, "whole", 0), (2, 40, "streamed", 20), (3, 7, "whole", 12), (4, 9, "auto", 0)]
    sessions = []
    for seed, n_text, layout, n_speech in courses:
        session = engine.open(
            prompt(version, n_speech // 3, n_speech),
            seed=seed,
            limits=LmLimits(longest=3),
            layout=layout,
        )
        session.append_text(text(n_text, seed))
        session.end_text()
        sessions.append(session)
    first, *others = sessions
    return run(engine, first) + run(engine, *others)


def test_steps_by_graphs_say_the_same(lm: LmModel, version: int) -> None:
    lane = TracingLane()
    graphs = Graphs(lane)
    engine = LmEngine(lm, n_slots=4, max_length=192, shapes=SHAPES, graphs=graphs)
    with graphs.capturing():
        engine.rehearse()
    assert lane.n_captures == len(list(SHAPES.common(4))) == 6
    plain = LmEngine(lm, n_slots=4, max_length=192, shapes=SHAPES)
    expected = said(plain, version)
    assert said(engine, version) == expected
    assert min(map(len, expected)) > 3
    assert lane.n_replays > 60
    assert set(graphs.n_eager) <= {"lm"}
    assert graphs.n_eager["lm"] < 6  # several read text at once


def test_a_step_makes_nothing_on_the_host(checkpoint: Path) -> None:
    lm = load_lm(Checkpoint.open(checkpoint)).to("meta")
    sampler = RasSampler(lm.spec.outputs, GREEDY, "meta")
    step = LmStep(lm, lm.new_key_values(n_slots=2, max_length=64), sampler)
    batch = torch.full((2, len(Column) + GREEDY.win_size + 8), NOT_FORCED, device="meta")
    with on_device():
        assert step(batch, 64).shape == (2,)


# --- The flow ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flow_directory(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = lively(torch.load(checkpoint / "flow.pt", weights_only=True))
    return with_flow(checkpoint, tmp_path_factory.mktemp("graphs") / "flow", state)


def opened_flow(directory: Path, graphs: Graphs | None = None, **options: Any) -> Flow:
    """Which takes two steps of ten, so that there is less to capture."""
    options = {"frame_tiers": (100,), **options}
    flow = Flow.open(Checkpoint.open(directory), graphs=graphs, **options)
    flow.solver._steps = flow.solver._steps[:2]
    return flow


def jobs() -> list[FlowJob]:
    return [
        job(0, 9, seed=1),
        job(12, 30, done=20, seed=2),
        job(27, 13, done=3, final=True, seed=3),
        job(30, 23, seed=4),
    ]


def test_the_flow_by_graphs_makes_the_same(flow_directory: Path) -> None:
    lane = TracingLane()
    graphs = Graphs(lane)
    flow, plain = opened_flow(flow_directory, graphs), opened_flow(flow_directory)
    with graphs.capturing():
        flow.run([job(0, 50, final=True)] * 2)
    for batch in (jobs()[:2], jobs()[2:]):
        for found, expected in zip(flow.run(batch), plain.run(batch), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert lane.n_replays == 2
    assert not graphs.n_eager


def test_rows_that_pad_a_batch_change_nothing(flow_directory: Path) -> None:
    flow = opened_flow(flow_directory, Graphs(CapturingLane()))
    five = [*jobs(), job(3, 40, seed=5)]
    assert len(flow._packer.pack(five).tokens) == 6
    for found, expected in zip(flow.run(five), opened_flow(flow_directory).run(five), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_flow_by_graphs_goes_on_from_what_is_kept(flow_directory: Path) -> None:
    lane = TracingLane()
    graphs = Graphs(lane)
    flow = opened_flow(flow_directory, graphs, memory_bytes=1 << 30, most_pages=8, together=True)
    plain = opened_flow(flow_directory)
    with graphs.capturing():
        flow.rehearse(1, 25, n_pages=1)
    for seed in (1, 2):
        first, second = job(0, 28, seed=seed), job(0, 53, done=25, seed=seed)
        memory = flow.remember(first.tokens[:0], first.prompt_mel.numpy(), first.embedding.numpy())
        flow.run([replace(first, memory=memory)])
        (found,) = flow.run([replace(second, memory=memory)])
        torch.testing.assert_close(found, plain.run([second])[0], atol=1e-4, rtol=1e-4)
    assert lane.n_replays == 2
    assert graphs.n_eager == {"kept flow": 2}  # the first chunks


def test_the_flow_makes_nothing_on_the_host(flow_directory: Path) -> None:
    options = {"memory_bytes": 1 << 30, "most_pages": 8}
    flow = Flow.open(Checkpoint.open(flow_directory), "meta", **options)
    calls: list[tuple[Any, Tensors]] = []

    def run(unit: str, key: Any, function: Any, inputs: Tensors) -> Tensors:
        calls.append((function, inputs))
        found: Tensors = function(*inputs)
        return found

    flow._graphs.run = run  # type: ignore[method-assign]
    flow.rehearse(2, 40)
    flow.rehearse(2, 25, n_pages=3)
    for function, inputs in calls:
        with on_device():
            function(*inputs)
    assert len(calls) == 2


# --- The vocoder -------------------------------------------------------------------------------

LENGTHS = [30, 20]


def joins(version: int) -> list[Joins]:
    return ["upstream", "carry"] if version == 2 else ["upstream"]


def opened_vocoders(directory: Path, graphs: Graphs, version: int) -> Iterator[list[Vocoder]]:
    for join in joins(version):
        opened = Checkpoint.open(directory)
        yield [
            Vocoder.open(opened, "cpu", joins=join, longest_s=10, graphs=graphs),
            Vocoder.open(opened, "cpu", joins=join, longest_s=10),
        ]


def play(vocoder: Vocoder, seeds: list[int]) -> list[torch.Tensor]:
    states: list[VocoderState] = [vocoder.new_state(np.random.SeedSequence(s)) for s in seeds]
    sounds = []
    for number, length in enumerate(LENGTHS):
        mels = [random_mel(length, 10 * seed + number) for seed in seeds]
        sounds += vocoder.run(
            [VocoderJob(state, mel, False) for state, mel in zip(states, mels, strict=True)]
        )
    return sounds


def test_the_vocoder_by_graphs_makes_the_same(checkpoint: Path, version: int) -> None:
    lane = TracingLane()
    graphs = Graphs(lane)
    for vocoder, plain in opened_vocoders(checkpoint, graphs, version):
        with graphs.capturing():
            play(vocoder, [1, 2])
        n_replays = lane.n_replays
        for found, expected in zip(play(vocoder, [3, 4]), play(plain, [3, 4]), strict=True):
            # Rounding in the phase is heard.
            torch.testing.assert_close(found, expected, atol=5e-4, rtol=0)
        assert lane.n_replays == n_replays + len(LENGTHS)
    assert not graphs.n_eager


def test_the_vocoder_makes_nothing_on_the_host(
    checkpoint: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for join in joins(version):
        opened = Checkpoint.open(checkpoint)
        vocoder = Vocoder.open(opened, "cpu", joins=join, longest_s=10)
        calls: list[tuple[Any, Tensors]] = []
        compute = vocoder._way.compute

        def watched(cut: Any, inputs: Tensors, compute: Any = compute, calls: Any = calls) -> Any:
            calls.append((cut, inputs))
            return compute(cut, inputs)

        monkeypatch.setattr(vocoder._way, "compute", watched)
        play(vocoder, [1])
        elsewhere = Vocoder.open(opened, "meta", joins=join, longest_s=10)
        for cut, inputs in calls:
            there = tuple(tensor.to("meta") for tensor in inputs)
            with on_device():
                elsewhere._way.compute(cut, there)
        assert len(calls) == len(LENGTHS)


# --- Page-locked memory ------------------------------------------------------------------------


def test_a_buffer_is_used_again_when_its_copy_is_done() -> None:
    buffers = StagingBuffers(lambda n_bytes: torch.empty(n_bytes, dtype=torch.uint8))
    done = set[str]()
    first, second = buffers.take(5000), buffers.take(100)
    buffers.give_back(first, lambda: "first" in done)
    buffers.give_back(second, lambda: "second" in done)
    assert buffers.take(100) is not second
    done |= {"first", "second"}
    assert buffers.take(100) is second
    assert buffers.take(5000) is first


def test_a_buffer_takes_any_shape_and_type() -> None:
    buffer = torch.empty(4096, dtype=torch.uint8)
    for values in (torch.arange(6).view(2, 3), torch.rand(5), torch.empty((0, 80))):
        staged = laid_out(buffer, values).copy_(values)
        assert torch.equal(staged, values)
        assert staged.data_ptr() == buffer.data_ptr() or not values.numel()
