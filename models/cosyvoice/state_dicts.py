"""Tells by the tensors in a file which version's model they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.torch_file import read_state_dict_views
from models.cosyvoice.torch_pickle import TensorView

Version: TypeAlias = Literal[1, 2, 3]
Views: TypeAlias = Mapping[str, TensorView]

_TITLES = {
    "llm.pt": "language model",
    "flow.pt": "flow",
    "hift.pt": "vocoder",
}
_CAUSAL_KERNEL = 5


def read_weights(path: Path, version: Version) -> Views:
    """The tensors of llm.pt, flow.pt or hift.pt, none of them loaded.

    Raises:
        CheckpointError: the file is damaged, holds something else, or another version's model.
        OSError: it cannot be read.
    """
    views = read_state_dict_views(path)
    title, found = _TITLES[path.name], _version_of(path.name, views)
    if found is None:
        raise CheckpointError(f"{path}: does not hold the {title} of any CosyVoice; fetch it again")
    if found != version:
        raise CheckpointError(
            f"{path}: holds the {title} of version {found}, but the other files are of version "
            f"{version}; put the one in its place that belongs to them"
        )
    return views


def _version_of(file_name: str, views: Views) -> Version | None:
    return _RECOGNISERS[file_name](views)


def _language_model_version(views: Views) -> Version | None:
    if "text_encoder_affine_layer.weight" in views:
        return 1
    if "llm.model.model.norm.weight" not in views:
        return None
    return 2 if "llm_embedding.weight" in views else 3


def _flow_version(views: Views) -> Version | None:
    if "length_regulator.model.0.weight" in views:
        return 1
    if "encoder.up_layer.conv.weight" in views:
        return 2
    return 3 if "decoder.estimator.transformer_blocks.0.attn.to_q.weight" in views else None


def _vocoder_version(views: Views) -> Version | None:
    # Files that were saved with the training code around them have a prefix; and weight norm has
    # been written in two ways.
    shapes = {name.removeprefix("generator."): view.shape for name, view in views.items()}
    kernel = shapes.get("conv_pre.parametrizations.weight.original1") or shapes.get(
        "conv_pre.weight_v"
    )
    if kernel is None or "ups.1.bias" not in shapes:
        return None
    if "ups.2.bias" not in shapes:
        return 1
    return 3 if kernel[-1] == _CAUSAL_KERNEL else 2


_RECOGNISERS: Mapping[str, Callable[[Views], Version | None]] = {
    "llm.pt": _language_model_version,
    "flow.pt": _flow_version,
    "hift.pt": _vocoder_version,
}
