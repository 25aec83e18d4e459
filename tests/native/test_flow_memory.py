"""What the flow keeps of streams: the same frames come of it sooner, and it may be dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from lively_flow import job, lively, with_flow

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.features import TokenIds
from models.native.flow.errors import NotFiniteError
from models.native.flow.flow import Flow
from models.native.flow.hops import ChunkGrid
from models.native.flow.jobs import FlowJob
from models.native.flow.memories import FlowMemory, Memories
from models.native.flow.pages import WASTE, PagePool, runs
from models.native.weights import read_tensors

_ALIKE = 1e-5
_PAGES = 24


@pytest.fixture(scope="module")
def directory(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = lively(read_tensors(checkpoint / "flow.pt"))
    return with_flow(checkpoint, tmp_path_factory.mktemp("lively") / "v", state)


@pytest.fixture(scope="module")
def open_flow(directory: Path) -> Callable[..., Flow]:
    def opened(n_pages: int = _PAGES, **more: object) -> Flow:
        room = {"memory_bytes": 1 << 40, "most_pages": n_pages}
        flow = Flow.open(Checkpoint.open(directory), **{**room, **more})
        poison(flow)
        return flow

    return opened


@pytest.fixture(scope="module")
def stateless(directory: Path) -> Flow:
    return Flow.open(Checkpoint.open(directory))


@pytest.fixture(scope="module", params=[False, True], ids=["each", "together"])
def loaded(open_flow: Callable[..., Flow], request: pytest.FixtureRequest) -> Flow:
    """As on a CPU, and as on CUDA."""
    return open_flow(together=request.param)


@pytest.fixture
def flow(loaded: Flow) -> Iterator[Flow]:
    poison(loaded)
    yield loaded
    forget_all(loaded)
    assert loaded.n_free_pages == _PAGES


def poison(flow: Flow) -> None:
    """Nothing of what nobody has written may be read."""
    assert flow._kept is not None
    for store in (flow._kept._store, *flow._kept._encoder_stores):
        for tensor, dim in ((store.keys, 4), *((tail, 1) for tail in store.tails)):
            pages = tensor.unflatten(dim, (store.branches, store.n_pages)).movedim(dim + 1, 0)
            pages[1:] = float("nan")


def forget_all(flow: Flow) -> None:
    """Close all streams, and drop what only voices keep."""
    assert flow._kept is not None
    memories = flow._kept.memories
    for memory in memories._open.copy():
        memory.close()
    while memories._forget_prompt():
        pass


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StreamJob(FlowJob):
    """A job of a `Stream`."""

    whole: TokenIds
    """Of the stream, to its end."""


class Stream:
    """A stream of 140 tokens that remembers."""

    def __init__(self, flow: Flow, n_prompt: int, seed: int = 0, voice: int = 0) -> None:
        self.grid = ChunkGrid(flow.spec, n_prompt)
        self.done = 0
        whole = job(n_prompt, 140, seed=voice)
        self._tokens = whole.tokens.copy()
        self._tokens[n_prompt:] = (self._tokens[n_prompt:] + seed) % 6561
        self._job = whole
        mel, embedding = whole.prompt_mel.numpy(), whole.embedding.numpy()
        memory = flow.remember(whole.tokens[:n_prompt], mel, embedding)
        assert memory is not None
        self.memory: FlowMemory = memory

    @property
    def n_pages(self) -> int:
        return len(self.memory.pages)

    def next_job(self, hop: int, final: int | None = None) -> FlowJob:
        """The next chunk, or the last one with so many tokens."""
        n_tokens = self.grid.tokens_needed(self.done, hop)
        end = self.grid.n_prompt + (n_tokens if final is None else self.done + final)
        return StreamJob(
            tokens=self._tokens[:end],
            whole=self._tokens,
            prompt_mel=self._job.prompt_mel,
            embedding=self._job.embedding,
            first_new_frame=self.grid.first_frame(self.done),
            final=final is not None,
            memory=self.memory,
        )

    def advance(self, hop: int) -> None:
        self.done = self.grid.end(self.done, hop)

    def hear(self, flow: Flow, hop: int, final: int | None = None) -> torch.Tensor:
        (mel,) = flow.run([self.next_job(hop, final)])
        self.advance(hop)
        return mel


def alone(flow: Flow, one: FlowJob) -> torch.Tensor:
    (mel,) = flow.run([dataclasses.replace(one, memory=None)])
    return mel


_wholes: dict[tuple[int, bytes], torch.Tensor] = {}


def expected_of(one: FlowJob, stateless: Flow) -> torch.Tensor:
    """What a job becomes without a memory: of a chunk of a `Stream`, the part of the whole."""
    if one.final or not isinstance(one, StreamJob):
        return alone(stateless, one)
    key = stateless.spec.version, one.whole.tobytes()
    if key not in _wholes:
        whole = dataclasses.replace(
            one, tokens=one.whole, first_new_frame=len(one.prompt_mel), final=True
        )
        _wholes[key] = alone(stateless, whole)
    begin, end = (n - len(one.prompt_mel) for n in (one.first_new_frame, stateless.frames(one)))
    return _wholes[key][:, begin:end]


def check(mels: Sequence[torch.Tensor], jobs: Sequence[FlowJob], stateless: Flow) -> None:
    for mel, one in zip(mels, jobs, strict=True):
        expected = expected_of(one, stateless)
        assert mel.shape == expected.shape
        assert torch.allclose(mel, expected, rtol=0, atol=_ALIKE)


def computed(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames of each batch of jobs that go on from pages, as they come."""
    assert flow._kept is not None
    found: list[int] = []
    pack = flow._kept._packer.pack

    def watched(jobs: Sequence[object]) -> object:
        batch = pack(jobs)
        found.append(batch.prompt.shape[1])
        return batch

    monkeypatch.setattr(flow._kept._packer, "pack", watched)
    return found


