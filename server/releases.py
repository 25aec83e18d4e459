"""The official CosyVoice checkpoints: what we call each, where hubs keep it, what we need of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Hub: TypeAlias = Literal["modelscope", "huggingface"]

_EVERY_VERSION = ("llm.pt", "flow.pt", "hift.pt", "campplus.onnx", "spk2info.pt")
TENSORRT_FILES = ("flow.decoder.estimator.fp32.onnx",)
"""Read by the option `tensorrt` only."""


@dataclass(frozen=True, slots=True)
class Release:
    """One official checkpoint.

    Hub repositories and file names are those of the official README and loader; sizes are sums
    of the needed files as published, rounded up, for the check of free disk space.
    """

    name: str
    """What `cosystream download` and `serve --model` call it."""
    title: str
    modelscope: str
    huggingface: str
    files: tuple[str, ...]
    """Glob patterns of the files that every use needs."""
    jit_files: tuple[str, ...]
    """Patterns of what the option `jit` reads, of which version 3 has none."""
    size_bytes: int
    speaks_at_once: bool
    """It brings voices of its own."""

    def repository(self, hub: Hub) -> str:
        """Its name on a hub."""
        return self.modelscope if hub == "modelscope" else self.huggingface


def _version_1(name: str, title: str) -> Release:
    files = ("cosyvoice.yaml", "speech_tokenizer_v1.onnx", *_EVERY_VERSION)
    repository = title
    return Release(
        name=name,
        title=title,
        modelscope=f"iic/{repository}",
        huggingface=f"FunAudioLLM/{repository}",
        files=files,
        jit_files=("flow.encoder.*.zip", "llm.llm.*.zip", "llm.text_encoder.*.zip"),
        size_bytes=2_600_000_000,
        speaks_at_once=name != "cosyvoice-300m",
    )


RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        Release(
            name="cosyvoice2",
            title="CosyVoice2-0.5B",
            modelscope="iic/CosyVoice2-0.5B",
            huggingface="FunAudioLLM/CosyVoice2-0.5B",
            files=(
                *("cosyvoice2.yaml", "speech_tokenizer_v2.onnx", *_EVERY_VERSION),
                "CosyVoice-BlankEN/*",
            ),
            jit_files=("flow.encoder.*.zip",),
            size_bytes=4_300_000_000,
            speaks_at_once=False,
        ),
        Release(
            name="cosyvoice3",
            title="Fun-CosyVoice3-0.5B",
            modelscope="FunAudioLLM/Fun-CosyVoice3-0.5B-2512",
            huggingface="FunAudioLLM/Fun-CosyVoice3-0.5B-2512",
            files=(
                *("cosyvoice3.yaml", "speech_tokenizer_v3.onnx", *_EVERY_VERSION),
                "CosyVoice-BlankEN/*",
            ),
            jit_files=(),
            size_bytes=5_800_000_000,
            speaks_at_once=False,
        ),
        _version_1("cosyvoice-300m", "CosyVoice-300M"),
        _version_1("cosyvoice-300m-sft", "CosyVoice-300M-SFT"),
        _version_1("cosyvoice-300m-instruct", "CosyVoice-300M-Instruct"),
    )
}
"""By name."""
