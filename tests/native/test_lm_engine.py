"""Sessions that share batches, slots and time say what each says alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_cases import is_last, prompt, run, scrambled, text

from models.cosyvoice.checkpoint import Checkpoint
from models.native.lm.engine import LmEngine
from models.native.lm.errors import LmRefusalError, PromptTooLongError, SlotsExhaustedError
from models.native.lm.events import Ended, LmEvent, NotFinite, TokenDrawn, TooLong, WantsText
from models.native.lm.model import LmModel, load_lm
from models.native.lm.sampling import RasSampler
from models.native.lm.sequence import LmLimits, SequenceState, TextLayout
from models.native.lm.session import LmSession
from models.native.lm.shapes import BatchShapes, at_least, at_most
from models.native.lm.step import Column, LmStep

MAX_LENGTH = 320
SHORT = LmLimits(longest=6)


@pytest.fixture(scope="module")
def model(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> LmModel:
    directory = scrambled(checkpoint, tmp_path_factory.mktemp("lm") / "scrambled")
    return load_lm(Checkpoint.open(directory))


@pytest.fixture(scope="module")
def counting_model(checkpoint: Path) -> LmModel:
    """Ends by itself when it has said enough for its text; see `models.random_checkpoint`."""
    return load_lm(Checkpoint.open(checkpoint))


@pytest.fixture
def engine(model: LmModel) -> LmEngine:
    return LmEngine(model, n_slots=8, max_length=MAX_LENGTH)


class Speech(NamedTuple):
    """What a session is opened with."""

    seed: int
    n_text: int
    layout: TextLayout = "whole"
    n_prompt_text: int = 0
    n_prompt_speech: int = 0


def opened(engine: LmEngine, speech: Speech) -> LmSession:
    return engine.open(
        prompt(engine._model.spec.version, speech.n_prompt_text, speech.n_prompt_speech),
        seed=speech.seed,
        limits=SHORT,
        layout=speech.layout,
    )


def told(engine: LmEngine, speech: Speech) -> LmSession:
    """With its whole text."""
    session = opened(engine, speech)
    session.append_text(text(speech.n_text, speech.seed))
    session.end_text()
    return session


@cache
def alone(model: LmModel, speech: Speech) -> list[int]:
    """The tokens of a session that has the engine for itself."""
    engine = LmEngine(model, n_slots=1, max_length=MAX_LENGTH)
    return run(engine, told(engine, speech))[0]


SPEECHES = [
    Speech(1, 5),
    Speech(2, 9, "whole", 7, 30),
    Speech(3, 12, "streamed"),
    Speech(4, 30, "streamed", 14, 87),
    Speech(5, 6, "auto", 14, 40),
    Speech(6, 1),
    Speech(7, 150, "whole", 60, 90),
    Speech(8, 17, "streamed", 25, 75),
]


def test_eight_sessions_say_what_each_says_alone(model: LmModel, engine: LmEngine) -> None:
    found = run(engine, *(told(engine, speech) for speech in SPEECHES))
    for speech, tokens in zip(SPEECHES, found, strict=True):
        assert tokens == alone(model, speech)
    assert len({tuple(tokens) for tokens in found}) == 8
    assert engine.n_free_slots == 8


def test_a_seed_repeats_the_tokens_and_another_does_not(engine: LmEngine) -> None:
    one, same, other = (run(engine, engine_session(engine, seed)) for seed in (1, 1, 2))
    assert one == same != other


def engine_session(engine: LmEngine, seed: int) -> LmSession:
    session = engine.open(prompt(engine._model.spec.version), seed=seed, limits=SHORT)
    session.append_text(text(6))
    session.end_text()
    return session


class Bustle:
    """Sessions that come, get their text, are computed and are closed in any order."""

    def __init__(self, model: LmModel, waiting: list[Speech], seed: int) -> None:
        self.engine = LmEngine(model, n_slots=3, max_length=MAX_LENGTH)
        self.speeches: dict[LmSession, Speech] = {}
        self.spoken: dict[LmSession, list[int]] = {}
        self.cancelled: set[LmSession] = set()
        self._waiting = waiting
        self._untold: dict[LmSession, list[int]] = {}
        self._random = np.random.default_rng(seed)

    def run(self) -> None:
        while self._waiting or self.engine.n_free_slots < 3:
            if self._waiting and self.engine.n_free_slots and self._random.random() < 0.3:
                self._open(self._waiting.pop())
            self._tell()
            self._tick()
            self._cancel()

    def _open(self, speech: Speech) -> None:
        session = opened(self.engine, speech)
        self.speeches[session], self.spoken[session] = speech, []
        self._untold[session] = text(speech.n_text, speech.seed)

    def _tell(self) -> None:
        for session, rest in self._untold.items():
            if session.is_open and rest and self._random.random() < 0.5:
                n_tokens = self._random.integers(1, 8)
                session.append_text(rest[:n_tokens])
                del rest[:n_tokens]
            if not rest:
                session.end_text()

    def _tick(self) -> None:
        ready = self.engine.ready()
        self._random.shuffle(ready)
        for event in self.engine.tick(ready[: self._random.integers(0, 4)]):
            if isinstance(event, TokenDrawn):
                self.spoken[event.session].append(event.token)

    def _cancel(self) -> None:
        for session in self.speeches:
            if session.is_open and self._random.random() < 0.01:
                session.close()
                self.cancelled.add(session)


@settings(max_examples=10, deadline=None)
@given(order=st.permutations([*SPEECHES[:4], *SPEECHES[5:7]]), seed=st.integers(0, 2**32))
def test_arrivals_cancels_and_reused_slots(order: list[Speech], seed: int, model: LmModel) -> None:
    bustle = Bustle(model, order, seed)
    bustle.run()
    for session, speech in bustle.speeches.items():
        spoken, expected = bustle.spoken[session], alone(model, speech)
        assert spoken == expected[: len(spoken)]
        assert session in bustle.cancelled or len(spoken) == len(expected)


def test_coarse_shapes_change_nothing(model: LmModel, engine: LmEngine) -> None:
    coarse = LmEngine(
        model, n_slots=8, max_length=MAX_LENGTH, shapes=BatchShapes.coarse(MAX_LENGTH)
    )
    found = run(coarse, *(told(coarse, speech) for speech in SPEECHES))
    assert found == run(engine, *(told(engine, speech) for speech in SPEECHES))


def test_shapes() -> None:
    coarse = BatchShapes.coarse(1000)
    assert list(coarse.rows) == [1, 2, 4, 8, 16, 32, 64, 96, 128]
    assert list(coarse.keys) == [256, 512, 1000]
    assert list(BatchShapes.coarse(100).keys) == [100]
    assert list(BatchShapes.fine(130).keys) == [64, 128, 130]
    assert [at_least(coarse.rows, n) for n in (1, 3, 64, 65, 500)] == [1, 4, 64, 96, 128]
    assert [at_most(coarse.rows, n) for n in (0, 1, 3, 64, 500)] == [0, 1, 2, 64, 128]


class Calls:
    """The shapes (rows, inputs, keys) that an engine computes in."""

    def __init__(self, engine: LmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shapes: list[tuple[int, int, int]] = []
        n_columns, original = engine._rows.shape[1], LmStep.__call__

        def call(step: LmStep, batch: torch.Tensor, n_keys: int) -> torch.Tensor:
            self.shapes.append((batch.shape[0], batch.shape[1] - n_columns, n_keys))
            return original(step, batch, n_keys)

        monkeypatch.setattr(LmStep, "__call__", call)


def test_long_prompts_are_read_in_pieces_beside_decoding(
    model: LmModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LmEngine(model, n_slots=4, max_length=1200, shapes=BatchShapes.coarse(1200))
    decoding = told(engine, SPEECHES[0])
    assert engine.tick([decoding])
    long = [told(engine, Speech(seed, 300, "whole", 100, 100)) for seed in (20, 21)]
    calls = Calls(engine, monkeypatch)
    drawn = [[event.session for event in engine.tick(engine.ready())] for _ in range(5)]
    # 502 inputs, and version 3's instruction: one piece in each tick, and a step beside it.
    assert calls.shapes[:4] == [(1, 1, 256), (1, 256, 256), (1, 1, 256), (1, 256, 512)]
    assert [decoding in sessions for sessions in drawn] == [True] * 5
    assert [long[0] in sessions for sessions in drawn] == [False, True, True, True, True]
    assert [long[1] in sessions for sessions in drawn] == [False, False, False, True, True]


def test_turns_of_text_are_read_together(model: LmModel, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LmEngine(
        model, n_slots=8, max_length=MAX_LENGTH, shapes=BatchShapes.coarse(MAX_LENGTH)
    )
    sessions = [opened(engine, Speech(seed, 0, "streamed")) for seed in range(6)]
    for session in sessions:
        session.append_text(text(5))
    run(engine, *sessions)
    assert all(session.state is SequenceState.FILL_WAIT for session in sessions)
    for session in sessions:
        session.append_text(text(5))
    calls = Calls(engine, monkeypatch)
    engine.tick(sessions)
    assert calls.shapes == [(8, 8, 256)]


def test_turns_of_text_that_come_first_leave_room_for_a_prompt(
    model: LmModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = BatchShapes.coarse(MAX_LENGTH)
    engine = LmEngine(model, n_slots=8, max_length=MAX_LENGTH, shapes=shapes)
    short = [told(engine, Speech(seed, 3)) for seed in range(3)]
    long = told(engine, Speech(9, 280))
    calls = Calls(engine, monkeypatch)
    engine.tick([*short, long])
    n_short = 8 if model.spec.version == 2 else 16
    assert calls.shapes == [(4, n_short, 256), (1, 128, 256)]
    assert long.n_positions == 128


def test_the_first_given_are_read_first(model: LmModel) -> None:
    engine = LmEngine(model, n_slots=4, max_length=MAX_LENGTH)
    sessions = [told(engine, Speech(seed, 200)) for seed in range(4)]
    order = [sessions[number] for number in (2, 0, 3, 1)]
    drawn = [event.session for _ in range(4) for event in engine.tick(order) if event]
    assert list(dict.fromkeys(drawn)) == order


def test_more_rows_than_a_batch_has(model: LmModel) -> None:
    shapes = BatchShapes(rows=(1, 2), inputs=(1, 16), keys=(MAX_LENGTH,))
    engine = LmEngine(model, n_slots=5, max_length=MAX_LENGTH, shapes=shapes)
    speeches = [Speech(seed, 3) for seed in range(5)]
    found = run(engine, *(told(engine, speech) for speech in speeches))
    assert found == [alone(model, speech) for speech in speeches]


def events_until_last(engine: LmEngine, session: LmSession) -> list[LmEvent]:
    events: list[LmEvent] = []
    while not (events and is_last(events[-1])):
        assert session.is_ready
        events += engine.tick([session])
    return events


def test_speech_ends_when_the_model_says_so(counting_model: LmModel) -> None:
    engine = LmEngine(counting_model, n_slots=2, max_length=MAX_LENGTH)
    version = counting_model.spec.version
    session = engine.open(prompt(version), seed=1)
    session.append_text(text(6))
    session.end_text()
    *drawn, last = events_until_last(engine, session)
    assert last == Ended(session)
    assert len(drawn) == {2: 12, 3: 40}[version]
    assert not session.is_open
    assert engine.n_free_slots == 2


def test_speech_that_misses_its_end_is_told(engine: LmEngine) -> None:
    session = told(engine, Speech(1, 4))
    *drawn, last = events_until_last(engine, session)
    assert last == TooLong(session)
    assert len(drawn) == 24
    assert engine.n_free_slots == 8


@pytest.mark.parametrize("layout", ["whole", "streamed"])
def test_a_slot_that_is_full(model: LmModel, layout: TextLayout) -> None:
    engine = LmEngine(model, n_slots=1, max_length=40)
    session = engine.open(prompt(model.spec.version), seed=1, layout=layout)
    session.append_text(text(20))
    session.end_text()
    *drawn, last = events_until_last(engine, session)
    assert last == TooLong(session)
    assert len(drawn) > 10
    assert 35 <= session.n_positions <= 40


def test_text_is_asked_for(engine: LmEngine) -> None:
    session = opened(engine, Speech(1, 0, "streamed"))
    assert not engine.ready()
    session.append_text(text(5))
    assert engine.ready() == [session]
    events = []
    while session.is_ready:
        events += engine.tick([session])
    assert events[-1] == WantsText(session)
    assert all(isinstance(event, TokenDrawn) for event in events[:-1])
    assert 0 < len(events) <= 16
    assert session.state is SequenceState.FILL_WAIT
    assert engine.tick([session]) == []
    session.append_text(text(4))
    assert not session.is_ready
    session.append_text(text(1))
    assert session.is_ready


def test_a_text_that_goes_on_asks_for_none(engine: LmEngine) -> None:
    session = opened(engine, Speech(1, 0, "streamed"))
    session.append_text(text(12))
    events = []
    while session.is_ready:
        events += engine.tick([session])
    assert sum(isinstance(event, WantsText) for event in events) == 1


def test_no_text_ends_without_computing(engine: LmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(engine, Speech(1, 0))
    session.end_text()
    calls = Calls(engine, monkeypatch)
    assert engine.tick(engine.ready()) == [Ended(session)]
    assert not calls.shapes


def test_a_full_table_refuses_and_a_close_makes_room(engine: LmEngine) -> None:
    sessions = [told(engine, Speech(seed, 5)) for seed in range(8)]
    engine.tick(sessions)
    with pytest.raises(SlotsExhaustedError):
        told(engine, Speech(9, 5))
    sessions[3].close()
    sessions[3].close()
    assert engine.n_free_slots == 1
    late = told(engine, Speech(9, 5))
    assert late.slot == sessions[3].slot
    assert not sessions[3].is_ready
    assert engine.tick([sessions[3]]) == []
    with pytest.raises(ValueError, match="closed"):
        sessions[3].append_text([1])
    assert run(engine, late)[0] == alone(engine._model, Speech(9, 5))


def test_a_prompt_that_does_not_fit_takes_no_slot(engine: LmEngine, version: int) -> None:
    with pytest.raises(PromptTooLongError):
        engine.open(prompt(version, 100, 300), seed=1)
    with pytest.raises(ValueError, match="does not know"):
        engine.open(prompt(version), seed=1).append_text([10**6])
    assert engine.n_free_slots == 7
    assert issubclass(PromptTooLongError, LmRefusalError)


def test_what_is_no_number_ends_its_session_only(
    model: LmModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves nothing in the slot that would spoil the next one's."""
    engine = LmEngine(model, n_slots=2, max_length=MAX_LENGTH)
    good, bad = told(engine, Speech(1, 5)), told(engine, Speech(2, 40))
    tokens = [event.token for event in engine.tick([good])]
    embed = LmModel.embed

    def spoiled(self: LmModel, ids: torch.Tensor) -> torch.Tensor:
        embeddings = embed(self, ids)
        return torch.where(ids.unsqueeze(-1) == text(40, 2)[33], torch.nan, embeddings)

    with monkeypatch.context() as patch:
        patch.setattr(LmModel, "embed", spoiled)
        events = engine.tick([good, bad])
    tokens += [event.token for event in events if isinstance(event, TokenDrawn)]
    assert NotFinite(bad) in events
    assert engine.n_free_slots == 1
    after = told(engine, Speech(3, 5))
    assert after.slot == bad.slot
    rest, others = run(engine, good, after)
    assert tokens + rest == alone(model, Speech(1, 5))
    assert others == alone(model, Speech(3, 5))