# --- One stream ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_prompt", "hops"),
    [
        (0, [25, 50, 25]),
        (1, [100]),
        (27, [25, 25]),
        (28, [50, 25]),
        (50, [25, 50, 25]),
        (75, [50]),
        (87, [25, 50]),
    ],
)
def test_what_is_heard_is_the_same(
    flow: Flow, stateless: Flow, n_prompt: int, hops: list[int]
) -> None:
    stream = Stream(flow, n_prompt)
    for hop in hops:
        one = stream.next_job(hop)
        check(flow.run([one]), [one], stateless)
        stream.advance(hop)
        assert stream.n_pages == (n_prompt + stream.done) // 25
    last = stream.next_job(25, final=9)
    check(flow.run([last]), [last], stateless)


@pytest.mark.parametrize(
    ("final", "begun"),
    # At least what has been looked ahead at, once there has been a chunk.
    [(1, False), (25, False), (61, False), (3, True), (25, True), (26, True), (50, True)],
)
def test_the_last_chunk_is_of_any_length(
    flow: Flow, stateless: Flow, final: int, begun: bool
) -> None:
    stream = Stream(flow, 30)
    if begun:
        stream.hear(flow, 25)
    last = stream.next_job(25, final=final)
    check(flow.run([last]), [last], stateless)


