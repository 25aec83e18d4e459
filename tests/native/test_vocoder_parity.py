"""The vocoder against upstream's, given the same mel and noise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lively_vocoder import lively_checkpoint, random_mel
from torch.overrides import TorchFunctionMode

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.runtime import Official
from models.cosyvoice.vocoding import FlowPrompt, open_vocoder
from models.native.vocoder.state import VocoderJob
from models.native.vocoder.vocoder import Joins, Vocoder

SEED = np.random.SeedSequence(11)
FIXTURE = Path(__file__).with_name("vocoder3.npz")


class TableNoise(TorchFunctionMode):
    """While it is entered, `randn_like` gives the harmonics' noise from a table."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self._table = table

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.randn_like:
            return self._table[:, : args[0].shape[1], : args[0].shape[2]]
        return func(*args, **(kwargs or {}))


class GivenFlow:
    """Stands in for the flow: the mel is known."""

    token_mel_ratio = 2
    pre_lookahead_len = 3

    def __init__(self, mel: torch.Tensor) -> None:
        self._mel = mel
        self.decoder = SimpleNamespace(rand_noise=torch.zeros(1, 80, 15000))

    def inference(self, *, token: torch.Tensor, finalize: bool, **_: object) -> tuple[Any, None]:
        n_tokens = token.shape[1] - (0 if finalize else self.pre_lookahead_len)
        return self._mel[None, :, : 2 * n_tokens], None


@pytest.fixture(scope="module")
def lively(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lively_checkpoint(checkpoint, tmp_path_factory.mktemp("parity") / "lively")


@pytest.fixture(scope="module")
def reference(lively: Path, load_reference: Callable[[Path], Official]) -> Official:
    return load_reference(lively)


def open_ours(directory: Path, joins: Joins = "upstream") -> Vocoder:
    return Vocoder.open(Checkpoint.open(directory), "cpu", joins=joins, longest_s=10)


def chunks(vocoder: Vocoder, mel: torch.Tensor, cuts: Sequence[int]) -> list[torch.Tensor]:
    """What is heard of a session; the last cut ends it."""
    state = vocoder.new_state(SEED)
    pieces = torch.split(mel, list(cuts), dim=1)
    return [
        vocoder.run([VocoderJob(state, piece, final=number == len(cuts) - 1)])[0]
        for number, piece in enumerate(pieces)
    ]


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """But for rounding: with one thread, windows of equal lengths are equal to the bit."""
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-4)
    assert (ours - theirs).abs().mean() < 2e-6
    assert theirs.std() > 0.01


def upstream_chunks(official: Official, mel: torch.Tensor, hops: int) -> list[torch.Tensor]:
    """What our server over the official package gives: hops of 25, 50, ... tokens and the rest."""
    model = copy.copy(official.model)
    model.flow = GivenFlow(mel)
    prompt = FlowPrompt(
        tokens=torch.zeros(1, 0, dtype=torch.int32),
        mel=torch.zeros(1, 0, 80),
        embedding=torch.zeros(1, 192),
    )
    vocoder = open_vocoder(official.version, model, prompt, SEED)
    tokens = [0] * (mel.shape[1] // 2)
    heard = [vocoder.next_chunk(tokens[: vocoder.tokens_needed]) for _ in range(hops)]
    return [torch.from_numpy(found) for found in [*heard, vocoder.last_chunk(tokens)]]


def test_tables_are_upstream_s(lively: Path, reference: Official) -> None:
    ours = open_ours(lively)._way
    theirs = reference.model.hift
    assert torch.equal(ours._generator.spectrum.window, theirs.stft_window)
    if reference.version == 3:
        table = theirs.m_source.l_sin_gen.sine_waves[0]
        assert torch.equal(ours._table, table[: len(ours._table)])


def test_pitch_is_upstream_s(lively: Path, reference: Official) -> None:
    mel = random_mel(120).unsqueeze(0)
    with torch.inference_mode():
        ours = open_ours(lively)._way._generator.f0_predictor(mel, ended=True)
        theirs = reference.model.hift.f0_predictor(mel.to(ours.dtype))
    assert ours.dtype == (torch.float64 if reference.version == 3 else torch.float32)
    assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    assert 0.2 < (theirs > 10).float().mean() < 0.8


@pytest.mark.parametrize(("n_frames", "hops"), [(250, 2), (116, 1), (60, 1), (58, 1), (20, 0)])
def test_chunks_are_upstream_s(lively: Path, reference: Official, n_frames: int, hops: int) -> None:
    mel = random_mel(n_frames)
    theirs = upstream_chunks(reference, mel, hops)
    cuts = [50, 100][:hops]
    ours = chunks(open_ours(lively), mel, [*cuts, n_frames - sum(cuts)])
    assert [len(chunk) for chunk in ours] == [len(chunk) for chunk in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert_equal(mine, other)


def test_a_session_of_one_job_is_upstream_s_whole(lively: Path, reference: Official) -> None:
    mel = random_mel(130)
    theirs = upstream_chunks(reference, mel, 0)[0]
    ours = chunks(open_ours(lively), mel, [130])[0]
    assert_equal(ours, theirs)


def test_carried_chunks_are_upstream_s_whole(lively: Path, reference: Official) -> None:
    if reference.version == 3:
        pytest.skip("version 3 has one way only")
    mel = random_mel(150)
    vocoder = open_ours(lively, "carry")
    noise = vocoder.new_state(SEED).noise.ahead(150 * 480)[None]
    with TableNoise(noise):
        theirs = reference.model.hift.inference(speech_feat=mel[None])[0][0]
    ours = torch.cat(chunks(vocoder, mel, [50, 50, 50]))
    # Upstream adds the phase up in float32.
    assert torch.allclose(ours, theirs, rtol=0, atol=2e-3)
    assert (ours - theirs).abs().mean() < 2e-5


def test_older_names_of_weights(lively: Path, tmp_path: Path) -> None:
    """Some released files have them."""
    for path in lively.iterdir():
        (tmp_path / path.name).symlink_to(path)
    state = torch.load(lively / "hift.pt", weights_only=True)
    (tmp_path / "hift.pt").unlink()
    names = {"parametrizations.weight.original0": "weight_g"}
    names["parametrizations.weight.original1"] = "weight_v"
    for new, old in names.items():
        state = {name.replace(new, old): value for name, value in state.items()}
    torch.save({f"generator.{name}": value for name, value in state.items()}, tmp_path / "hift.pt")
    mel = random_mel(30)
    found, expected = (chunks(open_ours(path), mel, [30])[0] for path in (tmp_path, lively))
    assert torch.equal(found, expected)


def test_version_3_without_the_official_package(version: int, lively: Path) -> None:
    """`make_vocoder_fixture.py` wrote down what upstream made of this checkpoint."""
    if version != 3:
        pytest.skip("the package index has an official package of version 2")
    with np.load(FIXTURE) as known:
        table = open_ours(lively)._way._table
        assert torch.equal(table[:: int(known["table_step"]), 4], torch.from_numpy(known["table"]))
        n_frames, step = int(known["n_frames"]), int(known["step"])
        ours = torch.cat(chunks(open_ours(lively), random_mel(n_frames), [50, n_frames - 50]))
        theirs = torch.from_numpy(known["samples"])
    assert_equal(ours[::step], theirs)
