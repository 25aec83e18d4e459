"""The parts of a configuration that several versions have."""

from __future__ import annotations

from typing import Any

from models.random_checkpoint.variants import Hift, Transformer, Unet
from models.random_checkpoint.yaml_nodes import Keys, Raw, Tagged, name, new, ref


def transformer(sizes: Transformer) -> dict[str, Any]:
    """Sizes of an encoder."""
    return {
        "output_size": sizes.size,
        "attention_heads": sizes.heads,
        "linear_units": sizes.linear_units,
        "num_blocks": sizes.blocks,
    }


def sampling() -> Tagged:
    """Upstream's sampling of speech tokens."""
    return name("cosyvoice.utils.common.ras_sampling", top_p=0.8, top_k=25, win_size=10, tau_r=0.1)


def flow_keys(vocabulary: int) -> dict[str, Any]:
    """What every flow takes."""
    return {
        "output_size": 80,
        "spk_embed_dim": ref("<spk_embed_dim>"),
        "output_type": "mel",
        "vocab_size": vocabulary,
        "only_mask_loss": True,
    }


def causal_flow_keys() -> dict[str, Any]:
    """What the flows of versions 2 and 3 take."""
    return {
        **flow_keys(6561),
        "input_frame_rate": ref("<token_frame_rate>"),
        "token_mel_ratio": ref("<token_mel_ratio>"),
        "pre_lookahead_len": 3,
    }


def estimator_chunks() -> dict[str, Any]:
    """How the causal estimators attend."""
    return {
        "static_chunk_size": ref("<chunk_size> * <token_mel_ratio>"),
        "num_decoding_left_chunks": ref("<num_decoding_left_chunks>"),
    }


def flow_encoder(kind: str, sizes: Transformer, **more: object) -> Tagged:
    """The encoder before the flow, in versions 1 and 2."""
    return new(
        f"cosyvoice.transformer.{kind}",
        **transformer(sizes),
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


def unet(sizes: Unet) -> dict[str, Any]:
    """Sizes of the estimator of versions 1 and 2."""
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


def matching(kind: str, estimator: Tagged) -> Tagged:
    """The flow matching around an estimator."""
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


def vocoder(
    causal: str,
    sizes: Hift,
    rates: tuple[int, ...],
    kernels: tuple[int, ...],
    more: Keys | None = None,
) -> Tagged:
    """HiFT; `causal` is the prefix of the class names of version 3."""
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


def mel(window: int, hop: int, highest_hz: int | None) -> Tagged:
    """The mel spectrogram of prompts; window and hop in samples."""
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
