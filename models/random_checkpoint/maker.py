"""Makes a checkpoint directory of a variant with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from models.random_checkpoint.blank_model import write_blank_model
from models.random_checkpoint.configuration import FILE_NAMES, configuration_text
from models.random_checkpoint.length_control import control_length
from models.random_checkpoint.manifest import read_manifest
from models.random_checkpoint.onnx_standins import write_standins
from models.random_checkpoint.presets import Layout, presets
from models.random_checkpoint.variants import VARIANTS, Variant, Variant1
from models.random_checkpoint.weights import (
    RandomSource,
    StateDict,
    legacy_names,
    random_state_dict,
    tame_flow,
    tame_vocoder,
)

_END_IDS = {"cosyvoice2": 6561, "cosyvoice3": 6562}
_FIRST_SPECIAL_ID = 6561
_END_OF_PROMPT_ID = 151646
_PITCH_HZ = 150.0


def make(
    variant: str,
    out: Path | str,
    *,
    seed: int = 0,
    rate: float | None = None,
    spk2info: Layout = "sft",
    tiktoken: Path | str | None = None,
    full_blank_weights: bool | None = None,
    legacy_hift: bool = False,
) -> Path:
    """Write a checkpoint in the official layout.

    Args:
        variant: a key of `VARIANTS`: `cosyvoice1`, `cosyvoice2`, `cosyvoice3`, each also with
            `-tiny`.
        out: the directory; made if absent, files of the same names are overwritten.
        seed: of all random content.
        rate: speech tokens per text token, for versions 2 and 3. By default 8 with `tiktoken`,
            4 for version 3 and 2 for version 2, whose byte tokenizer has more tokens than the real
            one. Version 3 needs more than 3, because upstream does not hold back its end token
            while text and speech are interleaved 5 to 15. Version 1 always speaks as long as
            upstream lets it, 20 tokens per text token.
        spk2info: layout of the preset voices.
        tiktoken: `qwen.tiktoken`, for the real vocabulary of versions 2 and 3.
        full_blank_weights: write the whole CosyVoice-BlankEN/model.safetensors; by default for full
            sizes only.
        legacy_hift: hift.pt under its older names.

    Returns:
        The directory.

    Raises:
        ValueError: no such variant, or an option that this version does not have.
    """
    directory = Path(out)
    chosen = VARIANTS.get(variant)
    if chosen is None:
        raise ValueError(f"unknown variant {variant!r}; there are {', '.join(VARIANTS)}")
    if isinstance(chosen, Variant1) and (rate is not None or tiktoken or full_blank_weights):
        raise ValueError("rate, tiktoken and full_blank_weights are of versions 2 and 3")
    directory.mkdir(parents=True, exist_ok=True)
    source = RandomSource(seed, compact=chosen.tiny)
    manifest = read_manifest(variant)
    tensors = {name: random_state_dict(manifest[name], source) for name in ("llm", "flow", "hift")}
    _control_length(chosen, tensors["llm"], rate or _usual_rate(chosen, tiktoken), source)
    tame_flow(tensors["flow"])
    tame_vocoder(tensors["hift"], _PITCH_HZ)
    if legacy_hift:
        tensors["hift"] = legacy_names(tensors["hift"])
    for name, state_dict in tensors.items():
        torch.save(state_dict, directory / f"{name}.pt")
    write_standins(directory, chosen.family, seed)
    voices = presets(spk2info, chosen.family, source)
    if voices is not None:
        torch.save(voices, directory / "spk2info.pt")
    if not isinstance(chosen, Variant1):
        write_blank_model(
            directory / "CosyVoice-BlankEN",
            chosen.qwen,
            tensors["llm"],
            full_weights=(not chosen.tiny) if full_blank_weights is None else full_blank_weights,
            tiktoken=Path(tiktoken) if tiktoken else None,
            end_of_prompt=chosen.qwen.vocabulary > _END_OF_PROMPT_ID,
        )
    _write_texts(directory, chosen)
    return directory


def _usual_rate(variant: Variant, tiktoken: Path | str | None) -> float:
    if tiktoken:
        return 8.0
    return 4.0 if variant.family == "cosyvoice3" else 2.0


def _control_length(variant: Variant, llm: StateDict, rate: float, source: RandomSource) -> None:
    if isinstance(variant, Variant1):
        llm["llm_decoder.bias"][4096] = -1e4  # never an end
        return
    control_length(
        llm,
        end_id=_END_IDS[variant.family],
        first_special_id=_FIRST_SPECIAL_ID,
        speech_tokens_per_text_token=rate,
        key_value_heads=variant.qwen.key_value_heads,
        source=source,
    )
    if variant.family == "cosyvoice3" and variant.tiny:
        # Upstream needs the id 151646, so this table is the biggest thing in a tiny checkpoint.
        halved = llm["llm.model.model.embed_tokens.weight"].half()
        llm["llm.model.model.embed_tokens.weight"] = llm["llm.model.lm_head.weight"] = halved


def _write_texts(directory: Path, variant: Variant) -> None:
    path = directory / FILE_NAMES[variant.family]
    path.write_text(configuration_text(variant), encoding="utf-8")
    facts = {"framework": "Pytorch", "task": "text-to-speech"}
    (directory / "configuration.json").write_text(json.dumps(facts), encoding="utf-8")
