"""Tiny checkpoints whose vocoder has all of the released layers and is now voiced, now not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import torch

from models.native.configuration import read_configuration
from models.native.vocoder.generator import Generator
from models.native.vocoder.spec import VocoderSpec
from models.random_checkpoint.weights import (
    RandomSource,
    StateDict,
    random_state_dict,
    tame_vocoder,
)

_RELEASED = {
    "resblock_kernel_sizes": "[3, 7, 11]",
    "resblock_dilation_sizes": "[[1, 3, 5], [1, 3, 5], [1, 3, 5]]",
    "source_resblock_kernel_sizes": "[7, 7, 11]",
    "source_resblock_dilation_sizes": "[[1, 3, 5], [1, 3, 5], [1, 3, 5]]",
}
_PLAIN = ("source_downs.", "m_source.", "f0_predictor.classifier.")
"""Upstream has no weight norm here."""


def lively_checkpoint(plain: Path, directory: Path) -> Path:
    """Copy a tiny checkpoint and give it such a vocoder."""
    shutil.copytree(plain, directory)
    yaml = next(directory.glob("cosyvoice*.yaml"))
    text = yaml.read_text(encoding="utf-8")
    for key, value in _RELEASED.items():
        text = re.sub(rf"(\n *){key}: .*", rf"\1{key}: {value}", text)
    yaml.write_text(text, encoding="utf-8")
    spec = VocoderSpec.read(read_configuration(yaml))
    torch.save(lively_state(spec), directory / "hift.pt")
    return directory


def lively_state(spec: VocoderSpec) -> StateDict:
    """A state under upstream's names."""
    shapes = {}
    for name, tensor in Generator(spec).state_dict().items():
        shape = tuple(tensor.shape)
        if not name.endswith(".weight") or name.startswith(_PLAIN):
            shapes[name] = shape
        else:
            norm = name.removesuffix("weight") + "parametrizations.weight.original"
            shapes |= {f"{norm}0": (shape[0], 1, 1), f"{norm}1": shape}
    state = random_state_dict(shapes, RandomSource(3, compact=False))
    tame_vocoder(state, 0.0)
    state["conv_post.bias"][:9] -= 1.5
    # An octave or so about the threshold between unvoiced and voiced.
    state["f0_predictor.classifier.weight"] *= 40
    state["f0_predictor.classifier.bias"] += 15
    return state


def random_mel(n_frames: int, seed: int = 0) -> torch.Tensor:
    """Shape (80, n_frames)."""
    mel = np.random.default_rng(seed).standard_normal((80, n_frames))
    return torch.from_numpy(mel.astype(np.float32))
