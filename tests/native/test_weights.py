"""Weights are taken over whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from models.cosyvoice.errors import CheckpointError
from models.native.weights import fill, read_tensors


class Evil:
    def __reduce__(self) -> object:
        return os.system, ("exit 1",)


def test_what_training_leaves_is_gone(tmp_path: Path) -> None:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 5))
    state = {f"generator.conv.{name}": value for name, value in conv.state_dict().items()}
    torch.save({**state, "epoch": 3, "step": 4}, tmp_path / "hift.pt")
    tensors = read_tensors(tmp_path / "hift.pt")
    assert sorted(tensors) == ["conv.bias", "conv.weight"]
    assert torch.equal(tensors["conv.weight"], conv.weight)


def test_older_names_of_weight_norm(tmp_path: Path) -> None:
    direction, length = torch.randn(3, 2, 5), torch.rand(3, 1, 1)
    torch.save({"conv.weight_v": direction, "conv.weight_g": length}, tmp_path / "hift.pt")
    weight = read_tensors(tmp_path / "hift.pt")["conv.weight"]
    assert torch.allclose(weight.norm(dim=(1, 2), keepdim=True), length)


@pytest.mark.parametrize("content", [[1], {"a": 1}, Evil(), {"a": Evil()}])
def test_other_files_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "llm.pt")
    with pytest.raises(CheckpointError, match=r"llm\.pt"):
        read_tensors(tmp_path / "llm.pt")


@pytest.mark.parametrize("n_bytes", [0, 100, -100])
def test_a_truncated_file_is_refused(tmp_path: Path, n_bytes: int) -> None:
    torch.save({"a": torch.ones(1000)}, tmp_path / "llm.pt")
    data = (tmp_path / "llm.pt").read_bytes()
    (tmp_path / "llm.pt").write_bytes(data[:n_bytes])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        read_tensors(tmp_path / "llm.pt")


def test_a_module_is_filled() -> None:
    given = {"a.weight": torch.ones(3, 2, dtype=torch.float64), "a.bias": torch.zeros(3)}
    with torch.device("meta"):
        linear = nn.Linear(2, 3)
    fill(
        linear,
        given | {"b": torch.ones(1), "a.other.b": torch.ones(1)},
        Path("x"),
        prefix="a.",
        others=("other.",),
    )
    assert linear(torch.ones(2)).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": None}, "lacks weight;"),
        ({"more": torch.ones(1)}, "has, and nothing wants, more;"),
        ({"bias": torch.ones(4)}, r"has bias \(4,\) instead of \(3,\);"),
    ],
)
def test_weights_that_do_not_fit(change: dict[str, torch.Tensor | None], message: str) -> None:
    given = {"weight": torch.ones(3, 2), "bias": torch.zeros(3), **change}
    tensors = {name: tensor for name, tensor in given.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=message):
        fill(nn.Linear(2, 3), tensors, Path("llm.pt"))


def test_weight_norm_in_double_precision(tmp_path: Path) -> None:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 5))
    torch.save(
        {f"pitch.{name}": value for name, value in conv.state_dict().items()}, tmp_path / "a"
    )
    weight = read_tensors(tmp_path / "a", double=("pitch.",))["pitch.weight"]
    assert torch.equal(weight, conv.double().weight)
