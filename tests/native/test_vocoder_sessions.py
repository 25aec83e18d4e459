"""Sessions of the vocoder: chunks, ends, neighbours."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lively_vocoder import lively_checkpoint, random_mel

from models.cosyvoice.checkpoint import Checkpoint
from models.native.vocoder.state import VocoderJob
from models.native.vocoder.vocoder import Joins, Vocoder
from models.random_checkpoint.maker import make

FRAME = 480
MEL = random_mel(160)


class Case(NamedTuple):
    version: int
    joins: Joins


CASES = [Case(2, "upstream"), Case(2, "carry"), Case(3, "upstream")]
HELD = {CASES[0]: 8, CASES[1]: 18, CASES[2]: 8}


@pytest.fixture(scope="module")
def open_vocoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Vocoder]:
    """Opens the vocoder of a case, each once for as long a session."""
    folder = tmp_path_factory.mktemp("vocoders")

    @functools.cache
    def checkpoint(version: int) -> Checkpoint:
        plain = make(f"cosyvoice{version}-tiny", folder / f"plain{version}")
        return Checkpoint.open(lively_checkpoint(plain, folder / f"lively{version}"))

    @functools.cache
    def opened(case: Case, longest_s: int = 4) -> Vocoder:
        found = checkpoint(case.version)
        return Vocoder.open(found, "cpu", joins=case.joins, longest_s=longest_s)

    return opened


@pytest.fixture(params=CASES, ids=lambda case: f"v{case.version}-{case.joins}")
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def vocoder(case: Case, open_vocoder: Callable[..., Vocoder]) -> Vocoder:
    return open_vocoder(case)


@pytest.fixture
def plain_sums() -> Iterator[None]:
    """Without oneDNN, which rounds in another way for other lengths."""
    before = torch.backends.mkldnn.set_flags(False)
    yield
    torch.backends.mkldnn.set_flags(*before)


class Session:
    def __init__(self, vocoder: Vocoder, seed: int = 1, mel: torch.Tensor = MEL) -> None:
        self.vocoder = vocoder
        self.state = vocoder.new_state(np.random.SeedSequence(seed))
        self.rest = mel

    def job(self, n_frames: int, *, final: bool = False) -> VocoderJob:
        mel, self.rest = self.rest[:, :n_frames], self.rest[:, n_frames:]
        return VocoderJob(self.state, mel, final)

    def chunk(self, n_frames: int, *, final: bool = False) -> torch.Tensor:
        return self.vocoder.run([self.job(n_frames, final=final)])[0]

    def chunks(self, cuts: Sequence[int]) -> list[torch.Tensor]:
        return [self.chunk(cut) for cut in cuts] + [self.chunk(self.rest.shape[1], final=True)]


def test_how_much_is_heard_of_each_chunk(case: Case, vocoder: Vocoder) -> None:
    chunks = Session(vocoder).chunks([50, 50, 25])
    held = HELD[case]
    assert [len(chunk) / FRAME for chunk in chunks] == [50 - held, 50, 25, 35 + held]
    assert {chunk.dtype for chunk in chunks} == {torch.float32}


@pytest.mark.parametrize("n_last", [0, 1, 2, 5])
def test_the_end_has_few_frames_or_none(vocoder: Vocoder, n_last: int) -> None:
    chunks = Session(vocoder, mel=MEL[:, : 60 + n_last]).chunks([50, 10])
    assert sum(map(len, chunks)) == (60 + n_last) * FRAME
    assert all(torch.isfinite(chunk).all() for chunk in chunks)


@pytest.mark.parametrize("n_frames", [0, 1, 7, 8, 9])
def test_a_session_that_is_shorter_than_what_is_held_back(vocoder: Vocoder, n_frames: int) -> None:
    whole = Session(vocoder, mel=MEL[:, :n_frames]).chunk(n_frames, final=True)
    assert len(whole) == n_frames * FRAME
    session = Session(vocoder, mel=MEL[:, :n_frames])
    chunks = session.chunks([0, min(3, n_frames), 0])
    assert [len(chunk) for chunk in chunks] == [0, 0, 0, n_frames * FRAME]
    assert torch.equal(chunks[-1], whole)


def test_the_speech_is_voiced_and_unvoiced(vocoder: Vocoder) -> None:
    """Otherwise half of the source would not be tested."""
    predictor = vocoder._way._generator.f0_predictor
    with torch.inference_mode():
        voiced = predictor(MEL.unsqueeze(0), ended=True) > vocoder.spec.voiced_threshold_hz
    assert 0.2 < voiced.float().mean() < 0.8


cuts = st.lists(st.integers(0, 60), max_size=6).filter(lambda cuts: sum(cuts) <= MEL.shape[1])


@pytest.mark.parametrize("case", CASES[1:], ids=["v2-carry", "v3"], indirect=True)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=cuts)
@pytest.mark.usefixtures("plain_sums")
def test_cuts_do_not_change_the_sound(vocoder: Vocoder, cuts: list[int]) -> None:
    whole = Session(vocoder).chunk(160, final=True)
    chunks = torch.cat(Session(vocoder).chunks(cuts))
    # A window of a few frames is summed in another order; one frame too few would give 1e-3.
    assert torch.allclose(chunks, whole, rtol=0, atol=3e-5)


@pytest.mark.parametrize("case", CASES[2:], ids=["v3"], indirect=True)
@pytest.mark.usefixtures("plain_sums")
def test_chunks_of_usual_size_are_the_whole_to_the_bit(vocoder: Vocoder) -> None:
    whole = Session(vocoder).chunk(160, final=True)
    assert torch.equal(torch.cat(Session(vocoder).chunks([50, 50])), whole)


# F0 in float32 is rounded in another way beside others, and the phase adds that up.
BATCH_TOLERANCE = {CASES[0]: 1e-4, CASES[1]: 1e-6, CASES[2]: 1e-6}


@pytest.mark.usefixtures("plain_sums")
def test_neighbours_of_a_batch_do_not_matter(case: Case, vocoder: Vocoder) -> None:
    alone = [Session(vocoder, seed, random_mel(120, seed)).chunks([50, 25]) for seed in range(4)]
    sessions = [Session(vocoder, seed, random_mel(120, seed)) for seed in range(4)]
    for number, (n_frames, final) in enumerate([(50, False), (25, False), (45, True)]):
        jobs = [session.job(n_frames, final=final) for session in reversed(sessions)]
        for found, expected in zip(reversed(vocoder.run(jobs)), alone, strict=True):
            assert torch.allclose(found, expected[number], rtol=0, atol=BATCH_TOLERANCE[case])


def test_jobs_of_any_shapes_in_one_run(vocoder: Vocoder) -> None:
    alone = [Session(vocoder, seed).chunks([20, 50]) for seed in range(3)]
    early, late, last = (Session(vocoder, seed) for seed in range(3))
    early.chunk(20)
    for cut in (20, 50):
        last.chunk(cut)
    jobs = [early.job(50), late.job(20), last.job(90, final=True)]
    found = vocoder.run(jobs)
    for chunk, expected in zip(found, (alone[0][1], alone[1][0], alone[2][2]), strict=True):
        assert torch.allclose(chunk, expected, rtol=0, atol=1e-4)
    assert vocoder.run([]) == []


def test_a_seed_repeats_the_noise(case: Case, vocoder: Vocoder) -> None:
    one, again, other = (torch.cat(Session(vocoder, seed).chunks([50, 50])) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (case.version == 3)


def test_a_run_that_fails_may_be_repeated(
    vocoder: Vocoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Session(vocoder).chunks([50, 50])
    session = Session(vocoder)
    session.chunk(50)
    job, neighbour = session.job(50), Session(vocoder, 9).job(50)
    with monkeypatch.context() as patched:
        patched.setattr(vocoder._way._generator, "forward", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            vocoder.run([job, neighbour])
    assert torch.allclose(vocoder.run([job])[0], expected[1], rtol=0, atol=1e-6)


def test_a_session_keeps_little(case: Case, vocoder: Vocoder) -> None:
    """Not its neighbours' share of a batch, nor what has been heard."""
    sessions = [Session(vocoder, seed) for seed in range(4)]
    for _ in range(3):
        vocoder.run([session.job(50) for session in sessions])
    state = sessions[0].state
    kept = [state.mel, state.source]
    if case == CASES[0]:
        kept.append(state.speech)
    assert sum(tensor.untyped_storage().nbytes() for tensor in kept) < 150_000


def test_what_is_refused(vocoder: Vocoder) -> None:
    session = Session(vocoder)
    with pytest.raises(ValueError, match="one job at a time"):
        vocoder.run([session.job(10), session.job(10)])
    with pytest.raises(ValueError, match=r"\(80, n\) expected"):
        vocoder.run([VocoderJob(session.state, torch.zeros(1, 80, 10), final=False)])
    session.chunk(10, final=True)
    with pytest.raises(ValueError, match="has ended"):
        session.chunk(10)


def test_a_session_longer_than_the_noise(open_vocoder: Callable[..., Vocoder]) -> None:
    with pytest.raises(ValueError, match="noise for 1 s"):
        Session(open_vocoder(CASES[2], 1)).chunks([])


def test_version_3_has_no_joins_to_be_chosen(open_vocoder: Callable[..., Vocoder]) -> None:
    with pytest.raises(ValueError, match="carry"):
        open_vocoder(Case(3, "carry"))
