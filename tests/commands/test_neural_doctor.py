"""What `doctor` says of neural models: the checkpoint, the environment, the official package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_python import FakePython

from models.cosyvoice.checkpoint import Checkpoint, CheckpointError
from server import model_kinds
from server.commands.check import Check
from server.commands.environment_report import ask
from server.commands.neural_checks import neural_checks
from server.settings import Settings

PACKAGE_FILES = (
    "cosyvoice/cli/model.py",
    "third_party/Matcha-TTS/matcha/models/components/flow_matching.py",
)


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePython:
    python = FakePython(tmp_path / "fake")
    python.report(official="")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return python


@pytest.fixture
def check(
    tmp_path: Path, python: FakePython, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Runs the checks on two models whose parts are all there."""
    for name in PACKAGE_FILES:
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / name).touch()

    def opened(directory: Path, variant: str | None = None) -> Checkpoint:
        if directory.name == "broken":
            raise CheckpointError(f"{directory}/llm.pt: is cut off; fetch it again")
        return Checkpoint(
            directory=directory,
            version=2,
            variant="base",
            sample_rate_hz=24000,
            token_rate_hz=25,
            text_vocabulary=1000,
            speakers={},
        )

    monkeypatch.setattr(model_kinds.Checkpoint, "open", opened)

    def run(*models: dict[str, Any], **changes: Any) -> dict[str, Check]:
        settings = Settings(
            **{
                "models": list(models) or [{"name": "a", "kind": "/checkpoints/whole"}],
                "data_directory": str(tmp_path / "data"),
                "cosyvoice_home": str(tmp_path / "home"),
                "cosyvoice_interpreter": str(python.program),
                **changes,
            }
        )
        return {one.name: one for one in neural_checks(settings)}

    return run


def test_all_is_there(check: Callable[..., Any], python: FakePython, tmp_path: Path) -> None:
    found = check()
    assert found["model a"].status == "ok"
    assert found["model a"].detail == "CosyVoice 2 in /checkpoints/whole, 0 voices of its own"
    assert "cosystream voices add" in found["model a"].advice
    assert found["cosyvoice"].status == "ok"
    assert "transformers 4.52.4" in found["cosyvoice"].detail
    assert str(tmp_path / "home") in found["cosyvoice"].detail
    assert python.orders() == [f"probe  {tmp_path}/home"]


def test_the_native_engine_is_not_asked_for_the_official_package(
    check: Callable[..., Any], python: FakePython
) -> None:
    python.report(broken={"transformers": "ImportError: none", "whisper": "ImportError: none"})
    found = check(cosyvoice_engine="native", cosyvoice_home="/nowhere")
    assert found["model a"].status == found["native engine"].status == "ok"
    assert "official package" not in found["native engine"].detail
    assert python.orders() == ["probe "]


def test_what_the_native_engine_lacks(check: Callable[..., Any], python: FakePython) -> None:
    python.report(broken={"tokenizers": "ImportError: none"})
    found = check({"name": "a", "kind": "/checkpoints/whole", "options": {"engine": "native"}})
    assert found["native engine"].status == "fail"
    assert "tokenizers: ImportError: none" in found["native engine"].detail
    assert found["native engine"].advice == "cosystream setup cosyvoice"


def test_an_engine_that_is_none(check: Callable[..., Any]) -> None:
    found = check({"name": "a", "kind": "/checkpoints/whole", "options": {"engine": "fast"}})
    assert found["model a"].status == "fail"
    assert "official or native" in found["model a"].detail
    assert list(found) == ["model a"]


def test_a_damaged_checkpoint_is_one_models_only(check: Callable[..., Any]) -> None:
    found = check(
        {"name": "a", "kind": "/checkpoints/whole"}, {"name": "b", "kind": "/checkpoints/broken"}
    )
    assert (found["model a"].status, found["model b"].status) == ("ok", "fail")
    assert "llm.pt: is cut off; fetch it again" in found["model b"].detail
    assert found["cosyvoice"].status == "ok"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cosyvoice_interpreter": ""}, "cosystream setup cosyvoice"),
        ({"cosyvoice_interpreter": "/nowhere/python"}, "/nowhere/python is no program"),
        ({"cosyvoice_home": "/nowhere"}, "git clone --recursive"),
    ],
)
def test_a_missing_part(check: Callable[..., Any], changes: dict[str, str], reason: str) -> None:
    found = check(**changes)
    assert found["cosyvoice"].status == "fail"
    assert reason in found["cosyvoice"].detail


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ({"broken": {"torch": "ImportError: no libcudart"}}, "torch: ImportError: no libcudart"),
        ({"official": "ModelError: no Matcha"}, "ModelError: no Matcha"),
    ],
)
def test_an_environment_that_does_not_work(
    check: Callable[..., Any], python: FakePython, report: dict[str, Any], reason: str
) -> None:
    python.report(**report)
    found = check()
    assert found["cosyvoice"].status == "fail"
    assert reason in found["cosyvoice"].detail
    assert found["cosyvoice"].advice == "cosystream setup cosyvoice"


def test_a_python_that_does_not_answer(check: Callable[..., Any], tmp_path: Path) -> None:
    program = tmp_path / "mute"
    program.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 4\n")
    program.chmod(0o755)
    found = check(cosyvoice_interpreter=str(program))
    assert found["cosyvoice"].detail == f"{program}: no such module"


@pytest.mark.parametrize(
    ("report", "driver", "status", "text"),
    [
        ({"gpus": ["NVIDIA H100"], "cuda_build": "12.8"}, True, "ok", "torch sees NVIDIA H100"),
        ({}, True, "warn", "without CUDA"),
        ({"cuda_build": "13.0"}, True, "warn", "update the driver, or: cosystream setup cosyvoice"),
        ({}, False, "warn", "use a machine with an NVIDIA GPU"),
    ],
)
def test_whether_torch_sees_what_the_driver_has(  # noqa: PLR0917
    check: Callable[..., Any],
    python: FakePython,
    tmp_path: Path,
    report: dict[str, Any],
    driver: bool,
    status: str,
    text: str,
) -> None:
    if driver:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "nvidia-smi").touch(0o755)
    python.report(official="", **report)
    found = check()["cosyvoice gpu"]
    assert found.status == status
    assert text in f"{found.detail} {found.advice}"


def test_models_of_one_environment_ask_it_once(
    check: Callable[..., Any], python: FakePython
) -> None:
    check({"name": "a", "kind": "/checkpoints/a"}, {"name": "b", "kind": "/checkpoints/b"})
    assert len(python.orders()) == 1


def test_without_neural_models_it_says_how_to_have_one(
    check: Callable[..., Any], python: FakePython, tmp_path: Path
) -> None:
    embedded = {"name": "espeak", "kind": "espeak"}
    assert "cosystream setup cosyvoice" in check(embedded)["neural models"].detail
    (tmp_path / "data" / "models" / "cosyvoice3").mkdir(parents=True)
    found = check(embedded)["neural models"]
    assert (found.status, found.advice) == ("ok", "serve --model cosyvoice3")
    assert python.orders() == []


def test_a_real_environment_answers(cosyvoice_python: Path, tmp_path: Path) -> None:
    """The real probe under the real environment."""
    report = ask(cosyvoice_python, official=False)
    assert report.problem == ""
    assert report.official is None
    assert report.versions["transformers"] == "4.52.4"
    broken = ask(cosyvoice_python, tmp_path, official=True)
    assert "is no checkout of the official package" in broken.problem
