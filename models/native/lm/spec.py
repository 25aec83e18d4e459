"""What a checkpoint's language model is: sizes, ids and numbers, checked against its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.sampling import SamplingRule, SpeechVocabulary
from models.native.configuration import Section

BODY = "llm.model.model."
"""Before the names of Qwen2's weights in llm.pt."""
TEXT_TABLE = f"{BODY}embed_tokens.weight"
SPEECH_TABLE = "speech_embedding.weight"
CONTROL_TABLE = "llm_embedding.weight"
"""Version 2's begin and task; version 3 has them in its speech table."""
HEAD = "llm_decoder."

_CLASSES = {2: "Qwen2LM", 3: "CosyVoice3LM"}
_CONTROL_OUTPUTS = {2: 3, 3: 200}
_MIX_PARTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenSizes:
    """A Qwen2 body, as its config.json describes it."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    rope_theta: float
    norm_eps: float
    n_text: int
    """Rows of the text table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRatio:
    """How many tokens take turns where text is streamed."""

    text: int
    speech: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InputIds:
    """One numbering of all that the model reads: text first, then speech and control tokens."""

    n_text: int
    begin: int
    """Upstream's `sos`."""
    task: int
    """Behind the text's end: speech follows."""
    n_inputs: int

    def speech(self, token: int) -> int:
        """The input of a speech token."""
        return self.n_text + token


@dataclass(frozen=True, slots=True, kw_only=True)
class LmSpec:
    """A language model of version 2 or 3."""

    version: int
    body: QwenSizes
    inputs: InputIds
    outputs: SpeechVocabulary
    """What it may choose from; every id from `n_speech` on that is not `fill` ends speech."""
    has_output_bias: bool
    mix: MixRatio
    sampling: SamplingRule


def read_spec(
    checkpoint: Checkpoint, configuration: Section, tensors: Mapping[str, torch.Tensor]
) -> LmSpec:
    """Make out a checkpoint's language model.

    Args:
        checkpoint: of version 2 or 3.
        configuration: its YAML file.
        tensors: of its llm.pt, by `read_tensors`.

    Raises:
        CheckpointError: its files contradict each other, or say what is not supported.
    """
    version = checkpoint.version
    if version not in _CLASSES:
        raise CheckpointError(
            f"{checkpoint.directory}: is of version {version}, and this engine is for 2 and 3"
        )
    llm = configuration.section("llm")
    if llm.class_name != _CLASSES[version]:
        raise CheckpointError(
            f"{checkpoint.yaml_path}: llm is {llm.class_name or 'of no class'}, and version "
            f"{version} has {_CLASSES[version]}"
        )
    body = _read_body(checkpoint.blank_model_path / "config.json")
    n_speech = llm.integer("speech_token_size")
    outputs = SpeechVocabulary.of_version(version, n_speech, n_speech + _CONTROL_OUTPUTS[version])
    spec = LmSpec(
        version=version,
        body=body,
        inputs=_input_ids(version, body.n_text, outputs),
        outputs=outputs,
        has_output_bias=version == 2,  # noqa: PLR2004
        mix=_mix_ratio(llm, checkpoint.yaml_path),
        sampling=_sampling_rule(llm.section("sampling"), checkpoint.yaml_path),
    )
    _check_shapes(spec, tensors, checkpoint.directory / "llm.pt")
    return spec


def _input_ids(version: int, n_text: int, outputs: SpeechVocabulary) -> InputIds:
    n_speech_rows = outputs.n_outputs
    if version == 2:  # noqa: PLR2004
        begin, task, n_rows = n_speech_rows, n_speech_rows + 1, n_speech_rows + 2
    else:
        begin, task, n_rows = outputs.n_speech, outputs.n_speech + 2, n_speech_rows
    return InputIds(
        n_text=n_text, begin=n_text + begin, task=n_text + task, n_inputs=n_text + n_rows
    )


def _mix_ratio(llm: Section, path: Path) -> MixRatio:
    parts = llm.integers("mix_ratio") if llm.has("mix_ratio") else (5, 15)
    if len(parts) != _MIX_PARTS or min(parts) < 1:
        raise CheckpointError(f"{path}: mix_ratio is {list(parts)}, which no turns can have")
    return MixRatio(text=parts[0], speech=parts[1])


