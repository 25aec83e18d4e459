"""How the official model is to be run, and what of it cannot be.

Upstream switches off what a machine without CUDA cannot do and goes on; an operator who asked for
it would never know. Here it is refused.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from models.base import ModelError
from models.cosyvoice.checkpoint import Checkpoint

ESTIMATOR_ONNX = "flow.decoder.estimator.fp32.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What the operator chose; see `CosyVoiceModel`."""

    home: Path | None = None
    device: str = "auto"
    fp16: bool = False
    tensorrt: bool = False
    tensorrt_contexts: int = 1
    vllm: bool = False
    jit: bool = False

    @property
    def precision(self) -> str:
        """As the names of exported files have it."""
        return "fp16" if self.fp16 else "fp32"

    @property
    def needs_cuda(self) -> list[str]:
        """The chosen options that upstream has on CUDA only."""
        names = ("fp16", "tensorrt", "vllm", "jit")
        return [name for name in names if getattr(self, name)]

    def check_values(self) -> None:
        """See that the options are in range and fit together.

        Raises:
            ValueError: they are not.
        """
        if self.device not in ("auto", "cpu", "cuda") and not _cuda_index(self.device):
            raise ValueError(f"device {self.device!r}: expected auto, cpu, cuda or cuda:N")
        if self.tensorrt_contexts < 1:
            raise ValueError(f"tensorrt_contexts {self.tensorrt_contexts}: at least 1")
        if self.tensorrt_contexts > 1 and not self.tensorrt:
            raise ValueError("tensorrt_contexts is of use with tensorrt only")
        if self.device == "cpu" and self.needs_cuda:
            raise ValueError(f"{', '.join(self.needs_cuda)} cannot run on device 'cpu'")

    def check_machine(self, checkpoint: Checkpoint, *, cuda: bool) -> None:
        """See that the machine, the checkpoint and the environment have what the options need.

        Args:
            checkpoint: the model's.
            cuda: torch sees a CUDA device.

        Raises:
            ModelError: `unsupported`, the version or the machine lacks it; `failed`, a file or a
                package is missing.
        """
        if not cuda and (self.needs_cuda or self.device.startswith("cuda")):
            wishes = ", ".join(self.needs_cuda) or f"device {self.device!r}"
            raise ModelError("unsupported", f"{wishes}: torch sees no CUDA device here")
        if self.vllm and checkpoint.version == 1:
            raise ModelError("unsupported", "vllm: version 1's language model does not run in it")
        if self.jit:
            self._check_files(checkpoint, "jit", jit_files(checkpoint.version, self.precision))
        if self.tensorrt:
            _check_package("tensorrt")
            self._check_files(checkpoint, "tensorrt", (ESTIMATOR_ONNX,))
        if self.vllm:
            _check_package("vllm")

    def _check_files(self, checkpoint: Checkpoint, option: str, names: tuple[str, ...]) -> None:
        missing = [name for name in names if not (checkpoint.directory / name).is_file()]
        if missing:
            raise ModelError(
                "failed", f"{option}: {checkpoint.directory} lacks {', '.join(missing)}"
            )

    def show_device(self) -> None:
        """Let this process see the chosen device only; before torch has looked for one.

        Upstream takes CUDA's current device wherever there is one, thread by thread, so this is the
        only place where it can be told another.
        """
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if self.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        elif index := _cuda_index(self.device):
            devices = [name.strip() for name in visible.split(",")] if visible else None
            if devices is None:
                os.environ["CUDA_VISIBLE_DEVICES"] = index
            elif int(index) < len(devices):
                os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(index)]
            else:
                raise ValueError(f"device {self.device!r}: CUDA_VISIBLE_DEVICES shows {visible}")


def jit_files(version: int, precision: str) -> tuple[str, ...]:
    """The exported parts that upstream loads, in the order in which it takes them.

    Raises:
        ModelError: `unsupported`, version 3 has none.
    """
    if version not in (1, 2):
        raise ModelError("unsupported", f"jit: version {version} has no exported parts")
    parts = ("llm.text_encoder", "llm.llm", "flow.encoder") if version == 1 else ("flow.encoder",)
    return tuple(f"{part}.{precision}.zip" for part in parts)


def _cuda_index(device: str) -> str:
    kind, _, index = device.partition(":")
    return index if kind == "cuda" and index.isdecimal() else ""


def _check_package(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise ModelError("failed", f"{name}: the package is not installed in this environment")
