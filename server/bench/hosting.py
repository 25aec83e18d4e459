"""A CosyVoice model under test: its weights, the server that hosts it, what is to be said of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.bench.neural import NeuralPython
from server.bench.weights import Weights, random_weights
from server.commands.bench_options import ModelOptions
from server.commands.failure import CommandError

MODEL_NAME = "bench"
START_TIMEOUT_S = 1800.0
"""Weights are read, and warm-up may make graphs for all shapes."""
_MOST_SLOTS_WITHOUT_GPU = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """What a server is started with."""

    python: NeuralPython
    weights: Weights
    engine: str
    model_options: Mapping[str, Any]
    home: Path | None = None
    """The official package's checkout, where it is measured or hosted."""

    @property
    def environment(self) -> dict[str, str]:
        """Settings of the server."""
        model = {
            "name": MODEL_NAME,
            "kind": str(self.weights.directory),
            "options": {**self.model_options, "engine": self.engine},
        }
        return {
            "COSYSTREAM_MODELS": json.dumps([model]),
            "COSYSTREAM_WORKER_START_TIMEOUT_S": str(START_TIMEOUT_S),
        }

    def conditions(self) -> Iterator[tuple[str, str]]:
        """What has to be said beside its figures."""
        report = self.python.report
        gpus = ", ".join(report.gpus) or "none that torch sees"
        build = f"built for CUDA {report.cuda_build}" if report.cuda_build else "built without CUDA"
        threads = os.environ.get("OMP_NUM_THREADS", "not set")
        options = ", ".join(f"{name}={value}" for name, value in self.model_options.items())
        tf32 = "without TF32" if self.engine == "native" else "TF32 as torch has it by default"
        precision = f"float32, {tf32}"
        if self.model_options.get("bf16"):
            precision += ", the flow's estimator in bfloat16"
        if self.model_options.get("fp16"):
            precision = "float16"
        yield "engine", f"{self.engine}, options: {options or 'as by default'}"
        yield "precision", precision
        yield "torch", f"{report.versions.get('torch', 'unknown')}, {build}, GPUs: {gpus}"
        yield "threads of a worker", f"OMP_NUM_THREADS {threads}"
        yield "weights", self.weights.description


def find_hosting(
    options: ModelOptions, *, slots: int | None, say: Callable[[str], None]
) -> Hosting | None:
    """Make ready what is to be hosted; None for what the server has by itself.

    Args:
        options: what was asked for.
        slots: that the model needs, if the options do not say.
        say: takes lines for people.

    Raises:
        CommandError: a part of it is missing; says how to get it.
    """
    if options.model == "embedded":
        return None
    python = NeuralPython.find()
    needs_package = options.model == "official" or options.against is not None
    home = python.official_home() if needs_package else None
    model_options = options.hosted_options()
    if slots is not None:
        if not python.has_gpu:
            slots = min(slots, _MOST_SLOTS_WITHOUT_GPU)
        model_options.setdefault("slots", slots)
    return Hosting(
        python=python,
        weights=_weights(options, python, say),
        engine=options.model,
        model_options=model_options,
        home=home,
    )


def _weights(options: ModelOptions, python: NeuralPython, say: Callable[[str], None]) -> Weights:
    if options.checkpoint is not None:
        directory = options.checkpoint.expanduser().absolute()
        if not directory.is_dir():
            raise CommandError(f"--checkpoint {directory}: there is no such directory")
        return Weights(directory=directory, description=f"of {directory}")
    assert options.random is not None  # noqa: S101 - `ModelOptions.check`
    return random_weights(
        python, options.random, options.version, vocabulary=options.vocabulary, say=say
    )
