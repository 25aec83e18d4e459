"""Chunks fly while tokens go on: what is begun, delivered, dropped, and lost with a device."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_lanes import CPU, CapturingLane, ManualLane
from lm_cases import prompt
from spoken import LONG, TEXT, VOICE, Watch, open_stream, opened, speak, tiny_checkpoint

from models.base import ModelError, Samples
from models.cosyvoice.guards import BadSegmentError
from models.native import capturing, stages
from models.native.device.graphs import ROW_SIZES
from models.native.device.lane import HostLane, Lane
from models.native.device.waiter import Waiter
from models.native.flow import flow
from models.native.flow.flow import Mels
from models.native.model import NativeModel
from models.native.scheduler.planning import plan
from models.native.scheduler.views import Costs
from models.native.scheduler.views import Session as View
from models.native.session import Session

WAIT_S = 60


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(3, tmp_path_factory.mktemp("flying") / "v3")


@pytest.fixture
def lane() -> ManualLane:
    """Of flow and vocoder."""
    return ManualLane()


@pytest.fixture
def model(
    directory: Path, lane: ManualLane, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NativeModel]:
    def open_lane(_: torch.device, *, urgent: bool = False) -> Lane:
        return HostLane(CPU) if urgent else lane

    monkeypatch.setattr(stages, "open_lane", open_lane)
    model = opened(directory, hops="growing")
    yield model
    lane.land()
    if hasattr(model, "_engine"):  # it has not been closed
        model.close()


class Speaking:
    """A text that is spoken in a thread of its own, from when a chunk of it is in the air."""

    def __init__(
        self,
        model: NativeModel,
        lane: ManualLane,
        text: str = LONG,
        seed: int = 1,
    ) -> None:
        self.chunks: list[Samples] = []
        self.error: Exception | None = None
        self.stream = open_stream(model, text, VOICE, seed)
        lane.hold()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert lane.flying.wait(WAIT_S)

    def _run(self) -> None:
        try:
            for chunk in self.stream:
                self.chunks.append(chunk.samples)
        except ModelError as error:
            self.error = error

    def end(self) -> Samples:
        """All of it."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        return np.concatenate(self.chunks) if self.chunks else np.empty(0, np.float32)


def ticks(model: NativeModel, monkeypatch: pytest.MonkeyPatch, n: int) -> threading.Event:
    """Set when the language model has gone on by so many steps."""
    happened = threading.Event()
    lm = model._engine._stages.lm
    original, count = lm.tick, [0]

    def tick(sessions: Any) -> Any:
        count[0] += 1
        if count[0] == n:
            happened.set()
        return original(sessions)

    monkeypatch.setattr(lm, "tick", tick)
    return happened


def asleep(
    model: NativeModel, lane: ManualLane, monkeypatch: pytest.MonkeyPatch
) -> threading.Event:
    """Set when the engine has nothing to do but to wait for what flies."""
    sleeps = threading.Event()
    turn = model._engine._turn

    def watched() -> float | None:
        timeout_s = turn()
        if timeout_s is None and lane.flying.is_set():
            sleeps.set()
        return timeout_s

    monkeypatch.setattr(model._engine, "_turn", watched)
    return sleeps


