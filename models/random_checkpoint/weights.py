"""Random tensors under the names and shapes of a manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import torch

Shape: TypeAlias = tuple[int, ...]
StateDict: TypeAlias = dict[str, torch.Tensor]

_COMPACT_OVER = 1 << 15
_STRIDES = {2: (7, 1), 3: (7, 3, 1)}


class RandomSource:
    """Draws tensors from one seed.

    Args:
        seed: of the generator.
        compact: make big matrices overlapping strided views of a small storage. torch.save keeps
            the storage only, so a 512 x 512 x 5 convolution costs a few kB in a file and still has
            random content of full rank. Such a tensor is copied before something is written to it.
    """

    def __init__(self, seed: int, *, compact: bool) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._compact = compact

    def normal(self, *shape: int, deviation: float = 1.0) -> torch.Tensor:
        """Independent values from N(0, deviation)."""
        return torch.randn(shape, generator=self._generator) * deviation

    def matrix(self, shape: Shape, deviation: float) -> torch.Tensor:
        """Values from N(0, deviation), a strided view where that saves space."""
        if not self._compact or math.prod(shape) <= _COMPACT_OVER or len(shape) not in _STRIDES:
            return self.normal(*shape, deviation=deviation)
        strides = _STRIDES[len(shape)]
        size = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 1
        return torch.as_strided(self.normal(size, deviation=deviation), shape, strides)

    def token_ids(self, count: int, below: int) -> torch.Tensor:
        """Shape (1, count), int32."""
        return torch.randint(0, below, (1, count), generator=self._generator, dtype=torch.int32)


def random_state_dict(shapes: Mapping[str, Shape], source: RandomSource) -> StateDict:
    """Tensors that keep a network's values near N(0, 1), whatever its depth."""
    tensors = {name: _tensor(name, shape, source) for name, shape in shapes.items()}
    for name, gain in tensors.items():
        if name.endswith("original0"):
            # The gain of a weight norm: the direction's own length gives plain weights.
            direction = tensors[name.removesuffix("0") + "1"]
            tensors[name] = direction.flatten(1).norm(dim=1).reshape(gain.shape)
    return tensors


def _tensor(name: str, shape: Shape, source: RandomSource) -> torch.Tensor:
    leaf = name.rpartition(".")[2]
    if leaf == "inv_freq":
        return 10000.0 ** -(torch.arange(shape[0]).float() / shape[0])
    if leaf in {"bias", "beta"}:
        return torch.zeros(shape)
    if leaf == "alpha" or len(shape) <= 1:
        return torch.ones(shape)
    gain = 1.0 if leaf == "original1" else 0.7
    return source.matrix(shape, gain / math.sqrt(math.prod(shape[1:])))


def tame_flow(flow: StateDict) -> None:
    """Shrink the estimator's output, so that ten Euler steps leave the mel near N(0, 1)."""
    for name in ("decoder.estimator.final_proj.weight", "decoder.estimator.proj_out.weight"):
        if name in flow:
            flow[name] = flow[name] * 0.1


def tame_vocoder(hift: StateDict, pitch_hz: float) -> None:
    """Give the voice a pitch, so that the harmonic source runs, and keep it from clipping."""
    hift["f0_predictor.classifier.bias"] += pitch_hz
    hift["conv_post.bias"][:9] -= 3.0  # the 9 magnitudes of the 16 point transform, in logarithm


def legacy_names(hift: StateDict) -> StateDict:
    """The same vocoder under older names, as some released files have them."""
    old = {"parametrizations.weight.original0": "weight_g"}
    old["parametrizations.weight.original1"] = "weight_v"
    renamed = {}
    for name, tensor in hift.items():
        for new_name, old_name in old.items():
            name = name.replace(new_name, old_name)  # noqa: PLW2901
        renamed[f"generator.{name}"] = tensor
    return renamed
