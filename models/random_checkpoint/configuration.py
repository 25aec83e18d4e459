"""The YAML file of a checkpoint: which classes upstream builds, with which sizes.

Classes and keys are those that upstream's loader reads and its example configurations name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.random_checkpoint.modules import (
    causal_flow_keys,
    estimator_chunks,
    flow_encoder,
    flow_keys,
    matching,
    mel,
    sampling,
    transformer,
    unet,
    vocoder,
)
from models.random_checkpoint.training_keys import training_keys
from models.random_checkpoint.variants import (
    Family,
    Variant,
    Variant1,
    Variant2,
    Variant3,
)
from models.random_checkpoint.yaml_nodes import Raw, Tagged, name, new, ref, yaml_text

FILE_NAMES: Mapping[Family, str] = {
    "cosyvoice1": "cosyvoice.yaml",
    "cosyvoice2": "cosyvoice2.yaml",
    "cosyvoice3": "cosyvoice3.yaml",
}


def configuration_text(variant: Variant, *, training: bool = False) -> str:
    """The text of a variant's YAML file, with or without the keys of training."""
    if isinstance(variant, Variant1):
        keys = _version1(variant)
    elif isinstance(variant, Variant2):
        keys = _version2(variant)
    else:
        keys = _version3(variant)
    if training:
        window, hop = (1024, 256) if variant.family == "cosyvoice1" else (1920, 480)
        keys = {**keys, **training_keys(window, hop)}
    return yaml_text(keys)


def _head(sample_rate_hz: int) -> dict[str, Any]:
    seeds = ("random.seed", "numpy.random.seed", "torch.manual_seed", "torch.cuda.manual_seed_all")
    keys: dict[str, Any] = {
        f"__set_seed{i}": Raw(f"!apply:{seed} [1986]") for i, seed in enumerate(seeds, start=1)
    }
    return {**keys, "sample_rate": sample_rate_hz, "spk_embed_dim": 192}


def _version1(variant: Variant1) -> dict[str, Any]:
    size = variant.lm.size
    attention = {"pos_enc_layer_type": "rel_pos_espnet", "selfattention_layer_type": "rel_selfattn"}
    dropout = {
        "dropout_rate": 0.1,
        "positional_dropout_rate": 0.1,
        "attention_dropout_rate": 0.0,
    }
    return {
        **_head(22050),
        "text_encoder_input_size": variant.text_input_size,
        "llm_input_size": size,
        "llm_output_size": size,
        "llm": new(
            "cosyvoice.llm.llm.TransformerLM",
            text_encoder_input_size=ref("<text_encoder_input_size>"),
            llm_input_size=ref("<llm_input_size>"),
            llm_output_size=ref("<llm_output_size>"),
            text_token_size=variant.text_vocabulary,
            speech_token_size=4096,
            length_normalized_loss=True,
            lsm_weight=0,
            spk_embed_dim=ref("<spk_embed_dim>"),
            text_encoder=new(
                "cosyvoice.transformer.encoder.ConformerEncoder",
                input_size=ref("<text_encoder_input_size>"),
                **transformer(variant.text_encoder),
                **dropout,
                normalize_before=True,
                input_layer="linear",
                **attention,
                use_cnn_module=False,
                macaron_style=False,
                use_dynamic_chunk=False,
                use_dynamic_left_chunk=False,
                static_chunk_size=1,
            ),
            llm=new(
                "cosyvoice.transformer.encoder.TransformerEncoder",
                input_size=ref("<llm_input_size>"),
                **transformer(variant.lm),
                **dropout,
                input_layer="linear_legacy",
                **attention,
                static_chunk_size=1,
            ),
            sampling=sampling(),
        ),
        "flow": new(
            "cosyvoice.flow.flow.MaskedDiffWithXvec",
            input_size=variant.flow_encoder.size,
            **flow_keys(4096),
            input_frame_rate=50,
            encoder=flow_encoder("encoder.ConformerEncoder", variant.flow_encoder),
            length_regulator=new(
                "cosyvoice.flow.length_regulator.InterpolateRegulator",
                channels=80,
                sampling_ratios=(1, 1, 1, 1),
            ),
            decoder=matching(
                "ConditionalCFM",
                new("cosyvoice.flow.decoder.ConditionalDecoder", **unet(variant.unet)),
            ),
        ),
        "hift": vocoder("", variant.hift, (8, 8), (16, 16)),
        "get_tokenizer": name(
            "whisper.tokenizer.get_tokenizer",
            multilingual=True,
            num_languages=100,
            language="en",
            task="transcribe",
        ),
        "allowed_special": "all",
        "feat_extractor": mel(1024, 256, 8000),
    }


