"""Puts exported, compiled or served parts in the place of the official model's own.

None of this can run without CUDA; `EngineOptions` has seen to it that it is there.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from models.base import ModelError
from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.engine_options import ESTIMATOR_ONNX, EngineOptions, jit_files


def accelerate(model: Any, checkpoint: Checkpoint, options: EngineOptions) -> None:  # noqa: ANN401 - upstream has no types
    """Load what `options` ask for into the official `model`, by its own methods.

    Raises:
        ModelError: a compiled part is missing and cannot be written.
    """
    directory = checkpoint.directory
    if options.vllm:
        _register_with_vllm()
        _check_writable(model_directory := directory / "vllm", "vllm")
        model.load_vllm(str(model_directory))
    if options.jit:
        names = jit_files(checkpoint.version, options.precision)
        model.load_jit(*(str(directory / name) for name in names))
    if options.tensorrt:
        # Upstream's name, so that a plan that is there already is used.
        plan = directory / f"flow.decoder.estimator.{options.precision}.mygpu.plan"
        _check_writable(plan, "tensorrt")
        model.load_trt(
            str(plan),
            str(directory / ESTIMATOR_ONNX),
            options.tensorrt_contexts,
            options.fp16,
        )


def _check_writable(path: Any, option: str) -> None:  # noqa: ANN401
    if not path.exists() and not os.access(path.parent, os.W_OK):
        raise ModelError("failed", f"{option}: {path} is not there and cannot be written")


def _register_with_vllm() -> None:
    """Tell vLLM of upstream's model class; it exports version 2 under that name."""
    registry = importlib.import_module("vllm").ModelRegistry
    model_class = importlib.import_module("cosyvoice.vllm.cosyvoice2").CosyVoice2ForCausalLM
    registry.register_model("CosyVoice2ForCausalLM", model_class)
