"""What cannot be loaded is refused with a message, and loading leaves the process as it was."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import HOME, MakeCheckpoint
from test_streams import Steps, steps

from models.base import ModelError
from models.cosyvoice import shims
from models.cosyvoice.checkpoint import CheckpointError
from models.cosyvoice.model import CosyVoiceModel

__all__ = ["steps"]


@pytest.fixture
def checkpoint(version: int, make_checkpoint: MakeCheckpoint, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(make_checkpoint(version), tmp_path / "checkpoint"))


def load(directory: Path, **options: object) -> CosyVoiceModel:
    return CosyVoiceModel(**{"directory": str(directory), "home": HOME, **options})


@pytest.mark.parametrize("option", ["fp16", "tensorrt", "vllm", "jit"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_what_needs_cuda_is_refused_without(checkpoint: Path, option: str) -> None:
    """Upstream switches it off and goes on."""
    with pytest.raises(ModelError, match=f"{option}: torch sees no CUDA device"):
        load(checkpoint, **{option: True})


def test_slots_out_of_range(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="slots 0: at least 1"):
        load(checkpoint, slots=0)


def test_no_checkout_of_the_package(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no checkout of the official package"):
        load(checkpoint, home=str(tmp_path))


def test_another_copy_of_the_package_was_imported_before(
    checkpoint: Path, session_model: CosyVoiceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "cosyvoice" / "cli").mkdir(parents=True)
    (tmp_path / "cosyvoice" / "cli" / "model.py").touch()
    with pytest.raises(ModelError, match="the official package was imported from"):
        load(checkpoint, home=str(tmp_path))


@pytest.mark.skipif(bool(HOME), reason="a checkout knows version 3")
def test_an_old_copy_of_the_package(version: int, make_checkpoint: MakeCheckpoint) -> None:
    with pytest.raises(ModelError, match="does not know version 3"):
        load(make_checkpoint(3))


def test_weights_of_another_model(checkpoint: Path) -> None:
    weights = torch.load(checkpoint / "hift.pt", weights_only=True)
    weights.pop(next(iter(weights)))
    torch.save(weights, checkpoint / "hift.pt")
    with pytest.raises(ModelError, match="the weights do not fit the configuration"):
        load(checkpoint)


def test_a_configuration_that_would_run_something(checkpoint: Path, tmp_path: Path) -> None:
    (path,) = checkpoint.glob("*.yaml")
    evidence = tmp_path / "evidence"
    evil = f"evil: !apply:os.system ['touch {evidence}']\n"
    path.write_text(path.read_text(encoding="utf-8") + evil, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"would build !apply:os\.system"):
        load(checkpoint)
    assert not evidence.exists()


def test_a_tokenizer_with_more_words_than_the_model(session_model: CosyVoiceModel) -> None:
    small = dataclasses.replace(session_model._official, text_vocabulary=100)
    with pytest.raises(ModelError, match="tokenizer is not its language model's"):
        small.text_tokens("你好。")


def test_a_model_that_makes_no_numbers_fails_at_warm_up(
    model: CosyVoiceModel, steps: Steps
) -> None:
    steps.nan_steps = range(1, 100)
    with pytest.raises(ModelError, match="warm-up failed: the speech went wrong: nan"):
        model.warm_up()


def test_the_root_logger_stays_as_it_is() -> None:
    """Importing the official package calls `logging.basicConfig(level=DEBUG)`."""
    root = logging.getLogger()
    before = root.level, list(root.handlers), root.manager.disable
    with shims.quiet_import():
        root.handlers.clear()
        logging.basicConfig(level=logging.DEBUG)
    assert (root.level, root.handlers, root.manager.disable) == before


def test_text_normalisers_are_kept_out_and_put_back() -> None:
    import json as wetext

    before = sys.modules.get("wetext")
    sys.modules["wetext"] = wetext
    try:
        with shims.without_text_front_ends():
            with pytest.raises(ImportError):
                __import__("wetext")
            with pytest.raises(ImportError):
                __import__("ttsfrd")
            assert __import__("inflect").engine()
        assert sys.modules["wetext"] is wetext
        assert "inflect" not in sys.modules
    finally:
        sys.modules.pop("wetext")
        if before is not None:
            sys.modules["wetext"] = before