def test_only_what_is_new_is_computed(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = computed(flow, monkeypatch)
    stream = Stream(flow, 87)
    for hop in (25, 50, 25):
        stream.hear(flow, hop)
    stream.hear(flow, 25, final=5)
    exact = [250, 100, 50, 10]
    assert frames == (exact if not flow._kept._together else [300, 100, 50, 50])


def test_a_hop_off_the_grid(flow: Flow, stateless: Flow) -> None:
    """Its frames have not seen all that they see in the whole; nothing of them is kept."""
    stream = Stream(flow, 50)
    early = dataclasses.replace(stream.next_job(25), tokens=stream._tokens[: 50 + 13])
    (mel,) = flow.run([early])
    assert torch.allclose(mel, alone(stateless, early), rtol=0, atol=_ALIKE)
    assert stream.n_pages == 2
    one = dataclasses.replace(stream.next_job(25), first_new_frame=120)
    check(flow.run([one]), [one], stateless)
    assert stream.n_pages == 3


def test_a_chunk_that_is_asked_for_again(flow: Flow, stateless: Flow) -> None:
    """As when the vocoder fails after it."""
    stream = Stream(flow, 30)
    stream.hear(flow, 25)
    one = stream.next_job(25)
    for _ in range(2):
        check(flow.run([one]), [one], stateless)
    stream.advance(25)
    assert stream.n_pages == 4
    one = stream.next_job(50)
    check(flow.run([one]), [one], stateless)


def test_what_was_launched_is_kept_when_it_is_said_to_be_good(flow: Flow, stateless: Flow) -> None:
    stream = Stream(flow, 30)
    one = stream.next_job(25)
    for keep in (False, True):
        check(flow.launch([one]).new, [one], stateless)
        assert stream.n_pages == 0
        if keep:
            stream.memory.keep()
            stream.memory.keep()
    assert stream.n_pages == 3
    flow.launch([stream.next_job(25)])
    stream.memory.close()
    stream.memory.keep()
    assert stream.n_pages == 0


def test_where_everything_sees_everything_nothing_is_taken_from_pages(
    open_flow: Callable[..., Flow], directory: Path
) -> None:
    full = Flow.open(Checkpoint.open(directory), final_policy="upstream")
    keeping = open_flow(final_policy="upstream")
    stream = Stream(keeping, 30)
    stream.hear(keeping, 25)
    last = stream.next_job(25, final=9)
    check(keeping.run([last]), [last], full)


# --- Company ---------------------------------------------------------------------------------


def test_company_changes_nothing(flow: Flow, stateless: Flow) -> None:
    """Prompts, pasts and chunks of different lengths, and jobs without a memory."""
    streams = [Stream(flow, n, seed=n, voice=n) for n in (0, 27, 75, 87)]
    for streams_of_batch, hop in ((streams[:2], 25), (streams, 50), (streams[::-1], 25)):
        jobs = [stream.next_job(hop) for stream in streams_of_batch]
        jobs.insert(1, job(37, 60, done=13))
        check(flow.run(jobs), jobs, stateless)
        for stream in streams_of_batch:
            stream.advance(hop)
    jobs = [stream.next_job(25, final=3 * n + 3) for n, stream in enumerate(streams)]
    check(flow.run(jobs), jobs, stateless)
    check([flow.run([one])[0] for one in jobs], jobs, stateless)


def test_a_prompt_is_computed_once(
    flow: Flow, stateless: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stream(flow, 87).hear(flow, 25)
    frames = computed(flow, monkeypatch)
    others = [Stream(flow, 87, seed=seed) for seed in (1, 2)]
    for hop in (25, 50):
        jobs = [other.next_job(hop) for other in others]
        check(flow.run(jobs), jobs, stateless)
        for other in others:
            other.advance(hop)
    assert frames[0] <= 300 - 2 * 50  # floor((87 - 3) / 25) pages are there
    shared = {tuple(stream.memory.pages[:3]) for stream in others}
    assert len(shared) == 1
    assert not set(others[0].memory.pages[3:]) & set(others[1].memory.pages[3:])


def test_streams_that_begin_together_keep_their_prompt_once(flow: Flow, stateless: Flow) -> None:
    streams = [Stream(flow, 75, seed=seed) for seed in range(3)]
    jobs = [stream.next_job(25) for stream in streams]
    check(flow.run(jobs), jobs, stateless)
    assert flow.n_free_pages == _PAGES - 2 - 3 * 2
    for stream in streams:
        stream.advance(25)
    jobs = [stream.next_job(25) for stream in streams]
    check(flow.run(jobs), jobs, stateless)


def test_a_prompt_outlives_its_streams(flow: Flow, stateless: Flow) -> None:
    first = Stream(flow, 87)
    last = first.next_job(25, final=30)
    check(flow.run([last]), [last], stateless)
    first.memory.close()
    assert flow.n_free_pages == _PAGES - 3
    again = Stream(flow, 87, seed=5)
    assert again.n_pages == 3
    other = Stream(flow, 87, voice=1)  # another voice with as long a prompt
    assert other.n_pages == 0
    jobs = [again.next_job(25), other.next_job(25)]
    check(flow.run(jobs), jobs, stateless)


def test_another_speaker_is_another_voice(flow: Flow) -> None:
    Stream(flow, 87).hear(flow, 25)
    same = job(87, 0)
    tokens, mel, embedding = same.tokens, same.prompt_mel.numpy(), same.embedding.numpy()
    assert flow.remember(tokens, mel, embedding).pages
    for changed in (
        ((tokens + 1) % 6561, mel, embedding),
        (tokens, mel + 1, embedding),
        (tokens, mel, embedding + 1),
    ):
        assert not flow.remember(*changed).pages


# --- Too few pages ---------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("n_pages", [1, 5])
def test_few_pages(
    open_flow: Callable[..., Flow], stateless: Flow, n_pages: int, together: bool
) -> None:
    flow = open_flow(n_pages, together=together)
    streams = [Stream(flow, n, seed=n, voice=n) for n in (0, 60)]
    for hop in (25, 25, 50):
        jobs = [stream.next_job(hop) for stream in streams]
        check(flow.run(jobs), jobs, stateless)
        for stream in streams:
            stream.advance(hop)
        assert sum(stream.n_pages for stream in streams) <= n_pages
    forget_all(flow)
    assert flow.n_free_pages == n_pages


def test_a_prompt_that_nobody_uses_goes_first(open_flow: Callable[..., Flow]) -> None:
    flow = open_flow(8)
    for voice in (1, 2):
        stream = Stream(flow, 78, voice=voice)
        stream.hear(flow, 25, final=1)
        stream.memory.close()
    Stream(flow, 78, voice=1).memory.close()  # so that it is not the one used longest ago
    assert flow.n_free_pages == 2
    other = Stream(flow, 0)
    other.hear(flow, 100)
    assert Stream(flow, 78, voice=1).n_pages == 3
    assert Stream(flow, 78, voice=2).n_pages == 0
    assert flow.n_evicted == 0


def test_the_stream_that_is_needed_last_makes_room(
    open_flow: Callable[..., Flow], stateless: Flow
) -> None:
    flow = open_flow(7)
    streams = [Stream(flow, 0, seed=seed) for seed in range(3)]
    for stream, needed_at_s in zip(streams, (5.0, 3.0, 4.0), strict=True):
        stream.memory.needed_at_s = needed_at_s
        stream.hear(flow, 50)
    assert [stream.n_pages for stream in streams] == [2, 2, 2]
    streams[1].hear(flow, 50)
    assert [stream.n_pages for stream in streams] == [1, 4, 2]
    assert flow.n_evicted == 1
    jobs = [streams[0].next_job(25)]  # nobody is needed later than it
    check(flow.run(jobs), jobs, stateless)
    assert [stream.n_pages for stream in streams] == [1, 4, 2]
    streams[1].memory.close()
    jobs = [stream.next_job(25) for stream in (streams[0], streams[2])]
    check(flow.run(jobs), jobs, stateless)
    assert [stream.n_pages for stream in (streams[0], streams[2])] == [3, 3]


def test_pages_of_a_batch_are_not_taken_from_it(
    open_flow: Callable[..., Flow], stateless: Flow
) -> None:
    flow = open_flow(5)
    streams = [Stream(flow, 0, seed=seed) for seed in range(2)]
    for hop in (50, 25, 25):
        jobs = [stream.next_job(hop) for stream in streams]
        check(flow.run(jobs), jobs, stateless)
        for stream in streams:
            stream.advance(hop)
    assert [stream.n_pages for stream in streams] == [3, 2]


def test_without_room_nothing_is_kept(directory: Path) -> None:
    for options in ({}, {"memory_bytes": 1000}, {"memory_bytes": 1 << 30, "most_pages": 0}):
        flow = Flow.open(Checkpoint.open(directory), **options)
        assert flow.n_pages == 0
        one = job(20, 9)
        assert flow.remember(one.tokens, one.prompt_mel.numpy(), one.embedding.numpy()) is None


# --- Failures --------------------------------------------------------------------------------


def test_a_batch_that_failed_is_tried_again(
    flow: Flow, stateless: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [Stream(flow, 30, seed=seed) for seed in range(2)]
    flow.run([stream.next_job(25) for stream in streams])
    for stream in streams:
        stream.advance(25)
    kept = [stream.memory.pages.copy() for stream in streams]
    n_free = flow.n_free_pages
    with monkeypatch.context() as patch:

        def solve(*_: object) -> None:
            raise RuntimeError("no memory")

        patch.setattr(flow.solver, "solve", solve)
        with pytest.raises(RuntimeError, match="no memory"):
            flow.run([stream.next_job(25) for stream in streams])
    assert [stream.memory.pages for stream in streams] == kept
    assert flow.n_free_pages == n_free
    for stream in streams:
        one = stream.next_job(25)
        check(flow.run([one]), [one], stateless)


@pytest.mark.parametrize("together", [False, True])
def test_no_numbers_stay_with_who_made_them(open_flow: Callable[..., Flow], together: bool) -> None:
    flow = open_flow(estimator_dtype=torch.bfloat16, together=together)
    good, bad = (Stream(flow, 30, seed=seed, voice=seed) for seed in range(2))
    ill = bad.next_job(25)
    ill.embedding[3] = float("nan")
    with pytest.raises(NotFiniteError) as caught:
        flow.run([good.next_job(25), ill])
    assert caught.value.jobs == (1,)
    assert good.n_pages == bad.n_pages == 0
    bad.memory.close()
    poisoned = flow.n_free_pages
    assert poisoned >= _PAGES - 3
    for hop in (25, 50):
        (mel,) = flow.run([good.next_job(hop)])
        assert torch.isfinite(mel).all()
        good.advance(hop)


def test_a_memory_is_closed_once(flow: Flow, stateless: Flow) -> None:
    stream, other = Stream(flow, 60), Stream(flow, 60, seed=1)
    stream.hear(flow, 25)
    stream.memory.close()
    other.hear(flow, 25)
    n_free = flow.n_free_pages
    stream.memory.close()
    assert flow.n_free_pages == n_free
    one = stream.next_job(25)  # of a stream that has ended meanwhile
    check(flow.run([one]), [one], stateless)
    assert flow.n_free_pages == n_free


def test_a_stream_cannot_be_twice_in_a_batch(flow: Flow) -> None:
    stream = Stream(flow, 0)
    with pytest.raises(ValueError, match="two jobs"):
        flow.run([stream.next_job(25)] * 2)


# --- Precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True])
def test_bfloat16_is_near(open_flow: Callable[..., Flow], directory: Path, together: bool) -> None:
    flow = open_flow(estimator_dtype=torch.bfloat16, together=together)
    whole = Flow.open(Checkpoint.open(directory), estimator_dtype=torch.bfloat16)
    assert flow._kept._store.keys.dtype == torch.bfloat16
    stream = Stream(flow, 37)
    for hop in (25, 50):
        one = stream.next_job(hop)
        assert (flow.run([one])[0] - alone(whole, one)).abs().max() < 0.1
        stream.advance(hop)


# --- Everything at once ----------------------------------------------------------------------


def test_whatever_happens(
    open_flow: Callable[..., Flow], stateless: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams come, go on, fail and go, with too few pages; some of what they hear is looked at."""
    random = np.random.default_rng(4)
    flow = open_flow(9)
    streams: list[Stream] = []
    for number in range(24):
        for stream in [stream for stream in streams if stream.done >= 100]:
            stream.memory.close()
            streams.remove(stream)
        while len(streams) < 4:
            voice = int(random.integers(2))
            streams.append(Stream(flow, 28 * voice, seed=len(streams), voice=voice))
        batch = [streams[i] for i in random.permutation(4)[: random.integers(1, 4)]]
        jobs = [stream.next_job(25) for stream in batch]
        if number % 4 == 3:
            with monkeypatch.context() as patch:
                patch.setattr(flow.solver, "solve", None)
                with pytest.raises(TypeError):
                    flow.run(jobs)
            batch[0].memory.close()
            streams.remove(batch[0])
            continue
        check(flow.run(jobs)[:1], jobs[:1], stateless)
        for stream in batch:
            stream.advance(25)
            stream.memory.needed_at_s = number + random.random()
    assert flow.n_evicted
    forget_all(flow)
    assert flow.n_free_pages == 9


def test_no_page_is_lost(stateless: Flow) -> None:
    """2000 operations, nothing computed: every page is free or held, by streams or by a voice."""
    random = np.random.default_rng(4)
    pool = PagePool(13)
    memories = Memories(pool, stateless.spec)
    streams: list[FlowMemory] = []
    ended: list[FlowMemory] = []
    for number in range(2000):
        what = random.choice(["begin", "reserve", "reserve", "keep", "keep", "forget", "end"])
        stream = streams[random.integers(len(streams))] if streams else None
        if what == "begin" and len(streams) < 6:
            tokens = np.full(random.choice([0, 28, 60]), random.integers(3), np.int32)
            streams.append(memories.remember(tokens, np.zeros((0, 80)), np.zeros(192)))
        elif what == "reserve" and stream is not None:
            stream.needed_at_s = number + 100 * random.random()
            n_before = max(0, len(stream.pages) - int(random.integers(2)))
            new = memories.reserve(stream, n_before, int(random.integers(4)), [streams[0]])
            assert not set(new.pages) & {page for other in streams for page in other.pages}
        elif what in {"keep", "forget"} and stream is not None:
            (stream.keep if what == "keep" else stream.forget)()
        elif what == "end" and stream is not None and random.random() < 0.5:
            stream.close()
            streams.remove(stream)
            ended.append(stream)
        held = {page for other in streams for page in other.pages}
        held |= {page for other in streams if other.under_way for page in other.under_way.pages}
        held |= {page for pages in memories._prompts.values() for page in pages}
        assert pool.n_free == 13 - len(held)
        assert not any(other.pages or other.under_way for other in ended)
    assert memories.n_evicted > 20
    for stream in (*streams, *ended):
        stream.close()
    while memories._forget_prompt():
        pass
    assert pool.n_free == 13


def test_pages_follow_each_other() -> None:
    """So that they can be read where they are, also when streams go on in turns."""
    pool = PagePool(40)
    streams: list[list[int]] = [[], [], []]
    for _ in range(5):
        for stream in streams:
            stream.extend(pool.take(2, after=stream[-1] if stream else None))
    assert [len(runs(stream)) for stream in streams] == [1, 1, 1]
    assert len({page for stream in streams for page in stream}) == 30
    assert min(map(min, streams)) > WASTE
    assert len(pool.take(20)) == 10
    assert pool.n_free == 0
    assert runs([3, 4, 5, 9, 2, 3]) == [(3, 6), (9, 10), (2, 4)]
    assert runs([]) == []


def test_nothing_is_asked_of_the_device(directory: Path) -> None:
    """On `meta` there are no values: whatever reads one raises, as it would break a CUDA graph."""
    for dtype in (torch.float32, torch.bfloat16):
        flow = Flow.open(Checkpoint.open(directory), "meta", dtype, memory_bytes=1 << 30)
        stream = Stream(flow, 30)
        for hop in (25, 50):
            (mel,) = flow.launch([stream.next_job(hop)]).new
            assert mel.shape == (80, 2 * (stream.grid.end(stream.done, hop) - stream.done))
            stream.memory.keep()
            stream.advance(hop)
        assert stream.n_pages == 5
