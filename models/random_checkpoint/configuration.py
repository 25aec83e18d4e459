"""The YAML file of a checkpoint: which classes upstream builds, with which sizes.

Classes and keys are those that upstream's loader reads and its example configurations name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.random_checkpoint.training_keys import training_keys
from models.random_checkpoint.variants import (
    Family,
    Hift,
    Transformer,
    Unet,
    Variant,
    Variant1,
    Variant2,
    Variant3,
)
from models.random_checkpoint.yaml_nodes import Keys, Raw, Tagged, name, new, ref, yaml_text

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
                **_transformer(variant.text_encoder),
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
                **_transformer(variant.lm),
                **dropout,
                input_layer="linear_legacy",
                **attention,
                static_chunk_size=1,
            ),
            sampling=_sampling(),
        ),
        "flow": new(
            "cosyvoice.flow.flow.MaskedDiffWithXvec",
            input_size=variant.flow_encoder.size,
            **_flow_keys(4096),
            input_frame_rate=50,
            encoder=_flow_encoder("encoder.ConformerEncoder", variant.flow_encoder),
            length_regulator=new(
                "cosyvoice.flow.length_regulator.InterpolateRegulator",
                channels=80,
                sampling_ratios=(1, 1, 1, 1),
            ),
            decoder=_matching(
                "ConditionalCFM",
                new("cosyvoice.flow.decoder.ConditionalDecoder", **_unet(variant.unet)),
            ),
        ),
        "hift": _vocoder("", variant.hift, (8, 8), (16, 16)),
        "get_tokenizer": name(
            "whisper.tokenizer.get_tokenizer",
            multilingual=True,
            num_languages=100,
            language="en",
            task="transcribe",
        ),
        "allowed_special": "all",
        "feat_extractor": _mel(1024, 256, 8000),
    }


def _version2(variant: Variant2) -> dict[str, Any]:
    return {
        **_qwen_head(variant.qwen.hidden_size),
        "llm": _qwen_lm("Qwen2LM"),
        "flow": new(
            "cosyvoice.flow.flow.CausalMaskedDiffWithXvec",
            input_size=variant.flow_encoder.size,
            **_causal_flow_keys(),
            encoder=_flow_encoder(
                "upsample_encoder.UpsampleConformerEncoder",
                variant.flow_encoder,
                static_chunk_size=ref("<chunk_size>"),
            ),
            decoder=_matching(
                "CausalConditionalCFM",
                new(
                    "cosyvoice.flow.decoder.CausalConditionalDecoder",
                    **_unet(variant.unet),
                    **_estimator_chunks(),
                ),
            ),
        ),
        "hift": _vocoder("", variant.hift, (8, 5, 3), (16, 11, 7)),
        **_qwen_tail(_mel(1920, 480, 8000)),
    }


def _version3(variant: Variant3) -> dict[str, Any]:
    dit = variant.dit
    return {
        **_qwen_head(variant.qwen.hidden_size),
        "llm": _qwen_lm("CosyVoice3LM"),
        "flow": new(
            "cosyvoice.flow.flow.CausalMaskedDiffWithDiT",
            input_size=80,
            **_causal_flow_keys(),
            pre_lookahead_layer=new(
                "cosyvoice.transformer.upsample_encoder.PreLookaheadLayer",
                in_channels=80,
                channels=dit.lookahead_channels,
                pre_lookahead_len=3,
            ),
            decoder=_matching(
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
                    **_estimator_chunks(),
                ),
            ),
        ),
        "hift": _vocoder(
            "Causal", variant.hift, (8, 5, 3), (16, 11, 7), {"conv_pre_look_right": 4}
        ),
        **_qwen_tail(_mel(1920, 480, None), version="cosyvoice3"),
    }


def _transformer(sizes: Transformer) -> dict[str, Any]:
    return {
        "output_size": sizes.size,
        "attention_heads": sizes.heads,
        "linear_units": sizes.linear_units,
        "num_blocks": sizes.blocks,
    }


def _sampling() -> Tagged:
    return name("cosyvoice.utils.common.ras_sampling", top_p=0.8, top_k=25, win_size=10, tau_r=0.1)


def _flow_keys(vocabulary: int) -> dict[str, Any]:
    return {
        "output_size": 80,
        "spk_embed_dim": ref("<spk_embed_dim>"),
        "output_type": "mel",
        "vocab_size": vocabulary,
        "only_mask_loss": True,
    }


def _causal_flow_keys() -> dict[str, Any]:
    return {
        **_flow_keys(6561),
        "input_frame_rate": ref("<token_frame_rate>"),
        "token_mel_ratio": ref("<token_mel_ratio>"),
        "pre_lookahead_len": 3,
    }


def _estimator_chunks() -> dict[str, Any]:
    return {
        "static_chunk_size": ref("<chunk_size> * <token_mel_ratio>"),
        "num_decoding_left_chunks": ref("<num_decoding_left_chunks>"),
    }


def _flow_encoder(kind: str, sizes: Transformer, **more: object) -> Tagged:
    return new(
        f"cosyvoice.transformer.{kind}",
        **_transformer(sizes),
        dropout_rate=0.1,
        positional_dropout_rate=0.1,
        attention_dropout_rate=0.1,
        normalize_before=True,
        input_layer="linear",
        pos_enc_layer_type="rel_pos_espnet",
        selfattention_layer_type="rel_selfattn",
        input_size=sizes.size,
        use_cnn_module=False,
        macaron_style=False,
        **more,
    )


def _unet(sizes: Unet) -> dict[str, Any]:
    return {
        "in_channels": 320,
        "out_channels": 80,
        "channels": sizes.channels,
        "dropout": 0.0,
        "attention_head_dim": sizes.head_size,
        "n_blocks": sizes.blocks,
        "num_mid_blocks": sizes.middle_blocks,
        "num_heads": sizes.heads,
        "act_fn": "gelu",
    }


def _matching(kind: str, estimator: Tagged) -> Tagged:
    parameters = {
        "sigma_min": Raw("1e-06"),
        "solver": "euler",
        "t_scheduler": "cosine",
        "training_cfg_rate": 0.2,
        "inference_cfg_rate": 0.7,
        "reg_loss_type": "l1",
    }
    return new(
        f"cosyvoice.flow.flow_matching.{kind}",
        in_channels=240,
        n_spks=1,
        spk_emb_dim=80,
        cfm_params=new("omegaconf.DictConfig", content=parameters),
        estimator=estimator,
    )


def _vocoder(
    causal: str,
    sizes: Hift,
    rates: tuple[int, ...],
    kernels: tuple[int, ...],
    more: Keys | None = None,
) -> Tagged:
    return new(
        f"cosyvoice.hifigan.generator.{causal}HiFTGenerator",
        in_channels=80,
        base_channels=sizes.channels,
        nb_harmonics=8,
        sampling_rate=ref("<sample_rate>"),
        nsf_alpha=0.1,
        nsf_sigma=0.003,
        nsf_voiced_threshold=10,
        upsample_rates=rates,
        upsample_kernel_sizes=kernels,
        istft_params={"n_fft": 16, "hop_len": 4},
        resblock_kernel_sizes=sizes.kernels,
        resblock_dilation_sizes=[sizes.dilations] * len(sizes.kernels),
        source_resblock_kernel_sizes=sizes.source_kernels,
        source_resblock_dilation_sizes=[sizes.dilations] * len(sizes.source_kernels),
        lrelu_slope=0.1,
        audio_limit=0.99,
        **(more or {}),
        f0_predictor=new(
            f"cosyvoice.hifigan.f0_predictor.{causal}ConvRNNF0Predictor",
            num_class=1,
            in_channels=80,
            cond_channels=sizes.pitch_channels,
        ),
    )


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
        sampling=_sampling(),
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


def _mel(window: int, hop: int, highest_hz: int | None) -> Tagged:
    return name(
        "matcha.utils.audio.mel_spectrogram",
        n_fft=window,
        num_mels=80,
        sampling_rate=ref("<sample_rate>"),
        hop_size=hop,
        win_size=window,
        fmin=0,
        fmax=highest_hz,
        center=False,
    )
