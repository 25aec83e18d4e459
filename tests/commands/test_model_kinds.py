"""From what an operator writes to what the pool runs."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.cosyvoice.checkpoint import Checkpoint
from server import model_kinds
from server.model_kinds import COSYVOICE_FACTORY, NATIVE_FACTORY, model_spec
from server.pool.options import ModelSpec
from server.settings import ModelSettings, Settings, SettingsError

PACKAGE_FILES = (
    "cosyvoice/cli/model.py",
    "third_party/Matcha-TTS/matcha/models/components/flow_matching.py",
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Everything that a CosyVoice model needs, in the data directory."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    python = data / "environments/cosyvoice/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (data / "environments/cosyvoice/lib/python3.12/site-packages").mkdir(parents=True)
    for name in PACKAGE_FILES:
        (data / "cosyvoice" / name).parent.mkdir(parents=True, exist_ok=True)
        (data / "cosyvoice" / name).touch()
    return Settings(data_directory=str(data))


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every directory is a whole checkpoint of version 2."""

    def opened(directory: Path, variant: str | None = None) -> Checkpoint:
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


def _spec(settings: Settings, kind: str, **fields: Any) -> ModelSpec:
    return model_spec(ModelSettings(name="m", kind=kind, **fields), settings)


def test_the_embedded_model(settings: Settings) -> None:
    spec = _spec(settings, "espeak", idle_unload_s=60, warm_up=False)
    assert spec.factory == "models.espeak:EspeakModel"
    assert (spec.interpreter, spec.info) == ("", None)
    assert (spec.idle_unload_s, spec.warm_up) == (60, False)


def test_any_class(settings: Settings) -> None:
    spec = _spec(settings, "sine_model:SineModel", workers=3, options={"rate": 1})
    assert (spec.factory, spec.workers) == ("sine_model:SineModel", 3)
    assert spec.options == {"rate": 1}


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("kind", "options", "directory"),
    [
        ("cosyvoice", {"directory": "{data}/elsewhere"}, "{data}/elsewhere"),
        ("cosyvoice2", {}, "{data}/models/cosyvoice2"),
        ("cosyvoice-300m-sft", {}, "{data}/models/cosyvoice-300m-sft"),
        ("./weights", {}, "{cwd}/weights"),
        ("weights", {}, "{cwd}/weights"),
    ],
)
def test_checkpoints_by_kind_name_and_directory(
    settings: Settings, tmp_path: Path, kind: str, options: dict[str, str], directory: str
) -> None:
    (tmp_path / "weights").mkdir()
    places = {"data": settings.data_path, "cwd": tmp_path}
    spec = _spec(
        settings, kind, options={key: value.format(**places) for key, value in options.items()}
    )
    assert spec.factory == COSYVOICE_FACTORY
    assert spec.options == {
        "name": "m",
        "directory": directory.format(**places),
        "home": str(settings.data_path / "cosyvoice"),
    }
    assert spec.interpreter == str(settings.data_path / "environments/cosyvoice/bin/python")
    assert spec.workers == 1
    assert spec.environment == {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    assert spec.info is not None
    assert (spec.info.name, spec.info.sample_rate_hz) == ("m", 24000)


@pytest.mark.usefixtures("whole")
def test_what_the_model_says_goes_before_what_is_set(settings: Settings, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.symlink_to(sys.executable)
    spec = _spec(
        settings,
        "cosyvoice2",
        interpreter=str(program),
        load="lazy",
        options={"fp16": True},
        environment={"HF_HUB_OFFLINE": "0"},
    )
    assert spec.interpreter == str(program)
    assert spec.lazy
    assert spec.options["fp16"] is True
    assert spec.environment["HF_HUB_OFFLINE"] == "0"


@pytest.mark.usefixtures("whole")
def test_each_device_has_its_workers(settings: Settings) -> None:
    devices = ["cuda:0", "cuda:1"]
    spec = _spec(settings, "cosyvoice2", workers=2, options={"devices": devices, "fp16": True})
    assert spec.workers == 4
    hosted = [spec.of_worker(number).options for number in range(spec.workers)]
    assert [options["device"] for options in hosted] == devices * 2
    assert all("devices" not in options and options["fp16"] for options in hosted)


def _remove(name: str) -> Callable[[Settings], None]:
    return lambda settings: (settings.data_path / name).unlink()


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("breakage", "fields", "advice"),
    [
        (_remove("environments/cosyvoice/bin/python"), {}, "cosystream setup cosyvoice"),
        (
            lambda settings: (settings.data_path / "cosyvoice").rename(
                settings.data_path / "elsewhere"
            ),
            {},
            "cosystream setup cosyvoice --clone",
        ),
        (_remove(f"cosyvoice/{PACKAGE_FILES[1]}"), {}, "submodule update --init"),
        (None, {"interpreter": "/nowhere/python"}, "interpreter: /nowhere/python"),
        (None, {"options": {"home": "/nowhere"}}, "git clone --recursive"),
        (None, {"options": {"devices": ["gpu1"]}}, "options.devices"),
        (None, {"options": {"devices": "cuda:0"}}, "options.devices"),
        (None, {"options": {"devices": ["cpu"], "device": "cpu"}}, "exclude each other"),
        (None, {"options": {"directory": "/a"}}, 'kind = "cosyvoice"'),
        (None, {"options": {"fp61": True}}, "did you mean 'fp16'?"),
        (None, {"options": {"fp16": "yes"}}, "fp16"),
        (None, {"options": {"slots": "two"}}, "slots"),
        (None, {"options": {"slots": 0}}, "slots"),
        (None, {"options": {"run_ahead_s": -1}}, "run_ahead_s"),
        (None, {"options": {"home": 5}}, "home"),
        (None, {"options": {"fp16": True, "device": "cpu"}}, "fp16 cannot run on device 'cpu'"),
    ],
)
def test_what_is_missing_or_wrong_is_told_with_its_remedy(
    settings: Settings,
    breakage: Callable[[Settings], None] | None,
    fields: dict[str, Any],
    advice: str,
) -> None:
    if breakage is not None:
        breakage(settings)
    with pytest.raises(SettingsError) as caught:
        _spec(settings, "cosyvoice2", **fields)
    assert advice in str(caught.value)


def test_a_checkpoint_that_was_not_fetched(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="get it: cosystream download cosyvoice2"):
        _spec(settings, "cosyvoice2")


def test_a_directory_that_is_none(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"model 'm': .*is no CosyVoice checkpoint"):
        _spec(settings, str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("parrot", {}, "'parrot' is no model"),
        ("cosyvoice", {}, "options.directory"),
        ("espeak", {"load": "lazy"}, "lazy"),
    ],
)
def test_kinds_that_are_none(
    settings: Settings, kind: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        _spec(settings, kind, **fields)


@pytest.mark.usefixtures("whole")
def test_a_package_in_the_environment_itself_needs_no_checkout(settings: Settings) -> None:
    packages = settings.data_path / "environments/cosyvoice/lib/python3.12/site-packages"
    (settings.data_path / "cosyvoice/cosyvoice").rename(packages / "cosyvoice")
    (settings.data_path / "cosyvoice").rename(settings.data_path / "elsewhere")
    assert _spec(settings, "cosyvoice2").options["home"] == ""


# --- The native engine -------------------------------------------------------------------------


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("setting", "options"), [("official", {"engine": "native"}), ("native", {}), ("native", None)]
)
def test_the_native_engine_needs_no_official_package(
    settings: Settings, setting: str, options: dict[str, Any] | None
) -> None:
    (settings.data_path / "cosyvoice").rename(settings.data_path / "elsewhere")
    chosen = settings.model_copy(update={"cosyvoice_engine": setting})
    own = {"bf16": True, "slots": 8, "flow_memory_gib": 4}
    spec = _spec(chosen, "cosyvoice2", options={**(options or {}), **own})
    assert spec.factory == NATIVE_FACTORY
    assert spec.options == {
        "name": "m",
        "directory": str(settings.data_path / "models/cosyvoice2"),
        **own,
    }
    assert spec.interpreter == str(settings.data_path / "environments/cosyvoice/bin/python")
    assert spec.info is not None
    assert spec.info.capabilities.slots == 8