def test_a_call_that_fails_can_be_made_again(
    model: LmModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LmEngine(model, n_slots=8, max_length=MAX_LENGTH)
    sessions = [told(engine, speech) for speech in SPEECHES]
    random, draw = np.random.default_rng(0), RasSampler.draw

    def failing(self: RasSampler, logits: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        if random.random() < 0.2:
            raise MemoryError
        return draw(self, logits, **more)

    spoken: dict[LmSession, list[int]] = {session: [] for session in sessions}
    n_failed = 0
    with monkeypatch.context() as patch:
        patch.setattr(RasSampler, "draw", failing)
        while engine.ready():
            try:
                events = engine.tick(engine.ready())
            except MemoryError:
                n_failed += 1
                continue
            for event in events:
                if isinstance(event, TokenDrawn):
                    spoken[event.session].append(event.token)
    assert n_failed > 10
    assert list(spoken.values()) == [alone(model, speech) for speech in SPEECHES]


def test_a_step_can_be_captured(model: LmModel) -> None:
    """No value of a tensor steers what is computed: tensors without values pass through it."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    engine = LmEngine(model, n_slots=4, max_length=MAX_LENGTH)
    n_columns = engine._rows.shape[1]
    assert n_columns == len(Column) + 10
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        for n_inputs in (1, 8):
            batch = torch.zeros((4, n_columns + n_inputs), dtype=torch.long)
            assert engine._step(batch, 64).shape == (4,)
