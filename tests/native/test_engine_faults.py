"""What goes wrong in a batch ends who is guilty of it, and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spoken import LONG, TEXT, VOICE, open_stream, opened, speak, speak_together, tiny_checkpoint

from models.base import ModelError, Samples
from models.cosyvoice.guards import BadSegmentError
from models.native.engine import Engine
from models.native.flow.errors import FlowJobError
from models.native.flow.flow import Mels
from models.native.handle import SessionHandle
from models.native.inbox import Begin, Inbox, VoicePrompt
from models.native.lm.sequence import LmPrompt
from models.native.model import NativeModel
from models.native.session import Session

REQUESTS = [(LONG, VOICE, 1), (TEXT * 2, "guilty", 2), (TEXT, "clone", 3), (TEXT, "中文男", 4)]
GUILTY = 1


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(3, tmp_path_factory.mktemp("faulty") / "v3")


@pytest.fixture(scope="module")
def loaded(directory: Path) -> Iterator[NativeModel]:
    model = opened(directory)
    yield model
    model.close()


@pytest.fixture
def model(loaded: NativeModel) -> Iterator[NativeModel]:
    yield loaded
    loaded.take_incidents()


@pytest.fixture(scope="module")
def unharmed(loaded: NativeModel) -> list[Samples]:
    return [speak(loaded, *request) for request in REQUESTS]


class Parts:
    """Knows the guilty one in each stage of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.stages = engine._stages

    def _guilty(self) -> list[Session]:
        sessions = self.engine._sessions.values()
        return [s for s in sessions if s.begin.prompt.embedding[0] == self.mark]

    mark: np.float32

    def lm(self, rows: Any) -> list[int]:
        guilty = [session.lm for session in self._guilty()]
        return [index for index, row in enumerate(rows) if row in guilty]

    def flow(self, jobs: Any) -> list[int]:
        return [index for index, job in enumerate(jobs) if float(job.embedding[0]) == self.mark]

    def vocoder(self, jobs: Any) -> list[int]:
        guilty = [session.vocoder for session in self._guilty()]
        return [index for index, job in enumerate(jobs) if any(job.state is g for g in guilty)]


@pytest.fixture
def parts(model: NativeModel) -> Parts:
    found = Parts(model._engine)
    features = model._voices.get("guilty")
    assert features is not None
    found.mark = features.embedding[0]
    return found


METHODS = {"lm": "tick", "flow": "launch", "vocoder": "run"}


def fail(
    monkeypatch: pytest.MonkeyPatch,
    parts: Parts,
    stage: str,
    error: Callable[[list[int]], Exception],
) -> list[int]:
    """Make a stage fail whenever the guilty one is in its batch; returns the batches' sizes."""
    sizes = []
    target, name = getattr(parts.stages, stage), METHODS[stage]
    original = getattr(target, name)

    def run(rows: Any) -> Any:
        rows = list(rows)
        guilty = getattr(parts, stage)(rows)
        if guilty:
            sizes.append(len(rows))
            raise error(guilty)
        return original(rows)

    monkeypatch.setattr(target, name, run)
    return sizes


def assert_only_guilty_fails(found: list[Any], unharmed: list[Samples], match: str) -> None:
    error = found[GUILTY]
    assert isinstance(error, ModelError)
    assert error.code == "failed"
    assert match in error.message
    for index, samples in enumerate(found):
        if index != GUILTY:
            np.testing.assert_allclose(samples, unharmed[index], atol=1e-4)


