"""spk2info.pt: the preset voices, in each of the layouts that are found under this name."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch

from models.random_checkpoint.variants import Family
from models.random_checkpoint.weights import RandomSource

Layout: TypeAlias = Literal["sft", "zero-shot", "async", "none"]

SFT_NAMES = ("中文女", "中文男", "日语男", "粤语女", "英文女", "英文男", "韩语女")
ZERO_SHOT_NAME = "my_zero_shot_spk"
ASYNC_NAME = "narrator"
_END_OF_PROMPT_ID = 151646
_SPEECH_TOKENS = 50


def presets(layout: Layout, family: Family, source: RandomSource) -> dict[str, Any] | None:
    """What torch.save writes to spk2info.pt; None for no file, as versions 2 and 3 are released.

    * `sft`: the seven voices of CosyVoice-300M-SFT.
    * `zero-shot`: one voice, as upstream's add_zero_shot_spk and save_spkinfo write it.
    * `async`: one voice, as the project async_cosyvoice writes it.
    """
    if layout == "none":
        return None
    if layout == "sft":
        return {name: {"embedding": source.normal(1, 192)} for name in SFT_NAMES}
    if layout == "zero-shot":
        return {ZERO_SHOT_NAME: _zero_shot(family, source)}
    return {ASYNC_NAME: _async(family, source)}


def _recording(family: Family, source: RandomSource) -> dict[str, Any]:
    """Features of a prompt of one or two seconds."""
    text = source.token_ids(20, 256)
    if family == "cosyvoice3":  # upstream insists on the end of its own prompt in each text
        end = torch.tensor([[_END_OF_PROMPT_ID]], dtype=torch.int32)
        text = torch.cat([end, text], dim=1)
    first = family == "cosyvoice1"
    frames = int(_SPEECH_TOKENS / 50 * 22050 / 256) if first else 2 * _SPEECH_TOKENS
    return {
        "text": text,
        "speech": source.token_ids(_SPEECH_TOKENS, 4096 if first else 6561),
        "mel": source.normal(1, frames, 80),
        "embedding": source.normal(1, 192),
    }


def _zero_shot(family: Family, source: RandomSource) -> dict[str, Any]:
    recording = _recording(family, source)
    fields = {
        "prompt_text": recording["text"],
        "llm_prompt_speech_token": recording["speech"],
        "flow_prompt_speech_token": recording["speech"],
        "prompt_speech_feat": recording["mel"],
    }
    lengths = {
        f"{name}_len": torch.tensor([tensor.shape[1]], dtype=torch.int32)
        for name, tensor in fields.items()
    }
    embedding = recording["embedding"]
    return {**fields, **lengths, "llm_embedding": embedding, "flow_embedding": embedding}


def _async(family: Family, source: RandomSource) -> dict[str, Any]:
    recording = _recording(family, source)
    return {
        "name": ASYNC_NAME,
        "spk_id": ASYNC_NAME,
        "prompt_text": "希望你以后能够做的比我还好呦。",
        "prompt_text_token": recording["text"],
        "speech_feat": recording["mel"],
        "speech_token": recording["speech"],
        "embedding": recording["embedding"],
    }