def test_tokens_go_on_while_a_chunk_flies(
    model: NativeModel, lane: ManualLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    unharmed = speak(model, LONG * 2)
    speaking = Speaking(model, lane, LONG * 2)
    assert ticks(model, monkeypatch, 40).wait(WAIT_S)
    assert not speaking.chunks
    lane.land()
    np.testing.assert_allclose(speaking.end(), unharmed, atol=1e-4)


def test_one_batch_flies_at_a_time(
    model: NativeModel, lane: ManualLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next chunk of a session and those of others wait; then what has come flies together."""
    loaded = model._engine._stages.flow
    original, sizes = loaded.launch, []

    def launch(jobs: Any) -> Mels:
        sizes.append(len(jobs))
        mels: Mels = original(jobs)
        return mels

    monkeypatch.setattr(loaded, "launch", launch)
    first = Speaking(model, lane, LONG * 2, seed=1)
    others = [Speaking(model, lane, LONG, seed=seed) for seed in (2, 3)]
    # Until the two others have tokens for their first chunks.
    assert ticks(model, monkeypatch, 50).wait(WAIT_S)
    assert sizes == [1]
    lane.land()
    assert all(len(speaking.end()) for speaking in (first, *others))
    assert sizes[1] >= 2


def test_the_engine_sleeps_while_all_it_has_flies_and_is_woken_by_the_landing(
    model: NativeModel, lane: ManualLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeps = asleep(model, lane, monkeypatch)
    # Both have all their tokens soon, and one of them a chunk that may not be begun.
    both = [Speaking(model, lane, TEXT * 2, seed=seed) for seed in (1, 2)]
    assert sleeps.wait(WAIT_S)
    lane.land()
    assert all(len(speaking.end()) for speaking in both)


def test_a_stream_that_is_closed_in_flight_is_dropped_when_it_lands(
    model: NativeModel, lane: ManualLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(model, monkeypatch)
    speaking = Speaking(model, lane, LONG)
    (session,) = model._engine._sessions.values()
    session.handle.cancel()
    assert not len(speaking.end())
    # It has gone, though the device still computes for it.
    other = threading.Thread(target=lambda: found.append(speak(model, TEXT, seed=5)))
    found: list[Samples] = []
    other.start()
    assert ticks(model, monkeypatch, 5).wait(WAIT_S)
    assert lane.flying.is_set()
    lane.land()
    other.join(WAIT_S)
    assert len(found[0])
    assert len(watch.steps_before_sound) == 1  # of the other one
    assert not model._engine._sessions
    assert not model._engine.n_taken_slots


def test_a_device_that_fails_in_flight_ends_the_worker(
    model: NativeModel, lane: ManualLane
) -> None:
    errors: list[BaseException] = []
    model._engine._on_broken = errors.append
    speaking = Speaking(model, lane, LONG)
    lane.land(torch.AcceleratorError("device-side assert"))
    assert not len(speaking.end())
    assert speaking.error is not None
    assert [str(error) for error in errors] == ["device-side assert"]
    with pytest.raises(ModelError, match="closed"):
        speak(model, TEXT)


def test_closing_waits_for_what_flies(model: NativeModel, lane: ManualLane) -> None:
    """Its memory may not be taken from under it."""
    speaking = Speaking(model, lane, LONG)
    closing = threading.Thread(target=model.close)
    closing.start()
    speaking.end()  # nobody who listens waits for the device
    assert isinstance(speaking.error, ModelError)
    assert closing.is_alive()
    lane.land()
    closing.join(WAIT_S)
    assert not closing.is_alive()


def test_whose_flow_left_the_numbers_is_found_when_it_lands(
    model: NativeModel, lane: ManualLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails alone; those beside it are delivered, and nothing is computed twice."""
    unharmed = speak(model, LONG, seed=1)
    loaded = model._engine._stages.flow
    original = loaded.launch

    def launch(jobs: Any) -> Mels:
        mels: Mels = original(jobs)
        bad = [len(job.prompt_mel) > 0 for job in jobs]  # only the clones' have one
        return Mels(mels.new, ~torch.tensor(bad))

    monkeypatch.setattr(loaded, "launch", launch)
    speaking = Speaking(model, lane, LONG, seed=1)
    failure: list[ModelError] = []

    def fail() -> None:
        with pytest.raises(ModelError) as caught:
            speak(model, LONG, "guilty", seed=2)
        failure.append(caught.value)

    other = threading.Thread(target=fail)
    other.start()
    lane.land()
    np.testing.assert_allclose(speaking.end(), unharmed, atol=1e-4)
    other.join(WAIT_S)
    assert failure[0].code == "failed"
    assert "nan" in failure[0].message
    assert model.take_incidents() == {"nan": 2, "retry": 1}


def test_the_slot_of_whoever_fails_in_flight_goes_to_the_next(
    model: NativeModel, lane: ManualLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing else happens then."""
    lm = model._engine._stages.lm
    while lm.n_free_slots > 1:
        lm.open(prompt(3), seed=0)
    sounded = Session.sounded

    def fail_once_heard(session: Session, *rest: Any) -> None:
        if session._n_hops and session.id == 1:
            raise BadSegmentError("nan")
        sounded(session, *rest)

    monkeypatch.setattr(Session, "sounded", fail_once_heard)
    # So long a text that its tokens stand still before it ends.
    first = Speaking(model, lane, LONG * 20, seed=1)
    second = Speaking(model, lane, TEXT, seed=2)
    lane.land(hold=True)
    assert lane.flying.wait(WAIT_S)  # the second chunk of the first
    assert asleep(model, lane, monkeypatch).wait(WAIT_S)
    lane.land()
    assert len(first.end())
    assert first.error is not None
    assert len(second.end())


# --- The plan ----------------------------------------------------------------------------------

COSTS = Costs(step_s=0.001, step_row_s=0.0, batch_s=0.01, token_s=0.001)


def seen(number: int, **more: Any) -> View:
    fields: dict[str, Any] = {
        "tenant": "",
        "deadline_s": 10.0,
        "begun": True,
        "n_ready": 103,
        "decodable": True,
        "ended": False,
        "credit_s": 1e6,
    }
    return View(id=number, **{**fields, **more})


def test_who_flies_gets_tokens_and_no_next_chunk() -> None:
    found = plan(8.0, [seen(1, flying=True), seen(2)], COSTS)
    assert [chunk.session for chunk in found.chunks] == [2]
    assert set(found.step) == {1, 2}
    assert plan(8.0, [seen(1, flying=True)], COSTS).wake_s is None  # its landing wakes


def test_nobody_waits_for_a_first_chunk_that_flies() -> None:
    newcomer = {"begun": False, "deadline_s": 8.2, "n_ready": 28}
    easy = seen(2, deadline_s=10.9)
    awaited = plan(8.0, [seen(1, **{**newcomer, "n_ready": 20}), easy], COSTS)
    assert not awaited.chunks
    flying = plan(8.0, [seen(1, flying=True, **newcomer), easy], COSTS)
    assert [chunk.session for chunk in flying.chunks] == [2]


# --- The waiter --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, torch.AcceleratorError("gone")], ids=["done", "failed"])
def test_the_waiter_wakes_at_the_end_whatever_it_is(error: Exception | None) -> None:
    lane, woken = ManualLane(), threading.Event()
    waiter = Waiter(woken.set)
    lane.hold()
    waiter.watch(lane.mark())
    assert not woken.is_set()
    lane.land(error)
    assert woken.wait(WAIT_S)
    waiter.close()


# --- What is captured --------------------------------------------------------------------------


@pytest.fixture
def captured(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NativeModel]:
    monkeypatch.setattr(stages, "open_lane", lambda *_, **__: CapturingLane())
    for module in (capturing, flow):
        monkeypatch.setattr(module, "FRAME_TIERS", (100, 300))
    monkeypatch.setattr(capturing, "MOST_FRAMES", 600)
    monkeypatch.setattr(capturing, "_FIRST_ROWS", 1)
    monkeypatch.setattr(capturing, "HOPS_TOKENS", (25,))
    model = opened(directory, slots=1, max_length=256, flow_memory_gib=0)  # as on CUDA
    yield model
    model.close()


def test_what_is_common_is_captured_at_warm_up(captured: NativeModel) -> None:
    lm, graphs = captured._engine._stages.lm.graphs, captured._engine._stages.graphs
    found = captured._engine.prepare()
    assert (found.n_graphs, found.n_left_out) == (lm.n_captured + graphs.n_captured, 0)
    assert f"{found.n_graphs} CUDA graphs captured in" in str(found)
    units = [unit for unit, *_ in graphs._held]
    most = graphs.padded_rows(captured._engine._stages.lm.n_free_slots)
    sizes = [size for size in ROW_SIZES if size <= most]
    assert units.count("flow") == 5 + 2  # 1, 2, 3, 4 and 6 rows of 100 frames, 1 and 2 of 300
    assert units.count("vocoder") == len(sizes) * 2 + 24  # first chunks of 24 lengths more
    assert not graphs.n_eager
    speak(captured, TEXT)
    assert not lm.n_eager
    assert not captured.take_incidents()
    graphs._held = {place: held for place, held in graphs._held.items() if place[0] != "flow"}
    speak(captured, TEXT)
    assert captured.take_incidents()["no_graph"] > 0
    assert not captured.take_incidents()


def test_nothing_is_captured_on_a_cpu(directory: Path) -> None:
    model = opened(directory)
    engine = model._engine
    assert engine.prepare().n_graphs == 0
    model.close()
    with pytest.raises(ModelError, match="closed"):
        engine.prepare()