@pytest.mark.usefixtures("whole")
def test_a_models_engine_goes_before_the_setting(settings: Settings) -> None:
    chosen = settings.model_copy(update={"cosyvoice_engine": "native"})
    assert _spec(chosen, "cosyvoice2", options={"engine": "official"}).factory == COSYVOICE_FACTORY
    assert _spec(chosen, "espeak").options == {}


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "fast"}, "official or native"),
        ({"engine": "native", "fp16": True}, 'fp16 goes with engine = "official"'),
        ({"engine": "native", "home": "/a"}, 'home goes with engine = "official"'),
        ({"bf16": True}, 'bf16 goes with engine = "native"'),
        ({"engine": "native", "max_lenght": 1}, "did you mean 'max_length'"),
        ({"engine": "native", "max_length": 10}, "at least 256"),
        ({"engine": "native", "final_chunk": "last"}, "final_chunk"),
        ({"engine": "native", "hops": 3}, "hops"),
        ({"engine": "native", "admission": "all"}, "admission"),
        ({"engine": "native", "flow_memory_gib": -1}, "flow_memory_gib"),
        ({"engine": "native", "device": "tpu"}, "'tpu'"),
    ],
)
def test_options_that_an_engine_does_not_have(
    settings: Settings, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        _spec(settings, "cosyvoice2", options=options)


@pytest.mark.usefixtures("whole")
def test_version_1_has_no_native_engine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Checkpoint.open

    def version_1(*arguments: Any, **options: Any) -> Checkpoint:
        return dataclasses.replace(opened(*arguments, **options), version=1)

    monkeypatch.setattr(Checkpoint, "open", version_1)
    with pytest.raises(SettingsError, match='version 1, which needs engine = "official"'):
        _spec(settings, "cosyvoice2", options={"engine": "native"})
