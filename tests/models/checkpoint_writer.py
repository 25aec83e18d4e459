"""Checkpoint directories that have everything but content, written without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from torch_writer import Archive

from models.random_checkpoint.configuration import FILE_NAMES, configuration_text
from models.random_checkpoint.manifest import read_manifest
from models.random_checkpoint.variants import VARIANTS

ONNX = b"\x08\x08\x12\x04test"


def write_weights(path: Path, variant: str, file: str, *, prefix: str = "") -> None:
    """llm.pt, flow.pt or hift.pt of a variant, with storages of one number."""
    archive = Archive()
    shapes = read_manifest(variant)[file]
    archive.write(path, {prefix + name: archive.constant(shape) for name, shape in shapes.items()})


def write_checkpoint(directory: Path, version: int, variant: str = "") -> Path:
    """A checkpoint of a version; `variant` for another size than tiny."""
    name = variant or f"cosyvoice{version}-tiny"
    sizes = VARIANTS[name]
    directory.mkdir(parents=True)
    (directory / FILE_NAMES[sizes.family]).write_text(configuration_text(sizes), encoding="utf-8")
    for file in ("llm", "flow", "hift"):
        write_weights(directory / f"{file}.pt", name, file)
    for file in ("campplus", f"speech_tokenizer_v{version}"):
        (directory / f"{file}.onnx").write_bytes(ONNX)
    if version != 1:
        _write_blank_model(directory / "CosyVoice-BlankEN", sizes.qwen)
    return directory


def _write_blank_model(directory: Path, qwen: object) -> None:
    directory.mkdir()
    config = {"vocab_size": qwen.vocabulary, "hidden_size": qwen.hidden_size}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer_config.json").write_text("{}")
    (directory / "vocab.json").write_text(json.dumps({"h": 71, "i": 72, "Ġ": 220, "<|x|>": 9}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(4)
    (directory / "model.safetensors").write_bytes(content)


def embedding(seed: int = 0) -> np.ndarray:
    """(1, 192) float32."""
    return np.random.default_rng(seed).standard_normal((1, 192)).astype(np.float32)


def write_speakers(path: Path, voices: dict[str, dict[str, object]]) -> None:
    """spk2info.pt; arrays become tensors."""
    archive = Archive()
    content = {
        name: {
            key: archive.tensor(value) if isinstance(value, np.ndarray) else value
            for key, value in fields.items()
        }
        for name, fields in voices.items()
    }
    archive.write(path, content)
