"""The keys of training, which released YAML files have and inference does not use.

Upstream's loader builds what they name nevertheless: two discriminators, which take seconds, and
the steps of data processing, whose module wants pyarrow and pyworld.
"""

from __future__ import annotations

from typing import Any

from models.random_checkpoint.yaml_nodes import name, new, ref

_STEPS: dict[str, dict[str, Any]] = {
    "parquet_opener": {},
    "tokenize": {
        "get_tokenizer": ref("<get_tokenizer>"),
        "allowed_special": ref("<allowed_special>"),
    },
    "filter": {"max_length": 40960, "min_length": 0, "token_max_length": 200},
    "resample": {"resample_rate": ref("<sample_rate>")},
    "truncate": {"truncate_length": 24576},
    "compute_fbank": {"feat_extractor": ref("<feat_extractor>")},
    "compute_f0": {"sample_rate": ref("<sample_rate>")},
    "parse_embedding": {"normalize": True},
    "shuffle": {"shuffle_size": 1000},
    "sort": {"sort_size": 500},
    "batch": {"batch_type": "dynamic", "max_frames_in_batch": 2000},
    "padding": {"use_spk_embedding": False},
}
_ONLY_DISCRIMINATED = {"truncate", "compute_f0"}


def training_keys(window: int, hop: int) -> dict[str, Any]:
    """Keys to add to a configuration.

    Args:
        window: of the mel spectrogram, in samples.
        hop: of the mel spectrogram, in samples.
    """
    discriminator = new(
        "cosyvoice.hifigan.discriminator.MultipleDiscriminator",
        mpd=new("matcha.hifigan.models.MultiPeriodDiscriminator"),
        mrd=new("cosyvoice.hifigan.discriminator.MultiResSpecDiscriminator"),
    )
    mel = name(
        "matcha.utils.audio.mel_spectrogram",
        n_fft=window,
        num_mels=80,
        sampling_rate=ref("<sample_rate>"),
        hop_size=hop,
        win_size=window,
        fmin=0,
        fmax=None,
        center=False,
    )
    steps = {step: name(f"cosyvoice.dataset.processor.{step}", **_STEPS[step]) for step in _STEPS}
    return {
        "mel_spec_transform1": mel,
        "hifigan": new(
            "cosyvoice.hifigan.hifigan.HiFiGan",
            generator=ref("<hift>"),
            discriminator=discriminator,
            mel_spec_transform=[ref("<mel_spec_transform1>")],
        ),
        **steps,
        "data_pipeline": [ref(f"<{step}>") for step in steps if step not in _ONLY_DISCRIMINATED],
        "data_pipeline_gan": [ref(f"<{step}>") for step in steps],
        "train_conf": _train_conf("warmuplr"),
        "train_conf_gan": _train_conf("constantlr"),
    }


def _train_conf(scheduler: str) -> dict[str, Any]:
    return {
        "optim": "adam",
        "optim_conf": {"lr": 0.001},
        "scheduler": scheduler,
        "max_epoch": 200,
        "grad_clip": 5,
    }
