"""What can be measured: the official package, our server's stream over it, the native engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from unittest import mock

import torch

from models.base import SpeechModel, SynthesisRequest
from models.benchmark.trial import Facts, Speaker
from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.engine_options import EngineOptions
from models.cosyvoice.prompts import make_prompt

Side: TypeAlias = Literal["official", "ours", "native", "native-bf16"]
SIDES: Mapping[Side, str] = {
    "official": "official `tts(stream=True)`",
    "ours": "our server over it",
    "native": "native engine",
    "native-bf16": "native engine, bf16 flow",
}
"""Each with what it is called in a table."""

_RUN_AHEAD_S = 30.0
"""Audio that the native engine computes beyond what is heard: its streams never stand still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What every side is to say, and with what."""

    directory: str
    text: str
    voice: str
    home: str = ""
    """A checkout of the official package; empty for whatever `cosyvoice` can be imported."""
    device: str = "auto"
    slots: int = 1
    """Streams at once, at most."""
    native_options: Mapping[str, Any] = field(default_factory=dict)
    """More of `NativeModel`'s."""


def open_side(side: Side, task: Task) -> Speaker:
    """Load a side, in this process.

    Raises:
        ModelError: what it needs is not there.
    """
    return _OPENERS[side](task)


def _open_official(task: Task) -> Speaker:
    """As the package's own classes call it: `CosyVoice*Model.tts`, with its thread and polling."""
    from models.cosyvoice.runtime import load_official  # noqa: PLC0415 - imports the package

    checkpoint = Checkpoint.open(task.directory)
    options = EngineOptions(home=Path(task.home) if task.home else None, device=task.device)
    options.show_device()
    # What we mend in the loaded model is ours; the official side keeps its own.
    with mock.patch("models.cosyvoice.runtime.install_steps"):
        official = load_official(checkpoint, options)
    voice = checkpoint.speakers[task.voice]
    prompt = make_prompt(checkpoint.version, checkpoint.variant, voice, text=task.text).text
    embedding = torch.from_numpy(voice.embedding.copy())[None]
    ids, prompt_ids = (
        torch.tensor([official.text_tokens(text) if text else []], dtype=torch.int32)
        for text in (task.text, prompt)
    )

    def speak(seed: int) -> Iterator[int]:  # noqa: ARG001 - the package has one source for all
        for output in official.model.tts(
            text=ids,
            prompt_text=prompt_ids,
            llm_embedding=embedding,
            flow_embedding=embedding,
            stream=True,
        ):
            yield output["tts_speech"].shape[1]

    return Speaker(
        speak=speak,
        sample_rate_hz=official.sample_rate_hz,
        warm_up=None,
        close=lambda: None,
        facts=lambda: _facts(official.device, "float32"),
    )


def _open_ours(task: Task) -> Speaker:
    from models.cosyvoice.model import CosyVoiceModel  # noqa: PLC0415 - imports the package

    model = CosyVoiceModel(
        directory=task.directory, home=task.home or None, device=task.device, slots=task.slots
    )
    return _speaker(model, task, "float32")


def _open_native(task: Task, *, bf16: bool = False) -> Speaker:
    from models.native.model import NativeModel  # noqa: PLC0415 - beside the others' modules

    options = {"run_ahead_s": _RUN_AHEAD_S, "slots": task.slots, **task.native_options}
    model = NativeModel(directory=task.directory, device=task.device, **{**options, "bf16": bf16})
    precision = "float32, the flow's estimator bfloat16" if bf16 else "float32"
    return _speaker(model, task, precision)


def _speaker(model: SpeechModel, task: Task, precision: str) -> Speaker:
    def speak(seed: int) -> Iterator[int]:
        request = SynthesisRequest(voice=task.voice, seed=seed)
        for chunk in model.synthesize(request, task.text):
            yield len(chunk.samples)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Speaker(
        speak=speak,
        sample_rate_hz=model.sample_rate_hz,
        warm_up=model.warm_up,
        close=model.close,
        facts=lambda: _facts(device, precision),
    )


def _facts(device: torch.device, precision: str) -> Facts:
    on_cuda = device.type == "cuda"
    if on_cuda:
        rounded = [
            name
            for name, backend in (
                ("matrix products", torch.backends.cuda.matmul),
                ("convolutions", torch.backends.cudnn),
            )
            if backend.allow_tf32
        ]
        precision += f", TF32 in {' and '.join(rounded)}" if rounded else ", without TF32"
    return Facts(
        torch=str(torch.__version__),
        device=torch.cuda.get_device_name(device) if on_cuda else "cpu",
        threads=torch.get_num_threads(),
        precision=precision,
        gpu_memory_mib=torch.cuda.max_memory_reserved(device) / (1 << 20) if on_cuda else None,
    )


_OPENERS: Mapping[Side, Callable[[Task], Speaker]] = {
    "official": _open_official,
    "ours": _open_ours,
    "native": _open_native,
    "native-bf16": lambda task: _open_native(task, bf16=True),
}
