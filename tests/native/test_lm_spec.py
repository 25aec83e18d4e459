"""What a checkpoint's language model is, and which checkpoints are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.sampling import SamplingRule
from models.native.configuration import read_configuration
from models.native.lm.model import load_lm
from models.native.lm.spec import LmSpec, MixRatio, read_spec
from models.native.weights import read_tensors


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "checkpoint")


def spec_of(directory: Path) -> LmSpec:
    checkpoint = Checkpoint.open(directory)
    return read_spec(
        checkpoint,
        read_configuration(checkpoint.yaml_path),
        read_tensors(directory / "llm.pt"),
    )


def test_control_ids_by_version(version: int, checkpoint: Path) -> None:
    spec = spec_of(checkpoint)
    n_text = spec.body.n_text
    assert (spec.version, spec.mix) == (version, MixRatio(text=5, speech=15))
    assert spec.sampling == SamplingRule()
    assert spec.outputs.n_speech == 6561
    found = (
        spec.outputs.n_outputs,
        spec.outputs.end,
        spec.outputs.fill,
        spec.inputs.begin - n_text,
        spec.inputs.task - n_text,
        spec.inputs.n_inputs - n_text,
    )
    assert (
        found
        == {
            2: (6564, 6561, 6563, 6564, 6565, 6566),
            3: (6761, 6562, 6564, 6561, 6563, 6761),
        }[version]
    )


def change_config(directory: Path, **values: Any) -> None:
    path = directory / "CosyVoice-BlankEN" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | values))


def change_yaml(directory: Path, old: str, new: str) -> None:
    (path,) = directory.glob("cosyvoice*.yaml")
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


def change_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    state = torch.load(directory / "llm.pt", weights_only=True)
    change(state)
    torch.save(state, directory / "llm.pt")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_attention_heads": 3}, "do not fit a width"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": 3}, r"llm\.pt: lacks .*layers\.2\.self_attn\.q_proj"),
        ({"num_hidden_layers": 1}, r"llm\.pt: has, and nothing wants, .*layers\.1"),
        ({"intermediate_size": 65}, r"gate_proj\.weight .* instead of \(65, "),
        ({"rope_theta": None}, "rope_theta is None"),
        ({"rms_norm_eps": True}, "rms_norm_eps is True"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"use_sliding_window": True}, "use_sliding_window True is not supported"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling .* is not supported"),
    ],
)
def test_other_bodies_are_refused(copy: Path, values: dict[str, Any], message: str) -> None:
    change_config(copy, **values)
    with pytest.raises(CheckpointError, match=message):
        load_lm(Checkpoint.open(copy))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mix_ratio: [5, 15]", "mix_ratio: [5]", "mix_ratio is"),
        ("mix_ratio: [5, 15]", "mix_ratio: [0, 15]", "mix_ratio is"),
        ("ras_sampling", "nucleus_sampling", "sampling by nucleus_sampling is not known"),
        ("win_size: 10", "win_size: 0", "nothing can be drawn"),
        ("speech_token_size: 6561", "speech_token_size: 4096", "instead of"),
        ("cosyvoice.llm.llm.", "cosyvoice.llm.llm.Other", "and version . has"),
    ],
)
def test_other_configurations_are_refused(copy: Path, old: str, new: str, message: str) -> None:
    change_yaml(copy, old, new)
    with pytest.raises(CheckpointError, match=message):
        load_lm(Checkpoint.open(copy))


def test_missing_and_foreign_weights_are_refused(copy: Path) -> None:
    change_weights(copy, lambda state: state.update(extra=torch.ones(1)))
    with pytest.raises(CheckpointError, match="nothing wants, extra"):
        load_lm(Checkpoint.open(copy))
    change_weights(copy, lambda state: state.pop("speech_embedding.weight"))
    with pytest.raises(CheckpointError, match=r"lacks speech_embedding\.weight"):
        load_lm(Checkpoint.open(copy))


def test_numbers_of_the_sampling_rule(copy: Path) -> None:
    change_yaml(copy, "top_k: 25", "top_k: 7")
    change_yaml(copy, "tau_r: 0.1", "tau_r: 0.3")
    assert spec_of(copy).sampling == SamplingRule(top_k=7, tau_r=0.3)
