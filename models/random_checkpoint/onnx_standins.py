"""Stand-ins for the two ONNX files: right signatures, deterministic, dependent on the content.

Upstream names their inputs by position. They cost next to nothing to run, unlike the real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.random_checkpoint.variants import Family

_TOKENIZERS: dict[Family, tuple[str, int, int]] = {
    "cosyvoice1": ("speech_tokenizer_v1.onnx", 2, 4096),
    "cosyvoice2": ("speech_tokenizer_v2.onnx", 4, 6561),
    "cosyvoice3": ("speech_tokenizer_v3.onnx", 4, 6561),
}
"""File, mel frames (10 ms) per token, vocabulary."""


def write_standins(directory: Path, family: Family, seed: int) -> None:
    """Write campplus.onnx and the speech tokenizer of a version."""
    random = np.random.default_rng(seed)
    onnx.save(_speaker_encoder(random), directory / "campplus.onnx")
    file_name, frames_per_token, vocabulary = _TOKENIZERS[family]
    onnx.save(_tokenizer(random, frames_per_token, vocabulary), directory / file_name)


def _speaker_encoder(random: np.random.Generator) -> onnx.ModelProto:
    """(batch, frames, 80) float32 to (batch, 192): the mean magnitude of each band, mixed."""
    weights = random.normal(0, 0.3, (80, 192)).astype(np.float32)
    node = helper.make_node
    return _model(
        [
            node("Abs", ["input"], ["magnitude"]),
            node("ReduceMean", ["magnitude"], ["mean"], axes=[1], keepdims=0),
            node("MatMul", ["mean", "weights"], ["output"]),
        ],
        [_value("input", TensorProto.FLOAT, ["B", "T", 80])],
        [_value("output", TensorProto.FLOAT, ["B", 192])],
        {"weights": weights},
    )


def _tokenizer(
    random: np.random.Generator, frames_per_token: int, vocabulary: int
) -> onnx.ModelProto:
    """Log mel (1, 128, frames) float32 and its length (1,) int32 to indices (1, tokens) int32.

    A hash of the frames of each token: a random projection, scaled up, modulo the vocabulary.
    """
    kernel = random.normal(0, 1, (1, 128, frames_per_token)).astype(np.float32)
    constants: dict[str, npt.NDArray[Any]] = {
        "kernel": kernel,
        "channel": np.array([1], np.int64),
        "scale": np.array(977, np.float32),
        "vocabulary": np.array(vocabulary, np.float32),
        "zero": np.array([0], np.int32),
    }
    window = {"kernel_shape": [frames_per_token], "strides": [frames_per_token]}
    node = helper.make_node
    return _model(
        [
            node("Conv", ["feats", "kernel"], ["projected"], **window),
            node("Squeeze", ["projected", "channel"], ["row"]),
            node("Abs", ["row"], ["magnitude"]),
            node("Mul", ["magnitude", "scale"], ["scaled"]),
            node("Mod", ["scaled", "vocabulary"], ["rest"], fmod=1),
            node("Cast", ["rest"], ["ids"], to=TensorProto.INT32),
            # The length is an input, so something has to use it.
            node("Mul", ["feats_length", "zero"], ["nothing"]),
            node("Add", ["ids", "nothing"], ["indices"]),
        ],
        [
            _value("feats", TensorProto.FLOAT, [1, 128, "T"]),
            _value("feats_length", TensorProto.INT32, [1]),
        ],
        [_value("indices", TensorProto.INT32, [1, "N"])],
        constants,
    )


def _value(name: str, kind: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, npt.NDArray[Any]],
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "standin", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model
