"""The vocoder's numbers, and what its causal kind depends on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.errors import CheckpointError
from models.native.configuration import read_configuration
from models.native.vocoder.generator import Generator
from models.native.vocoder.spec import VocoderSpec
from models.native.vocoder.vocoder import Vocoder

RELEASED = VocoderSpec(
    causal=True,
    sample_rate_hz=24000,
    mel_bands=80,
    channels=512,
    harmonics=9,
    sine_amplitude=0.1,
    noise_deviation=0.003,
    voiced_threshold_hz=10.0,
    upsample_rates=(8, 5, 3),
    upsample_kernels=(16, 11, 7),
    n_fft=16,
    hop_samples=4,
    block_kernels=(3, 7, 11),
    block_dilations=((1, 3, 5),) * 3,
    source_kernels=(7, 7, 11),
    source_dilations=((1, 3, 5),) * 3,
    slope=0.1,
    audio_limit=0.99,
    look_right_frames=4,
    pitch_channels=512,
)


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    """The vocoder's files, to be written to."""
    for path in [checkpoint / "hift.pt", *checkpoint.glob("cosyvoice*.yaml")]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def rewrite(directory: Path, old: str, new: str) -> Path:
    yaml = next(directory.glob("cosyvoice*.yaml"))
    text = yaml.read_text(encoding="utf-8")
    assert old in text
    yaml.write_text(text.replace(old, new), encoding="utf-8")
    return yaml


def test_numbers_of_a_checkpoint(version: int, checkpoint: Path) -> None:
    yaml = next(checkpoint.glob("cosyvoice*.yaml"))
    spec = VocoderSpec.read(read_configuration(yaml))
    assert spec == replace(
        RELEASED,
        causal=version == 3,
        channels=32,
        block_kernels=(3,),
        block_dilations=((1,),),
        source_kernels=(3, 3, 3),
        source_dilations=((1,),) * 3,
        look_right_frames=4 if version == 3 else 0,
        pitch_channels=16,
    )


def test_released_numbers() -> None:
    assert RELEASED.frame_samples == 480
    assert RELEASED.held_frames == 8
    assert RELEASED.down_rates == (15, 3, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("HiFTGenerator", "BigVGAN", "BigVGAN"),
        ("ConvRNNF0Predictor", "Crepe", "Crepe"),
        ("upsample_rates: [8, 5, 3]", "upsample_rates: [8, 5]", "lists of unequal lengths"),
        ("upsample_kernel_sizes: [16, 11, 7]", "upsample_kernel_sizes: [16, 11, 6]", "kernels"),
        ("resblock_kernel_sizes: [3]", "resblock_kernel_sizes: [4]", "even kernels"),
        ("hop_len: 4", "hop_len: 5", "istft_params"),
        ("base_channels: 32", "base_channels: 30", "base_channels"),
        ("nb_harmonics: 8", "nb_harmonics: many", "nb_harmonics is no whole number"),
    ],
)
def test_numbers_that_make_no_vocoder(copied: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        VocoderSpec.read(read_configuration(rewrite(copied, old, new)))


def test_weights_of_other_numbers_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    for path in checkpoint.iterdir():
        if not path.name.endswith(".yaml"):
            (tmp_path / path.name).symlink_to(path)
        else:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    rewrite(tmp_path, "base_channels: 32", "base_channels: 64")
    with pytest.raises(CheckpointError, match=r"hift\.pt.*conv_pre"):
        Vocoder.open(Checkpoint.open(tmp_path), "cpu", longest_s=1)


def test_frames_that_a_frame_depends_on() -> None:
    """A frame that is not a number shows everywhere where it has a part."""
    spec = replace(RELEASED, channels=16, pitch_channels=8)
    generator = Generator(spec)
    shapes = {name: tensor for name, tensor in generator.state_dict().items() if "alpha" in name}
    generator.load_state_dict(shapes, strict=False)
    bad = 10
    heard = bad + spec.left_frames
    mel, source = torch.ones(1, 80, heard + 20), torch.ones(1, (heard + 20) * 480)
    mel[:, :, bad] = torch.nan
    source[:, bad * 480 : (bad + 1) * 480] = torch.nan
    with torch.inference_mode():
        speech = generator(mel, source, ended=True)
        pitch = generator.f0_predictor(mel, ended=True)
    frames = speech.isnan().view(-1, 480).any(dim=1)
    assert frames[bad - spec.look_right_frames - 1 : heard + 1].all()
    assert not frames[: bad - spec.look_right_frames - 1].any()
    assert not frames[heard + 1 :].any()
    sounding = pitch.isnan()[0]
    assert sounding[bad - 3 : bad + spec.pitch_left_frames + 1].all()
    assert sounding.sum() == 3 + 1 + spec.pitch_left_frames
