"""Weights from a checkpoint's files, as the modules of this package want them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from models.cosyvoice.errors import CheckpointError

_TRAINING_KEYS = frozenset({"epoch", "step"})
_TRAINING_PREFIX = "generator."
_NORM = (".parametrizations.weight.original0", ".parametrizations.weight.original1")
_OLD_NORM = (".weight_g", ".weight_v")
_MOST_NAMED = 4


def read_tensors(path: Path, *, double: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """The tensors of llm.pt, flow.pt or hift.pt, mapped into memory; no code of the file is run.

    Names are those of upstream's modules: a prefix that training leaves is gone, and weight norm is
    resolved (`conv.weight` instead of its direction and its length).

    Args:
        path: of the file.
        double: beginnings of names that become float64, before weight norm is resolved.

    Raises:
        CheckpointError: it is no such file.
        OSError: it cannot be read.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, UnpicklingError, EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        # torch's reader of zip files raises an OSError without a name where one is cut off.
        raise CheckpointError(f"{path}: cannot be loaded: {error}; fetch it again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: holds no table of weights; fetch it again")
    tensors = {
        str(name).removeprefix(_TRAINING_PREFIX): value
        for name, value in found.items()
        if name not in _TRAINING_KEYS
    }
    if not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise CheckpointError(f"{path}: holds more than weights; fetch it again")
    precise = {name: value.double() for name, value in tensors.items() if name.startswith(double)}
    return _without_weight_norm(tensors | precise)


def _without_weight_norm(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for length_name, direction_name in (_NORM, _OLD_NORM):
        for name in [name for name in tensors if name.endswith(length_name)]:
            base = name.removesuffix(length_name)
            if base + direction_name not in tensors:
                continue
            length, direction = tensors.pop(name), tensors.pop(base + direction_name)
            # As upstream computes it, at every call.
            tensors[base + ".weight"] = torch._weight_norm(direction, length, 0)  # noqa: SLF001
    return tensors


def fill(
    module: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    *,
    prefix: str = "",
    others: tuple[str, ...] = (),
) -> None:
    """Take a module's weights over from a file, all of them and nothing besides.

    Args:
        module: may have been made on the device `meta`, and is of float32.
        tensors: by `read_tensors`.
        path: where they come from, for messages.
        prefix: what stands before the module's names in the file.
        others: beginnings of names under `prefix` that belong to somebody else.

    Raises:
        CheckpointError: weights are missing, left over, or of another shape.
    """
    given = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix) and not name.removeprefix(prefix).startswith(others or ("\0",))
    }
    wanted = module.state_dict()
    _refuse(path, "lacks", [prefix + name for name in wanted if name not in given])
    _refuse(
        path, "has, and nothing wants,", [prefix + name for name in given if name not in wanted]
    )
    wrong = [
        f"{prefix}{name} {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if given[name].shape != tensor.shape
    ]
    _refuse(path, "has", wrong)
    module.load_state_dict({name: tensor.float() for name, tensor in given.items()}, assign=True)


def _refuse(path: Path, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise CheckpointError(
            f"{path}: {what} {', '.join(names[:_MOST_NAMED])}{more}; "
            "it does not fit the configuration"
        )