@pytest.mark.parametrize("stage", METHODS)
def test_an_exception_is_the_guilty_ones_only(
    model: NativeModel,
    unharmed: list[Samples],
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    sizes = fail(monkeypatch, parts, stage, lambda _: ZeroDivisionError("a stage went wrong"))
    found = speak_together(model, REQUESTS)
    assert_only_guilty_fails(found, unharmed, "the model failed")
    assert sizes[-1] == 1
    assert not model._engine._sessions


def test_whom_the_flow_names_is_not_searched_for(
    model: NativeModel, unharmed: list[Samples], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = fail(monkeypatch, parts, "flow", lambda jobs: FlowJobError("cannot be made", jobs))
    found = speak_together(model, REQUESTS)
    assert_only_guilty_fails(found, unharmed, "cannot be made")
    assert len(sizes) == 1


def test_no_numbers_in_one_session(
    model: NativeModel, unharmed: list[Samples], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = parts.stages.flow
    original = flow.launch

    def launch(jobs: Any) -> Mels:
        mels = original(jobs)
        for index in parts.flow(jobs):
            mels.new[index] = mels.new[index] * np.nan
        return mels

    monkeypatch.setattr(flow, "launch", launch)
    found = speak_together(model, REQUESTS)
    assert_only_guilty_fails(found, unharmed, "nan")
    assert model.take_incidents() == {"nan": 2, "retry": 1}


# --- Speech that goes wrong ------------------------------------------------------------------


def goes_wrong(
    monkeypatch: pytest.MonkeyPatch, at: int, times: int, reason: Any = "repeated_token"
) -> None:
    """The token guard of so many sessions raises at their n-th token."""
    left = [times]
    original = Session.take

    def take(session: Session, token: int, now_s: float) -> None:
        if left[0] and len(session._tokens) == at:
            left[0] -= 1
            raise BadSegmentError(reason)
        original(session, token, now_s)

    monkeypatch.setattr(Session, "take", take)


def test_it_is_tried_again(model: NativeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    first = speak(model, LONG)
    goes_wrong(monkeypatch, at=5, times=1)
    again = speak(model, LONG)
    assert model.take_incidents() == {"repeated_token": 1, "retry": 1}
    assert len(first) != len(again) or (first != again).any()  # another seed


def test_streamed_text_is_tried_again_with_what_has_come(
    model: NativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    unharmed = speak(model, iter(LONG), "clone")
    goes_wrong(monkeypatch, at=20, times=1)
    assert len(speak(model, iter(LONG), "clone")) == len(unharmed)
    assert model.take_incidents() == {"repeated_token": 1, "retry": 1}


def test_twice_is_too_often(model: NativeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_wrong(monkeypatch, at=5, times=2)
    with pytest.raises(ModelError, match="repeated_token"):
        speak(model, LONG)
    assert model.take_incidents() == {"repeated_token": 2, "retry": 1}


def test_what_has_been_heard_stands(model: NativeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    unharmed = speak(model, LONG * 5)
    goes_wrong(monkeypatch, at=350, times=1)
    heard = speak(model, LONG * 5)
    assert 0 < len(heard) < len(unharmed)
    np.testing.assert_allclose(heard, unharmed[: len(heard)], atol=1e-4)
    assert model.take_incidents() == {"repeated_token": 1}


# --- A device that fails ---------------------------------------------------------------------


@pytest.mark.parametrize("stage", METHODS)
def test_a_broken_device_ends_the_worker(
    directory: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    errors: list[BaseException] = []
    model = opened(directory)
    model._engine._on_broken = errors.append
    parts = Parts(model._engine)
    features = model._voices.get("guilty")
    assert features is not None
    parts.mark = features.embedding[0]
    fail(monkeypatch, parts, stage, lambda _: torch.AcceleratorError("device-side assert"))
    found = speak_together(model, [*REQUESTS, (LONG * 20, "中文男", 9)])
    assert len(errors) == 1
    assert "device-side assert" in str(errors[0])
    for error in (found[GUILTY], found[-1]):
        assert isinstance(error, ModelError)
    with pytest.raises(ModelError, match="closed"):
        speak(model, TEXT)
    model.close()


def test_closing_fails_what_is_still_spoken(directory: Path) -> None:
    model = opened(directory)
    stream = open_stream(model, LONG * 20)
    next(stream)
    model.close()
    with pytest.raises(ModelError, match="ended"):
        list(stream)


def test_closing_fails_what_nobody_has_begun() -> None:
    inbox = Inbox()
    handle = SessionHandle(inbox)
    prompt = VoicePrompt(
        lm=LmPrompt(text=(), speech=()),
        tokens=np.empty(0, np.int32),
        mel=np.empty((0, 80), np.float32),
        embedding=np.empty(192, np.float32),
    )
    seed = np.random.SeedSequence(0)
    inbox.put(Begin(handle=handle, prompt=prompt, seed=seed, layout="whole"))
    inbox.close()
    with pytest.raises(ModelError, match="closed"):
        list(handle.chunks())