def _version2(variant: Variant2) -> dict[str, Any]:
    return {
        **_qwen_head(variant.qwen.hidden_size),
        "llm": _qwen_lm("Qwen2LM"),
        "flow": new(
            "cosyvoice.flow.flow.CausalMaskedDiffWithXvec",
            input_size=variant.flow_encoder.size,
            **causal_flow_keys(),
            encoder=flow_encoder(
                "upsample_encoder.UpsampleConformerEncoder",
                variant.flow_encoder,
                static_chunk_size=ref("<chunk_size>"),
            ),
            decoder=matching(
                "CausalConditionalCFM",
                new(
                    "cosyvoice.flow.decoder.CausalConditionalDecoder",
                    **unet(variant.unet),
                    **estimator_chunks(),
                ),
            ),
        ),
        "hift": vocoder("", variant.hift, (8, 5, 3), (16, 11, 7)),
        **_qwen_tail(mel(1920, 480, 8000)),
    }


def _version3(variant: Variant3) -> dict[str, Any]:
    dit = variant.dit
    return {
        **_qwen_head(variant.qwen.hidden_size),
        "llm": _qwen_lm("CosyVoice3LM"),
        "flow": new(
            "cosyvoice.flow.flow.CausalMaskedDiffWithDiT",
            input_size=80,
            **causal_flow_keys(),
            pre_lookahead_layer=new(
                "cosyvoice.transformer.upsample_encoder.PreLookaheadLayer",
                in_channels=80,
                channels=dit.lookahead_channels,
                pre_lookahead_len=3,
            ),
            decoder=matching(
                "CausalConditionalCFM",
                new(
                    "cosyvoice.flow.DiT.dit.DiT",
                    dim=dit.size,
                    depth=dit.depth,
                    heads=dit.heads,
                    dim_head=dit.head_size,
                    ff_mult=2,
                    mel_dim=80,
                    mu_dim=80,
                    spk_dim=80,
                    out_channels=80,
                    **estimator_chunks(),
                ),
            ),
        ),
        "hift": vocoder("Causal", variant.hift, (8, 5, 3), (16, 11, 7), {"conv_pre_look_right": 4}),
        **_qwen_tail(mel(1920, 480, None), version="cosyvoice3"),
    }


def _qwen_head(size: int) -> dict[str, Any]:
    return {
        **_head(24000),
        "llm_input_size": size,
        "llm_output_size": size,
        "qwen_pretrain_path": "",
        "token_frame_rate": 25,
        "token_mel_ratio": 2,
        "chunk_size": 25,
        "num_decoding_left_chunks": -1,
    }


def _qwen_lm(kind: str) -> Tagged:
    return new(
        f"cosyvoice.llm.llm.{kind}",
        llm_input_size=ref("<llm_input_size>"),
        llm_output_size=ref("<llm_output_size>"),
        speech_token_size=6561,
        length_normalized_loss=True,
        lsm_weight=0,
        mix_ratio=(5, 15),
        llm=new("cosyvoice.llm.llm.Qwen2Encoder", pretrain_path=ref("<qwen_pretrain_path>")),
        sampling=sampling(),
    )


def _qwen_tail(mel: Tagged, **tokenizer: str) -> dict[str, Any]:
    return {
        "get_tokenizer": name(
            "cosyvoice.tokenizer.tokenizer.get_qwen_tokenizer",
            token_path=ref("<qwen_pretrain_path>"),
            skip_special_tokens=True,
            **tokenizer,
        ),
        "allowed_special": "all",
        "feat_extractor": mel,
    }
