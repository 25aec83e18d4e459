"""spk2info.pt: the preset voices, in each of the layouts that are found under this name."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch

from models.cosyvoice.byte_pieces import byte_characters
from models.random_checkpoint.variants import Family
from models.random_checkpoint.weights import RandomSource

Layout: TypeAlias = Literal["sft", "zero-shot", "async", "none"]

SFT_NAMES = ("中文女", "中文男", "日语男", "粤语女", "英文女", "英文男", "韩语女")
ZERO_SHOT_NAME = "my_zero_shot_spk"
ASYNC_NAME = "narrator"
TRANSCRIPT = "希望你好。"
_END_OF_PROMPT_ID = 151646


def presets(
    layout: Layout, family: Family, rate: float, source: RandomSource
) -> dict[str, Any] | None:
    """What torch.save writes to spk2info.pt; None for no file, as versions 2 and 3 are released.

    * `sft`: the seven voices of CosyVoice-300M-SFT.
    * `zero-shot`: one voice, as upstream's add_zero_shot_spk and save_spkinfo write it.
    * `async`: one voice, as the project async_cosyvoice writes it.

    Prompts have `rate` speech tokens per text token, so they leave the length of speech as it is.
    """
    if layout == "none":
        return None
    if layout == "sft":
        return {name: {"embedding": source.normal(1, 192)} for name in SFT_NAMES}
    if layout == "zero-shot":
        return {ZERO_SHOT_NAME: _zero_shot(family, rate, source)}
    return {ASYNC_NAME: _async(family, rate, source)}


def _recording(family: Family, rate: float, source: RandomSource) -> dict[str, Any]:
    """Features of a prompt that says `TRANSCRIPT`."""
    text = _byte_tokens(TRANSCRIPT)
    if family == "cosyvoice3":
        text = [*_byte_tokens("You are a helpful assistant."), _END_OF_PROMPT_ID, *text]
    count = round(rate * len(text))
    first = family == "cosyvoice1"
    frames = int(count / 50 * 22050 / 256) if first else 2 * count
    return {
        "text": torch.tensor([text], dtype=torch.int32),
        "speech": source.token_ids(count, 4096 if first else 6561),
        "mel": source.normal(1, frames, 80),
        "embedding": source.normal(1, 192),
    }


def _byte_tokens(text: str) -> list[int]:
    """Token ids byte by byte: every byte-level vocabulary begins with the bytes, in this order."""
    ids = {byte: i for i, byte in enumerate(byte_characters())}
    return [ids[byte] for byte in text.encode()]


def _zero_shot(family: Family, rate: float, source: RandomSource) -> dict[str, Any]:
    recording = _recording(family, rate, source)
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


def _async(family: Family, rate: float, source: RandomSource) -> dict[str, Any]:
    recording = _recording(family, rate, source)
    return {
        "name": ASYNC_NAME,
        "spk_id": ASYNC_NAME,
        "prompt_text": TRANSCRIPT,
        "prompt_text_token": recording["text"],
        "speech_feat": recording["mel"],
        "speech_token": recording["speech"],
        "embedding": recording["embedding"],
    }