def _sampling_rule(sampling: Section, path: Path) -> SamplingRule:
    if sampling.class_name != "ras_sampling":
        raise CheckpointError(
            f"{path}: sampling by {sampling.class_name or 'nothing'} is not known"
        )
    usual = SamplingRule()
    rule = SamplingRule(
        top_p=sampling.number("top_p", usual.top_p),
        top_k=sampling.integer("top_k", usual.top_k),
        win_size=sampling.integer("win_size", usual.win_size),
        tau_r=sampling.number("tau_r", usual.tau_r),
    )
    if rule.top_p <= 0 or rule.top_k < 1 or rule.win_size < 1 or rule.tau_r <= 0:
        raise CheckpointError(f"{path}: nothing can be drawn by {rule}")
    return rule


def _read_body(path: Path) -> QwenSizes:
    try:
        config = json.loads(path.read_bytes())
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: is no configuration of a model; fetch it again")
    for key, expected in (
        ("model_type", "qwen2"),
        ("hidden_act", "silu"),
        ("use_sliding_window", False),
        ("rope_scaling", None),
    ):
        if config.get(key, expected) != expected:
            raise CheckpointError(f"{path}: {key} {config[key]!r} is not supported")
    heads, width = _size(config, "num_attention_heads", path), _size(config, "hidden_size", path)
    kv_heads = _size(config, "num_key_value_heads", path)
    if width % heads or heads % kv_heads or width // heads % 2:
        raise CheckpointError(f"{path}: {heads} and {kv_heads} heads do not fit a width of {width}")
    return QwenSizes(
        layers=_size(config, "num_hidden_layers", path),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=width // heads,
        feed_forward=_size(config, "intermediate_size", path),
        rope_theta=_positive(config, "rope_theta", path),
        norm_eps=_positive(config, "rms_norm_eps", path),
        n_text=_size(config, "vocab_size", path),
    )


def _size(config: Mapping[str, Any], key: str, path: Path) -> int:
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{path}: {key} is {value!r}, and no size; fetch it again")
    return value


def _positive(config: Mapping[str, Any], key: str, path: Path) -> float:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise CheckpointError(f"{path}: {key} is {value!r}, and no number above 0; fetch it again")
    return float(value)


def _check_shapes(spec: LmSpec, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    for name, shape in _shapes(spec).items():
        if name not in tensors:
            raise CheckpointError(f"{path}: lacks {name}; it does not fit the configuration")
        if tuple(tensors[name].shape) != shape:
            raise CheckpointError(
                f"{path}: has {name} {tuple(tensors[name].shape)} instead of {shape}; "
                "it does not fit the configuration"
            )


def _shapes(spec: LmSpec) -> dict[str, tuple[int, ...]]:
    width, n_outputs = spec.body.width, spec.outputs.n_outputs
    shapes: dict[str, tuple[int, ...]] = {
        TEXT_TABLE: (spec.body.n_text, width),
        SPEECH_TABLE: (n_outputs, width),
        f"{BODY}norm.weight": (width,),
        f"{HEAD}weight": (n_outputs, width),
    }
    if spec.has_output_bias:
        shapes[f"{HEAD}bias"] = (n_outputs,)
    if spec.version == 2:  # noqa: PLR2004
        shapes[CONTROL_TABLE] = (2, width)
    for number in range(spec.body.layers):
        for name, shape in _layer_shapes(spec.body).items():
            shapes[f"{BODY}layers.{number}.{name}"] = shape
    return shapes


def _layer_shapes(body: QwenSizes) -> dict[str, tuple[int, ...]]:
    width, n_hidden = body.width, body.feed_forward
    n_query, n_key = body.heads * body.head_size, body.kv_heads * body.head_size
    return {
        "self_attn.q_proj.weight": (n_query, width),
        "self_attn.q_proj.bias": (n_query,),
        "self_attn.k_proj.weight": (n_key, width),
        "self_attn.k_proj.bias": (n_key,),
        "self_attn.v_proj.weight": (n_key, width),
        "self_attn.v_proj.bias": (n_key,),
        "self_attn.o_proj.weight": (width, n_query),
        "mlp.gate_proj.weight": (n_hidden, width),
        "mlp.up_proj.weight": (n_hidden, width),
        "mlp.down_proj.weight": (width, n_hidden),
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
