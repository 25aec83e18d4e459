"""Makes a checkpoint directory of a variant with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from models.random_checkpoint.blank_model import write_blank_model
from models.random_checkpoint.configuration import FILE_NAMES, configuration_text
from models.random_checkpoint.length_control import control_length
from models.random_checkpoint.manifest import read_manifest
from models.random_checkpoint.onnx_standins import write_standins
from models.random_checkpoint.presets import Layout, presets
from models.random_checkpoint.transformer_length_control import control_transformer_length
from models.random_checkpoint.variants import VARIANTS, Variant, Variant1
from models.random_checkpoint.weights import (
    RandomSource,
    StateDict,
    legacy_names,
    random_state_dict,
    tame_flow,
    tame_vocoder,
)

_END_ID_1 = 4096
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
    training_keys: bool = False,
) -> Path:
    """Write a checkpoint in the official layout.

    Args:
        variant: a key of `VARIANTS`: `cosyvoice1`, `cosyvoice2`, `cosyvoice3`, each also with
            `-tiny`.
        out: the directory; made if absent, files of the same names are overwritten.
        seed: of all random content.
        rate: speech tokens per text token, exact in float32. By default 8 with `tiktoken`, 4 for
            version 3 and 2 for version 2, whose byte tokenizer has more tokens than the real one.
            Version 1 by default never ends by itself, and upstream ends it after 20. A prompt's
            speech tokens count too. Below 2, upstream holds the end back. Version 3 needs more than
            3, because upstream does not hold it back while text and speech are interleaved 5 to 15.
        spk2info: layout of the preset voices.
        tiktoken: `qwen.tiktoken`, for the real vocabulary of versions 2 and 3.
        full_blank_weights: write the whole CosyVoice-BlankEN/model.safetensors; by default for full
            sizes only.
        legacy_hift: hift.pt under its older names.
        training_keys: in the YAML file, as released ones have them; see `training_keys`.

    Returns:
        The directory.

    Raises:
        ValueError: no such variant, or an option that this version does not have.
    """
    directory = Path(out)
    chosen = VARIANTS.get(variant)
    if chosen is None:
        raise ValueError(f"unknown variant {variant!r}; there are {', '.join(VARIANTS)}")
    if isinstance(chosen, Variant1) and (tiktoken or full_blank_weights is not None):
        raise ValueError("tiktoken and full_blank_weights are of versions 2 and 3")
    if rate is not None and rate <= 0:
        raise ValueError(f"rate {rate}: more than 0")
    usual_rate = _usual_rate(chosen, tiktoken)
    directory.mkdir(parents=True, exist_ok=True)
    source = RandomSource(seed, compact=chosen.tiny)
    manifest = read_manifest(variant)
    tensors = {name: random_state_dict(manifest[name], source) for name in ("llm", "flow", "hift")}
    _control_length(chosen, tensors["llm"], rate, usual_rate, source)
    tame_flow(tensors["flow"])
    tame_vocoder(tensors["hift"], _PITCH_HZ)
    if legacy_hift:
        tensors["hift"] = legacy_names(tensors["hift"])
    for name, state_dict in tensors.items():
        torch.save(state_dict, directory / f"{name}.pt")
    write_standins(directory, chosen.family, seed)
    _write_presets(directory, presets(spk2info, chosen.family, rate or usual_rate, source))
    if not isinstance(chosen, Variant1):
        write_blank_model(
            directory / "CosyVoice-BlankEN",
            chosen.qwen,
            tensors["llm"],
            full_weights=(not chosen.tiny) if full_blank_weights is None else full_blank_weights,
            tiktoken=Path(tiktoken) if tiktoken else None,
            end_of_prompt=chosen.qwen.vocabulary > _END_OF_PROMPT_ID,
        )
    _write_texts(directory, chosen, training=training_keys)
    return directory


def _usual_rate(variant: Variant, tiktoken: Path | str | None) -> float:
    if tiktoken:
        return 8.0
    return {"cosyvoice1": 20.0, "cosyvoice2": 2.0, "cosyvoice3": 4.0}[variant.family]


def _control_length(
    variant: Variant, llm: StateDict, rate: float | None, usual_rate: float, source: RandomSource
) -> None:
    if isinstance(variant, Variant1):
        if rate is None:
            llm["llm_decoder.bias"][_END_ID_1] = -1e4
            return
        control_transformer_length(llm, speech_tokens_per_text_token=rate, heads=variant.lm.heads)
        return
    control_length(
        llm,
        end_id=_END_IDS[variant.family],
        first_special_id=_FIRST_SPECIAL_ID,
        speech_tokens_per_text_token=usual_rate if rate is None else rate,
        key_value_heads=variant.qwen.key_value_heads,
        source=source,
    )
    if variant.family == "cosyvoice3" and variant.tiny:
        # Upstream needs the id 151646, so this table is the biggest thing in a tiny checkpoint.
        halved = llm["llm.model.model.embed_tokens.weight"].half()
        llm["llm.model.model.embed_tokens.weight"] = llm["llm.model.lm_head.weight"] = halved


def _write_presets(directory: Path, voices: dict[str, Any] | None) -> None:
    path = directory / "spk2info.pt"
    if voices is None:
        path.unlink(missing_ok=True)
    else:
        torch.save(voices, path)


def _write_texts(directory: Path, variant: Variant, *, training: bool) -> None:
    path = directory / FILE_NAMES[variant.family]
    path.write_text(configuration_text(variant, training=training), encoding="utf-8")
    facts = {"framework": "Pytorch", "task": "text-to-speech"}
    (directory / "configuration.json").write_text(json.dumps(facts), encoding="utf-8")
