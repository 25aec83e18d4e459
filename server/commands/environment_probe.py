"""Runs under CosyVoice's Python and says what it has: `python -P environment_probe.py [HOME]`.

With an argument, the official package is imported too, in the way that a worker does it; the
argument is the checkout, or empty for an installed package. The answer is JSON on standard output.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

MODULES = (
    *("msgspec", "numpy", "scipy", "soundfile", "librosa", "safetensors", "onnxruntime"),
    *("tokenizers", "tiktoken", "omegaconf", "hyperpyyaml", "einops", "conformer"),
    *("diffusers", "transformers", "yaml"),
)
"""What a worker cannot do without; torch is looked at by itself, torchaudio goes with shims."""
NATIVE_MODULES = ("torch", "msgspec", "numpy", "safetensors", "onnxruntime", "tokenizers", "yaml")
"""Of these, what the native engine needs."""
TOLD = ("torch", "torchaudio", "transformers", "onnxruntime", "numpy", "openai-whisper")
"""Distributions whose versions are told."""


def main() -> None:
    """Look, and print what was found."""
    # Libraries print what they like; it must not get between the braces.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    report: dict[str, Any] = {"python": platform.python_version(), "broken": {}, "versions": {}}
    for module in ("torch", *MODULES):
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a broken library may raise anything at all
            report["broken"][module] = f"{type(error).__name__}: {error}"
    for distribution in TOLD:
        try:
            report["versions"][distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            report["broken"].setdefault(distribution, "it is not installed")
    if "torch" not in report["broken"]:
        torch = importlib.import_module("torch")
        report["cuda_build"] = torch.version.cuda or ""
        report["gpus"] = [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ]
    if len(sys.argv) > 1 and not report["broken"]:
        report["official"] = _official(sys.argv[1])
    json.dump(report, answer)
    answer.close()


def _official(home: str) -> str:
    """Import the official package as a worker does; empty if that works, else why not."""
    try:
        shims = importlib.import_module("models.cosyvoice.shims")
        runtime = importlib.import_module("models.cosyvoice.runtime")
        with shims.quiet_import(), shims.without_text_front_ends():
            runtime.import_package(Path(home) if home else None)
            importlib.import_module("cosyvoice.cli.frontend")
    except Exception as error:  # noqa: BLE001 - it runs whatever the package runs on import
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    main()
