"""CosyVoice-BlankEN: the directory with the tokenizer and the sizes of the Qwen2 body."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models.cosyvoice.byte_pieces import byte_characters
from models.random_checkpoint.variants import Qwen
from models.random_checkpoint.weights import StateDict

_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def write_blank_model(
    directory: Path,
    qwen: Qwen,
    llm: StateDict,
    *,
    full_weights: bool,
    tiktoken: Path | None,
    end_of_prompt: bool,
) -> None:
    """Write the directory.

    Args:
        directory: is made.
        qwen: its sizes.
        llm: state dict of llm.pt.
        full_weights: write the body's tensors in bfloat16 as the real one has them. llm.pt
            overwrites each, so one small tensor does as well (transformers warns of the rest).
        tiktoken: a rank file (`qwen.tiktoken`) with the real vocabulary; without it each byte of
            UTF-8 is a token.
        end_of_prompt: name `<|endofprompt|>` in the byte tokenizer, right after the specials.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "config.json", _body_config(qwen))
    _write_json(directory / "generation_config.json", _generation_config(qwen.first_special))
    prefix = "llm.model."
    tensors = {"model.norm.weight": torch.ones(qwen.hidden_size, dtype=torch.bfloat16)}
    if full_weights:
        tensors = {
            name.removeprefix(prefix): tensor.to(torch.bfloat16).contiguous()
            for name, tensor in llm.items()
            if name.startswith(f"{prefix}model.")
        }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    specials = {token: qwen.first_special + i for i, token in enumerate(_SPECIALS)}
    if tiktoken is not None:
        vocabulary, merges = _read_ranks(tiktoken)
    else:
        if end_of_prompt:
            specials["<|endofprompt|>"] = qwen.first_special + len(specials)
        # Specials that stand in the vocabulary itself keep the ids given to them.
        vocabulary = {**{c: i for i, c in enumerate(byte_characters().values())}, **specials}
        merges = []
    _write_tokenizer(directory, vocabulary, merges, specials)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")


def _body_config(qwen: Qwen) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": qwen.first_special,
        "eos_token_id": qwen.first_special + 2,
        "hidden_act": "silu",
        "hidden_size": qwen.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": qwen.intermediate_size,
        "max_position_embeddings": 32768,
        "max_window_layers": 24,
        "model_type": "qwen2",
        "num_attention_heads": qwen.attention_heads,
        "num_hidden_layers": qwen.layers,
        "num_key_value_heads": qwen.key_value_heads,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": qwen.vocabulary,
    }


def _generation_config(first_special: int) -> dict[str, Any]:
    return {
        "bos_token_id": first_special,
        "do_sample": True,
        "eos_token_id": [first_special + 2, first_special],
        "pad_token_id": first_special,
        "repetition_penalty": 1.1,
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.8,
        "transformers_version": "4.37.0",
    }


def _write_tokenizer(
    directory: Path,
    vocabulary: Mapping[str, int],
    merges: Sequence[str],
    specials: Mapping[str, int],
) -> None:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = {
        str(token_id): {"content": token, **flags, "special": True}
        for token, token_id in specials.items()
    }
    text = json.dumps(vocabulary, ensure_ascii=False)
    (directory / "vocab.json").write_text(text, encoding="utf-8")
    lines = "".join(f"{merge}\n" for merge in ("#version: 0.2", *merges))
    (directory / "merges.txt").write_text(lines, encoding="utf-8")
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 32768,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    _write_json(directory / "tokenizer_config.json", config)


def _read_ranks(path: Path) -> tuple[dict[str, int], list[str]]:
    """A tiktoken rank file as the vocabulary and merges of vocab.json and merges.txt."""
    pairs = [line.split() for line in path.read_bytes().splitlines() if line.strip()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    characters = byte_characters()
    vocabulary, merges = {}, []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        vocabulary["".join(characters[byte] for byte in token)] = rank
        parts = _merge(token, ranks, rank)
        if len(parts) == 2:  # noqa: PLR2004 - a merge joins two
            merges.append(" ".join("".join(characters[b] for b in part) for part in parts))
    return vocabulary, merges


def _merge(token: bytes, ranks: Mapping[bytes, int], below_rank: int) -> list[bytes]:
    """The parts that `token` consists of before the merge of `below_rank` makes it whole."""
    parts = [bytes([byte]) for byte in token]
    while True:
        joined = [ranks.get(a + b, below_rank) for a, b in itertools.pairwise(parts)]
        rank = min(joined, default=below_rank)
        if rank >= below_rank:
            return parts
        i = joined.index(rank)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
