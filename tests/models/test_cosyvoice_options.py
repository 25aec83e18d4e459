"""What cannot be run is refused, where upstream switches it off without a word."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from models.base import ModelError, Voice
from models.cosyvoice.engine_options import EngineOptions, jit_files
from models.cosyvoice.features import FeaturesError, VoiceFeatures
from models.cosyvoice.voice_table import VoiceTable


@dataclass
class FakeCheckpoint:
    version: int
    directory: Path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "expected auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:x"}, "expected auto, cpu, cuda or cuda:N"),
        ({"tensorrt_contexts": 0}, "at least 1"),
        ({"tensorrt_contexts": 2}, "of use with tensorrt only"),
        ({"device": "cpu", "fp16": True, "jit": True}, "fp16, jit cannot run on device 'cpu'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineOptions(**options).check_values()


@pytest.mark.parametrize("option", ["fp16", "tensorrt", "vllm", "jit"])
def test_without_cuda(option: str, tmp_path: Path) -> None:
    checkpoint = FakeCheckpoint(2, tmp_path)
    options = EngineOptions(**{option: True})
    with pytest.raises(ModelError, match=f"{option}: torch sees no CUDA device") as refusal:
        options.check_machine(checkpoint, cuda=False)
    assert refusal.value.code == "unsupported"


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="device 'cuda:1': torch sees no CUDA device"):
        EngineOptions(device="cuda:1").check_machine(FakeCheckpoint(2, tmp_path), cuda=False)


@pytest.mark.parametrize(
    ("version", "options", "message"),
    [
        (1, {"vllm": True}, "version 1's language model"),
        (3, {"jit": True}, "version 3 has no exported parts"),
        (1, {"jit": True}, r"lacks llm.text_encoder.fp32.zip, llm.llm.fp32.zip, flow.encoder"),
        (2, {"jit": True, "fp16": True}, "lacks flow.encoder.fp16.zip"),
        (2, {"tensorrt": True}, "lacks flow.decoder.estimator.fp32.onnx"),
    ],
)
def test_what_a_checkpoint_lacks(
    version: int,
    options: dict[str, bool],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    checkpoint = FakeCheckpoint(version, tmp_path)
    with pytest.raises(ModelError, match=message):
        EngineOptions(**options).check_machine(checkpoint, cuda=True)


@pytest.mark.parametrize("option", ["tensorrt", "vllm"])
def test_a_package_that_is_not_installed(option: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{option}: the package is not installed"):
        EngineOptions(**{option: True}).check_machine(
            FakeCheckpoint(2, tmp_path),
            cuda=True,
        )


def test_everything_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    for name in (*jit_files(2, "fp16"), "flow.decoder.estimator.fp32.onnx"):
        (tmp_path / name).touch()
    options = EngineOptions(fp16=True, jit=True, tensorrt=True, vllm=True, tensorrt_contexts=2)
    options.check_values()
    options.check_machine(FakeCheckpoint(2, tmp_path), cuda=True)


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("auto", None, None),
        ("cuda", "2,3", "2,3"),
        ("cpu", "2,3", ""),
        ("cuda:1", None, "1"),
        ("cuda:1", "2,3", "3"),
        ("cuda:0", "GPU-5f2a", "GPU-5f2a"),
    ],
)
def test_the_process_sees_the_chosen_device_only(
    device: str, visible: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    EngineOptions(device=device).show_device()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == expected


def test_a_device_that_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with pytest.raises(ValueError, match="shows 2,3"):
        EngineOptions(device="cuda:2").show_device()


# --- The voices of a loaded model --------------------------------------------------------------


def voice(name: str) -> Voice:
    return Voice(name=name, language="cmn", kind="clone")


def features(*ids: int) -> VoiceFeatures:
    prompt_text = np.array(ids, np.int32) if ids else None
    return VoiceFeatures(embedding=np.ones(192, np.float32), prompt_text=prompt_text)


def test_presets_stay_and_clones_go() -> None:
    table = VoiceTable({"preset": features()}, 100)
    table.add(voice("clone"), first := features(1))
    assert [entry.name for entry in table.voices()] == ["preset", "clone"]
    assert table.get("clone") is first
    table.add(voice("clone"), second := features(2))
    assert table.get("clone") is second
    for name in ("clone", "preset", "nobody"):
        table.remove(name)
    assert [entry.name for entry in table.voices()] == ["preset"]
    assert table.get("clone") is None


def test_a_transcript_of_another_tokenizer_is_refused() -> None:
    table = VoiceTable({}, 100)
    with pytest.raises(FeaturesError, match="has the token 100"):
        table.add(voice("clone"), features(1, 100))
    with pytest.raises(FeaturesError):
        VoiceTable({"preset": features(1, 100)}, 100)
