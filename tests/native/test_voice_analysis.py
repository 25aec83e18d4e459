"""Voices and texts are analysed as the official package does it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import ModelError, Samples
from models.cosyvoice.checkpoint import Checkpoint, CheckpointError
from models.cosyvoice.engine_options import EngineOptions
from models.cosyvoice.enrollment import extract
from models.cosyvoice.runtime import Official, load_official
from models.cosyvoice.special_tokens import SPECIAL_TOKENS
from models.native import spectra
from models.native.enrollment import VoiceAnalyser
from models.native.tokenizer import TextTokenizer
from models.random_checkpoint.maker import make

HOME = os.environ.get("COSYSTREAM_COSYVOICE_HOME")
TRANSCRIPT = "希望你以后能够做的比我还好呦。"
TEXTS = [
    "Hello world, it's 2026! They'll   say\n\n\"no\".",
    "你好，世界。[laughter] <strong>好</strong>",
    "[j][ǐ] said [AA1], [vè]",
    "a\u0301 b\u200b c 😀 ünïcödé 𝒜 ½ ①",
    "<|endofprompt|>x<|im_end|>",
    "  \t\r\n ",
]


@pytest.fixture(scope="module", params=[2, 3], ids=lambda version: f"v{version}")
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Checkpoint, Official]:
    pytest.importorskip("cosyvoice") if not HOME else None
    if not HOME and request.param == 3:
        pytest.skip("the installed copy of the official package knows versions 1 and 2 only")
    directory = tmp_path_factory.mktemp("checkpoint") / "tiny"
    make(f"cosyvoice{request.param}-tiny", directory)
    home = None if HOME is None else Path(HOME)
    checkpoint = Checkpoint.open(directory)
    official = load_official(checkpoint, EngineOptions(home=home, device="cpu"))
    _forget_filters()
    return checkpoint, official


def _forget_filters() -> None:
    """Matcha keeps the filters of whichever version comes first in a process."""
    import matcha.utils.audio

    matcha.utils.audio.mel_basis.clear()
    matcha.utils.audio.hann_window.clear()


def recording(seconds: float, rate_hz: int) -> Samples:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    tone = np.sin(2 * np.pi * (200 + 60 * np.sin(3 * time_s)) * time_s) * np.abs(np.sin(5 * time_s))
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return (0.3 * tone + 0.02 * noise).astype(np.float32)


# --- Text --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_upstream_s(loaded: tuple[Checkpoint, Official], text: str) -> None:
    checkpoint, official = loaded
    assert TextTokenizer(checkpoint).encode(text) == official.text_tokens(text)


@settings(max_examples=100, deadline=None)
@given(text=st.text(min_size=1))
def test_ids_of_any_text_are_upstream_s(loaded: tuple[Checkpoint, Official], text: str) -> None:
    checkpoint, official = loaded
    assert _tokenizer(checkpoint).encode(text) == official.text_tokens(text)


def _tokenizer(checkpoint: Checkpoint, known: dict[Path, TextTokenizer] = {}) -> TextTokenizer:  # noqa: B006
    return known.setdefault(checkpoint.directory, TextTokenizer(checkpoint))


def test_special_tokens_are_upstream_s(loaded: tuple[Checkpoint, Official]) -> None:
    checkpoint, official = loaded
    assert SPECIAL_TOKENS[checkpoint.version] == official.special_tokens


def test_what_the_model_does_not_know_is_refused(tmp_path: Path) -> None:
    make("cosyvoice2-tiny", tmp_path)
    tokenizer = TextTokenizer(Checkpoint.open(tmp_path))
    tokenizer._vocabulary = 100
    with pytest.raises(ModelError, match="is not its language model's"):
        tokenizer.encode("你好")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", "{"),
        ("merges.txt", "a b c d\n"),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", "{}"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"9999": {"content": "<x>"}}}'),
    ],
)
def test_a_damaged_tokenizer_is_told(tmp_path: Path, name: str, content: str) -> None:
    make("cosyvoice2-tiny", tmp_path)
    checkpoint = Checkpoint.open(tmp_path)
    (tmp_path / "CosyVoice-BlankEN" / name).write_text(content)
    with pytest.raises(CheckpointError, match="tokenizer"):
        TextTokenizer(checkpoint)


# --- Voices ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 44_100])
def test_features_are_upstream_s(loaded: tuple[Checkpoint, Official], rate_hz: int) -> None:
    checkpoint, official = loaded
    samples = recording(4.0, rate_hz)
    analyser = VoiceAnalyser(checkpoint, TextTokenizer(checkpoint))
    ours = analyser.extract(samples, rate_hz, TRANSCRIPT)
    theirs = extract(official, samples, rate_hz, TRANSCRIPT)
    assert ours.mel is not None
    assert theirs.mel is not None
    np.testing.assert_allclose(ours.mel, theirs.mel, atol=1e-3)
    np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=1e-4)
    assert ours.prompt_text is not None
    assert ours.prompt_text.tolist() == theirs.prompt_text.tolist()  # type: ignore[union-attr]
    assert len(ours.speech_tokens) == len(theirs.speech_tokens)  # type: ignore[arg-type]
    assert (ours.transcript, ours.language) == (theirs.transcript, theirs.language)


def test_spectra_are_upstream_s(loaded: tuple[Checkpoint, Official]) -> None:
    import torchaudio
    import whisper
    from torchaudio.compliance import kaldi

    speech = torch.from_numpy(recording(3.0, 16_000))
    log_mel = whisper.log_mel_spectrogram(speech, n_mels=128)
    torch.testing.assert_close(spectra.whisper_log_mel(speech), log_mel, atol=1e-5, rtol=0)
    bands = kaldi.fbank(speech[None], num_mel_bins=80, dither=0, sample_frequency=16_000)
    torch.testing.assert_close(spectra.kaldi_log_mel(speech), bands, atol=2e-4, rtol=0)
    for rates in ((44_100, 16_000), (16_000, 24_000), (48_000, 24_000)):
        theirs = torchaudio.transforms.Resample(*rates)(speech)
        torch.testing.assert_close(spectra.resample(speech, *rates), theirs, atol=1e-6, rtol=0)


def test_a_useless_recording_is_refused(tmp_path: Path) -> None:
    make("cosyvoice2-tiny", tmp_path)
    checkpoint = Checkpoint.open(tmp_path)
    analyser = VoiceAnalyser(checkpoint, TextTokenizer(checkpoint))
    for samples, rate_hz, message in (
        (recording(1.0, 24_000), 24_000, "lasts 1.0 s"),
        (recording(4.0, 8_000), 8_000, "is sampled at 8000 Hz"),
        (np.zeros(96_000, np.float32), 24_000, "is silent"),
        (np.full(96_000, np.nan, np.float32), 24_000, "no numbers"),
    ):
        with pytest.raises(ModelError, match=message):
            analyser.extract(samples, rate_hz, "")


def test_a_damaged_analyser_is_told(tmp_path: Path) -> None:
    make("cosyvoice2-tiny", tmp_path)
    checkpoint = Checkpoint.open(tmp_path)
    shutil.copyfile(tmp_path / "cosyvoice2.yaml", tmp_path / "campplus.onnx")
    with pytest.raises(CheckpointError, match=r"campplus\.onnx: cannot be opened"):
        VoiceAnalyser(checkpoint, TextTokenizer(checkpoint))
