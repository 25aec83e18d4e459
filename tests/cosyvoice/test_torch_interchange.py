"""What torch.save writes is what our reader, which has no torch, reads."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.torch_file import read_state_dict_views, read_torch_file
from models.random_checkpoint.maker import make

MAX_BYTES = 1 << 24
TYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def read(path: Path, value: object) -> object:
    torch.save(value, path)
    return read_torch_file(path, max_bytes=MAX_BYTES)


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_every_type(tmp_path: Path, kind: torch.dtype) -> None:
    tensor = (torch.randn(3, 5, generator=torch.Generator().manual_seed(0)) * 50).to(kind)
    found = read(tmp_path / "x.pt", {"x": tensor})["x"]
    assert found.dtype == as_numpy(tensor).dtype
    np.testing.assert_array_equal(found, as_numpy(tensor))


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.t(),
        lambda x: x[1:, ::2],
        lambda x: x[2],
        lambda x: x[1, 1],
        lambda x: x[:0],
        lambda x: x[:1].expand(7, -1),
        lambda x: torch.as_strided(x, (4, 4), (3, 1), 2),
        torch.nn.Parameter,
    ],
)
def test_every_view(tmp_path: Path, view: object) -> None:
    tensor = view(torch.arange(24.0).reshape(4, 6))
    np.testing.assert_array_equal(read(tmp_path / "x.pt", [tensor])[0], as_numpy(tensor))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    value = OrderedDict(a=torch.ones(3), b={"字": (1, 2.5, None, [True])})
    path = tmp_path / "x.pt"
    torch.save(value, path, pickle_protocol=protocol)
    found = read_torch_file(path, max_bytes=MAX_BYTES)
    assert list(found) == ["a", "b"]
    assert found["b"] == value["b"]


def test_a_module_s_state_dict(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    found = read(tmp_path / "x.pt", module.state_dict())
    assert list(found) == list(module.state_dict())
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(found[name], as_numpy(tensor))


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear|NEWOBJ"):
        read(tmp_path / "x.pt", torch.nn.Linear(2, 2))


def test_the_format_before_torch_1_6_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="save it again"):
        read_torch_file(path, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_shapes_of_a_checkpoint(tmp_path: Path, version: int) -> None:
    make(f"cosyvoice{version}-tiny", tmp_path)
    for file in ("llm.pt", "flow.pt", "hift.pt"):
        loaded = torch.load(tmp_path / file, weights_only=True)
        found = read_state_dict_views(tmp_path / file)
        assert {name: view.shape for name, view in found.items()} == {
            name: tuple(tensor.shape) for name, tensor in loaded.items()
        }
