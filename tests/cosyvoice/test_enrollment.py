"""A voice's features are those that the official front end computes, without its files.

Runs under CosyVoice's own interpreter, on tiny checkpoints with random weights.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from models.base import ModelError, Samples
from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.engine_options import EngineOptions
from models.cosyvoice.enrollment import extract
from models.cosyvoice.features import VoiceFeatures
from models.cosyvoice.prompts import END_OF_PROMPT, Mode, make_prompt
from models.cosyvoice.runtime import Official, load_official
from models.random_checkpoint.maker import make

HOME = os.environ.get("COSYSTREAM_COSYVOICE_HOME")
VERSIONS = (1, 2, 3) if HOME else (1, 2)
TRANSCRIPT = "希望你以后能够做的比我还好呦。"


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda version: f"cosyvoice{version}")
def official(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Official]:
    directory = tmp_path_factory.mktemp("checkpoint") / f"cosyvoice{request.param}"
    make(f"cosyvoice{request.param}-tiny", directory)
    home = None if HOME is None else Path(HOME)
    loaded = load_official(Checkpoint.open(directory), EngineOptions(home=home, device="cpu"))
    _forget_other_versions()
    yield loaded
    _forget_other_versions()


def _forget_other_versions() -> None:
    """Matcha keeps the filters of whichever version comes first in a process."""
    import matcha.utils.audio

    matcha.utils.audio.mel_basis.clear()
    matcha.utils.audio.hann_window.clear()


def recording(seconds: float = 4.0, rate_hz: int = 16_000) -> Samples:
    """Tones and noise that change, so that every feature has something to see."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    tone = np.sin(2 * np.pi * (200 + 60 * np.sin(3 * time_s)) * time_s) * np.abs(np.sin(5 * time_s))
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return (0.3 * tone + 0.02 * noise).astype(np.float32)


def upstream_features(
    official: Official,
    samples: Samples,
    rate_hz: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """What the official `frontend_zero_shot` makes of the same recording."""
    front_end = official.front_end
    prefix = f"You are a helpful assistant.{END_OF_PROMPT}" if official.version == 3 else ""
    prompt: object = str(tmp_path / "prompt.wav")
    if "prompt_speech_16k" in inspect.signature(front_end.frontend_zero_shot).parameters:
        assert rate_hz == 16_000
        prompt = torch.from_numpy(samples).unsqueeze(0)
    else:
        torchaudio = importlib.import_module("torchaudio")  # repaired when the model was loaded
        soundfile.write(prompt, samples, rate_hz, subtype="FLOAT")
        monkeypatch.setattr(torchaudio, "load", _load)
    inputs: dict[str, Any] = front_end.frontend_zero_shot(
        "好", prefix + TRANSCRIPT, prompt, official.sample_rate_hz, ""
    )
    return inputs


def _load(path: str, backend: str) -> tuple[torch.Tensor, int]:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T), rate_hz


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 44_100])
def test_features_are_upstream_s(
    official: Official, rate_hz: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if HOME is None and rate_hz != 16_000:
        pytest.skip("the copy of mid-2025 takes samples of 16 kHz")
    samples = recording(4.03, rate_hz)  # so that there is something to trim
    features = extract(official, samples, rate_hz, TRANSCRIPT)
    expected = upstream_features(official, samples, rate_hz, tmp_path, monkeypatch)
    assert features.speech_tokens is not None
    assert features.mel is not None
    assert features.prompt_text is not None
    tokens = expected["llm_prompt_speech_token"]
    assert features.speech_tokens.tolist() == tokens.flatten().tolist()
    assert features.prompt_text.tolist() == expected["prompt_text"].flatten().tolist()
    np.testing.assert_array_equal(features.embedding, expected["llm_embedding"].numpy()[0])
    mel = expected["prompt_speech_feat"].numpy()[0]
    if HOME and official.version == 1:
        # This copy takes 24 kHz for an extractor of 22.05 kHz.
        assert len(mel) == pytest.approx(4.03 * 24_000 / 256, abs=2)
        assert len(features.mel) == pytest.approx(4.03 * 22_050 / 256, abs=2)
    else:
        np.testing.assert_array_equal(features.mel, mel)


def test_features_fit_each_other_and_the_format(official: Official) -> None:
    features = extract(official, recording(), 16_000, TRANSCRIPT)
    data = features.to_bytes(f"cosyvoice{official.version}")
    again = VoiceFeatures.from_bytes(data, f"cosyvoice{official.version}")
    assert (again.transcript, again.language) == (TRANSCRIPT, "cmn")
    assert features.speech_tokens is not None
    assert features.mel is not None
    if official.version != 1:
        assert len(features.mel) == 2 * len(features.speech_tokens)


def test_the_prompt_of_an_enrolled_voice(official: Official) -> None:
    features = extract(official, recording(), 16_000, TRANSCRIPT)
    prompt = make_prompt(official.version, "base", features, text="你好。")
    assert (prompt.mode, prompt.text) == (Mode.ZERO_SHOT, "")
    assert prompt.tokens is features.prompt_text


def test_without_a_transcript(official: Official) -> None:
    features = extract(official, recording(), 16_000, " ")
    assert (features.prompt_text, features.transcript, features.language) == (None, "", "")
    prompt = make_prompt(official.version, "base", features, text="你好。")
    assert prompt.mode is Mode.CROSS_LINGUAL


def test_a_transcript_brings_no_control_token(official: Official) -> None:
    sneaky = extract(official, recording(), 16_000, f"你好{END_OF_PROMPT}。")
    plain = extract(official, recording(), 16_000, "你好。")
    assert sneaky.prompt_text is not None
    assert plain.prompt_text is not None
    assert sneaky.prompt_text.tolist() == plain.prompt_text.tolist()


def test_the_longest_and_the_shortest_recording(official: Official) -> None:
    for seconds in (3.0, 30.0):
        features = extract(official, recording(seconds), 16_000, TRANSCRIPT)
        assert features.speech_tokens is not None
        rate_hz = 50 if official.version == 1 else 25
        assert len(features.speech_tokens) == pytest.approx(seconds * rate_hz, abs=2)


@pytest.mark.parametrize(
    ("samples", "rate_hz", "reason"),
    [
        (recording(2.9), 16_000, "lasts 2.9 s, and 3 to 30 s are needed"),
        (recording(30.1), 16_000, "lasts 30.1 s"),
        (recording(4, 8_000), 8_000, "is sampled at 8000 Hz"),
        (np.full(64_000, np.nan, np.float32), 16_000, "no numbers"),
        (np.zeros(64_000, np.float32), 16_000, "is silent"),
        (np.empty(0, np.float32), 16_000, "lasts 0.0 s"),
    ],
)
def test_recordings_of_no_use(
    official: Official, samples: Samples, rate_hz: int, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason) as refusal:
        extract(official, samples, rate_hz, TRANSCRIPT)
    assert refusal.value.code == "failed"
