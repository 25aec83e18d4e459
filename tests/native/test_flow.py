"""The flow by itself: what a stream hears depends neither on its chunks nor on its company."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from lively_flow import LOOKAHEAD, SAMPLES, job, lively, with_flow

from models.cosyvoice.checkpoint import Checkpoint
from models.native.flow.benchmark import main as benchmark
from models.native.flow.errors import FlowJobError, NotFiniteError, TooLongError
from models.native.flow.flow import Flow
from models.native.flow.hops import HOPS_TOKENS, ChunkGrid
from models.native.flow.jobs import FRAME_TIERS, FlowJob
from models.native.weights import read_tensors

_ALIKE = 1e-5
N_TOKENS = 140


@pytest.fixture(scope="module")
def directory(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = lively(read_tensors(checkpoint / "flow.pt"))
    return with_flow(checkpoint, tmp_path_factory.mktemp("lively") / "v", state)


@pytest.fixture(scope="module")
def flow(directory: Path) -> Flow:
    return Flow.open(Checkpoint.open(directory))


@pytest.fixture(scope="module")
def tiered(directory: Path) -> Flow:
    """As on CUDA."""
    return Flow.open(Checkpoint.open(directory), frame_tiers=FRAME_TIERS)


def test_what_the_official_package_made(version: int, directory: Path, flow: Flow) -> None:
    """Its outputs are in a file by make_flow_outputs.py, so its package need not be here."""
    full = Flow.open(Checkpoint.open(directory), final_policy="upstream")
    with np.load(Path(__file__).with_name("flow_outputs.npz")) as outputs:
        for name, sample in SAMPLES.items():
            (mel,) = (full if name == "full" else flow).run([sample])
            theirs = torch.from_numpy(outputs[f"v{version}-{name}"])
            assert torch.allclose(mel, theirs, rtol=0, atol=1e-4)


def chunks(flow: Flow, n_prompt: int, hops: list[int], seed: int = 0) -> list[FlowJob]:
    """The jobs of a stream of 140 tokens."""
    grid = ChunkGrid(flow.spec, n_prompt)
    jobs, done = [], 0
    for hop in hops:
        n_tokens = grid.tokens_needed(done, hop)
        jobs.append(job(n_prompt, n_tokens, done=done, seed=seed))
        done = grid.end(done, hop)
    return [*jobs, job(n_prompt, N_TOKENS, final=True, done=done, seed=seed)]


def same(mel: torch.Tensor, other: torch.Tensor) -> bool:
    return mel.shape == other.shape and torch.allclose(mel, other, rtol=0, atol=_ALIKE)


@pytest.mark.parametrize(
    ("n_prompt", "hops"),
    [(0, [25, 50]), (50, [25, 25, 25, 25]), (37, [25, 50]), (37, [50, 25]), (74, [100])],
)
def test_chunks_are_the_whole(flow: Flow, n_prompt: int, hops: list[int]) -> None:
    (whole,) = flow.run([job(n_prompt, N_TOKENS, final=True)])
    heard = [flow.run([chunk])[0] for chunk in chunks(flow, n_prompt, hops)]
    assert same(torch.cat(heard, dim=1), whole)


def test_what_has_been_heard_stays(flow: Flow) -> None:
    first, second, last = chunks(flow, 37, [25, 50])
    (heard,) = flow.run([first])
    for later in (second, last):
        (again,) = flow.run([dataclasses.replace(later, first_new_frame=first.first_new_frame)])
        assert same(again[:, : heard.shape[1]], heard)


def test_hops_off_the_grid_are_other_frames(flow: Flow) -> None:
    (whole,) = flow.run([job(50, N_TOKENS, final=True)])
    (early,) = flow.run([job(50, 10 + LOOKAHEAD)])
    assert not same(early, whole[:, :20])


def test_two_streams_share_a_prompts_state_up_to_its_last_chunk(flow: Flow) -> None:
    """Which the lookahead lets see the first new tokens: floor((75 - 3) / 25) * 25 tokens."""
    jobs = [job(75, 28), job(75, 28)]
    jobs[1].tokens[75:] = np.flip(jobs[0].tokens[75:])
    one, other = flow.compute(flow._packer.pack(jobs))
    assert torch.equal(one[:100], other[:100])
    assert not same(one[100:150], other[100:150])


def test_company_changes_nothing(flow: Flow, tiered: Flow) -> None:
    jobs = [
        job(75, 53, seed=1),
        job(0, 28, seed=2),
        job(37, 90, done=38, final=True, seed=3),
        job(20, 2, final=True, seed=4),
    ]
    alone = [flow.run([one])[0] for one in jobs]
    for batch in (jobs, jobs[::-1], jobs[:2]):
        for run in (flow.run, tiered.run):
            for one, mel in zip(batch, run(batch), strict=True):
                assert same(mel, alone[jobs.index(one)])
    assert [tuple(mel.shape) for mel in alone] == [(80, 100), (80, 50), (80, 104), (80, 4)]


def test_batches_have_few_shapes(tiered: Flow) -> None:
    for n_tokens, frames in ((25, 50), (26, 100), (75, 150), (76, 200), (401, 1200)):
        batch = tiered._packer.pack([job(0, n_tokens, final=True), job(0, 9)])
        assert batch.prompt.shape == (2, frames, 80)
        assert batch.tokens.shape == (2, frames // 2 + LOOKAHEAD)


def test_final_policies(directory: Path, flow: Flow) -> None:
    jobs = [job(20, 60, final=True), job(20, 60, final=True, done=30), job(20, 33)]
    exact = flow.run(jobs)
    full = Flow.open(Checkpoint.open(directory), final_policy="upstream").run(jobs)
    once = Flow.open(Checkpoint.open(directory), final_policy="one_chunk").run(jobs)
    assert same(exact[1], exact[0][:, 60:])
    assert same(full[1], full[0][:, 60:])
    assert not same(full[0], exact[0])
    assert same(once[0], full[0])
    assert same(once[1], exact[1])
    for mels in (full, once):
        assert same(mels[2], exact[2])


def test_bfloat16_is_near(directory: Path, flow: Flow) -> None:
    jobs = [job(20, 61, final=True), job(0, 28)]
    half = Flow.open(Checkpoint.open(directory), estimator_dtype=torch.bfloat16)
    for mel, exact in zip(half.run(jobs), flow.run(jobs), strict=True):
        assert mel.dtype == torch.float32
        assert 1e-5 < (mel - exact).abs().max() < 0.1
    for mel, alone in zip(half.run(jobs), jobs, strict=True):
        assert (mel - half.run([alone])[0]).abs().max() < 0.1


def test_bfloat16_is_watched(directory: Path) -> None:
    half = Flow.open(Checkpoint.open(directory), estimator_dtype=torch.bfloat16)
    good, bad = job(20, 33), job(20, 33, seed=1)
    bad.embedding[3] = float("nan")
    with pytest.raises(NotFiniteError) as caught:
        half.run([good, bad])
    assert caught.value.jobs == (1,)
    finite = half.launch([good, bad]).finite
    assert finite is not None
    assert finite.tolist() == [True, False]


def test_300_seconds_are_the_end(flow: Flow) -> None:
    grid = ChunkGrid(flow.spec, 10)
    assert grid.max_tokens == 7490
    long = job(10, 20)
    tokens = np.zeros(7501, dtype=np.int32)
    too_long = dataclasses.replace(long, tokens=tokens, final=True)
    with pytest.raises(TooLongError) as caught:
        flow.run([long, too_long])
    assert caught.value.jobs == (1,)
    assert caught.value.code == "failed"
    # What is only looked ahead at needs no noise.
    assert flow.frames(dataclasses.replace(long, tokens=tokens)) == 14996


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": np.array([6561] * 30, dtype=np.int32)},
        {"tokens": np.array([-1] * 30, dtype=np.int32)},
        {"tokens": np.zeros((1, 30), dtype=np.int32)},
        {"tokens": np.zeros(0, dtype=np.int32)},
        {"tokens": np.zeros(3, dtype=np.int32), "prompt_mel": torch.zeros(0, 80)},
        {"prompt_mel": torch.zeros(80, 40)},
        {"embedding": torch.zeros(1, 192)},
        {"first_new_frame": 39},
        {"first_new_frame": 60},
    ],
)
def test_jobs_that_cannot_be(flow: Flow, wrong: dict[str, object]) -> None:
    good = job(20, 13)
    flow.run([dataclasses.replace(good, first_new_frame=59)])
    with pytest.raises(FlowJobError) as caught:
        flow.run([good, dataclasses.replace(good, **wrong)])
    assert caught.value.jobs == (1,)


def test_options_that_cannot_be(directory: Path) -> None:
    checkpoint = Checkpoint.open(directory)
    with pytest.raises(ValueError, match="float16"):
        Flow.open(checkpoint, estimator_dtype=torch.float16)
    with pytest.raises(ValueError, match="tiers"):
        Flow.open(checkpoint, frame_tiers=(100, 50))
    with pytest.raises(ValueError, match="tiers"):
        Flow.open(checkpoint, frame_tiers=(25,))


def test_nothing_is_asked_of_the_device(directory: Path) -> None:
    """On `meta` there are no values: whatever reads one raises, as it would break a CUDA graph."""
    for dtype in (torch.float32, torch.bfloat16):
        flow = Flow.open(Checkpoint.open(directory), "meta", dtype)
        assert flow.launch([job(20, 33), job(0, 40)]).new[1].shape == (80, 74)


def test_weights_are_not_the_files(flow: Flow) -> None:
    for module in (flow._encoder, flow.solver):
        for parameter in module.parameters():
            assert parameter.is_contiguous()
            assert not parameter.requires_grad
            assert parameter.untyped_storage().nbytes() == parameter.nbytes


@pytest.mark.parametrize("n_prompt", [0, 25, 37, 74])
def test_hops(flow: Flow, n_prompt: int) -> None:
    grid = ChunkGrid(flow.spec, n_prompt)
    pad = -n_prompt % 25
    assert grid.tokens_needed(0, 25) == 25 + pad + 3  # upstream's first hop
    assert grid.longest_hop(0, 25 + pad + 2) is None
    done = grid.end(0, 25)
    assert [grid.end(done, hop) - done for hop in HOPS_TOKENS] == [25, 50, 100]
    assert [grid.longest_hop(done, done + n) for n in (27, 28, 103)] == [None, 25, 100]
    assert grid.first_frame(done) == 2 * (n_prompt + 25 + pad)
    for hops in itertools.product(HOPS_TOKENS, repeat=2):
        end = grid.end(grid.end(0, hops[0]), hops[1])
        assert (n_prompt + end) % 25 == 0


def test_benchmark(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["benchmark", str(directory), "--repeats", "1", "--device", "cpu"]
    arguments += ["--prompt", "5", "--done", "0", "--hop", "20", "--jobs", "1", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    benchmark()
    lines = capsys.readouterr().out.splitlines()
    assert "50 frames, 20 tokens new" in lines[0]
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["1", "2"]


def test_benchmark_of_what_is_kept(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["benchmark", str(directory), "--device", "cpu", "--jobs", "--streams", "1", "2"]
    arguments += ["--prompt", "30", "--hop", "25", "--chunks", "2", "--memory-gib", "0.01"]
    monkeypatch.setattr("sys.argv", arguments)
    benchmark()
    lines = [line.split("|") for line in capsys.readouterr().out.splitlines()[5:]]
    told = [(line[1].strip(), line[2].strip()) for line in lines]
    chunks = ["1, new voice", "2", "1, known voice"]
    assert told == [(count, chunk) for count in "12" for chunk in chunks]
