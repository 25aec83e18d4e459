"""How many streams the engine takes, whose turn it is among tenants, and slow clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from spoken import LONG, LOOKAHEAD, TEXT, VOICE, Watch, open_stream, opened, speak
from spoken import tiny_checkpoint as make_tiny

from models.base import SynthesisRequest
from models.cosyvoice import rehearsal
from models.native import engine
from models.native.costs import MeasuredCosts
from models.native.model import NativeModel
from models.native.scheduler.planning import plan
from models.native.scheduler.views import GRID_TOKENS, HOPS_TOKENS, TOKEN_S, Plan, Policy
from models.native.scheduler.views import Session as View
from models.native.session import Session

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def directory(version: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(version, tmp_path_factory.mktemp("admitted") / f"v{version}")


@pytest.fixture
def open_model(directory: Path) -> Iterator[Callable[..., NativeModel]]:
    models = []

    def opened_model(**options: Any) -> NativeModel:
        models.append(opened(directory, **options))
        return models[-1]

    yield opened_model
    for model in models:
        model.close()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what no event announces."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.005)


def pretend(model: NativeModel, factor: float) -> None:
    """Have the engine know nothing but a device so many times slower than it is assumed to be."""
    costs = MeasuredCosts()
    known = costs.costs
    costs.step_took(1, factor * known.step(1))
    batch_s = known.batch_s + 25 * known.token_s + 200 * known.before_token_s
    costs.batch_took(25, 200, factor * batch_s, n_rows=1)
    model._engine._costs = costs


# --- How many --------------------------------------------------------------------------------


def test_on_a_cpu_all_slots_are_taken_unless_real_time_is_asked_for(
    open_model: Callable[..., NativeModel],
) -> None:
    model = open_model()
    pretend(model, 100.0)
    assert model.capacity() == model.capabilities.slots == 8
    assert open_model(admission="slots", slots=3).capacity() == 3


def test_in_real_time_as_many_as_the_device_computes_and_one_at_least(
    open_model: Callable[..., NativeModel],
) -> None:
    model = open_model(admission="real_time")
    found = []
    for factor in (100.0, 0.5, 0.01):
        pretend(model, factor)
        found.append(model.capacity())
    assert found[0] == 1
    assert 1 < found[1] < 8
    assert found[2] == 8


def test_costs_of_many_at_once_are_measured_before_the_first_request(
    open_model: Callable[..., NativeModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "CROWD_LIMIT_S", 0.0)
    model = open_model(admission="real_time", slots=3)
    watch = Watch(model, monkeypatch)
    model.warm_up()
    assert max(map(len, watch.ticks)) == 3
    eventually(lambda: not model._engine.n_sessions)


def test_an_option_that_does_not_exist(directory: Path) -> None:
    with pytest.raises(ValueError, match="admission"):
        NativeModel(directory=str(directory), admission="all")  # type: ignore[arg-type]


# --- Tenants ---------------------------------------------------------------------------------


def test_the_scheduler_learns_whose_streams_they_are(
    open_model: Callable[..., NativeModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants: set[str] = set()

    def look(now_s: float, views: Sequence[View], *more: Any) -> Plan:
        tenants.update(view.tenant for view in views)
        return plan(now_s, views, *more)

    monkeypatch.setattr(engine, "plan", look)
    model = open_model()
    for tenant, text in (("", TEXT), ("anna", TEXT), ("ben", iter([TEXT]))):
        assert list(model.synthesize(SynthesisRequest(voice=VOICE, seed=1, tenant=tenant), text))
    assert tenants == {"", "anna", "ben"}


# --- Slow clients ----------------------------------------------------------------------------


def has_stopped(session: Session) -> bool:
    """It makes no more tokens for now."""
    view = session.view(0.0, Policy())
    return session.pause.tokens or view.ended


def test_eight_slow_clients_do_not_delay_the_ninth(
    open_model: Callable[..., NativeModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ahead_s = 0.5
    model = open_model(slots=4, run_ahead_s=run_ahead_s)
    watch = Watch(model, monkeypatch)
    slow = [open_stream(model, LONG, seed=seed) for seed in range(8)]
    first = [threading.Thread(target=next, args=(stream,)) for stream in slow]
    for thread in first:
        thread.start()
    for thread in first:
        thread.join()
    sessions = list(model._engine._sessions.values())
    assert len(sessions) == 8
    eventually(lambda: all(one.pause.audio and has_stopped(one) for one in sessions))
    longest = run_ahead_s + HOPS_TOKENS[0] * TOKEN_S
    for session in sessions:
        assert run_ahead_s <= session.handle.queued_samples / model.sample_rate_hz <= longest
        assert session.view(0.0, model._engine._policy).n_ready * TOKEN_S <= 2 * (run_ahead_s + 2)
    n_ticks, slow_seeds = len(watch.ticks), set(watch.tokens)
    assert speak(model, LONG, seed=99).size
    ticks = watch.ticks[n_ticks:]
    assert all(len(tick) == 1 and tick[0] not in slow_seeds for tick in ticks)
    assert watch.steps_before_sound[-1] == GRID_TOKENS + LOOKAHEAD
    assert next(slow[0]).samples.size  # and goes on when it is taken
    for stream in slow:
        stream.close()
