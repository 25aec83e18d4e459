"""The official package, and models with random weights that it has loaded.

With COSYSTREAM_COSYVOICE_HOME it is that checkout, with versions 1, 2 and 3; without, the copy of
mid-2025 from the package index, if it is installed here, with versions 1 and 2.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny import LONG_TEXTS, RATES, TinyVoices

from models.base import Samples, SynthesisRequest, Voice
from models.cosyvoice.model import CosyVoiceModel
from models.random_checkpoint.maker import make

HOME = os.environ.get("COSYSTREAM_COSYVOICE_HOME", "")

MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="session", params=[1, 2, 3], ids=lambda version: f"v{version}")
def version(request: pytest.FixtureRequest) -> int:
    """Versions of CosyVoice that there is a runtime for."""
    if not HOME and importlib.util.find_spec("cosyvoice") is None:
        pytest.skip("COSYSTREAM_COSYVOICE_HOME is not set, and no `cosyvoice` is installed")
    if not HOME and request.param == 3:
        pytest.skip("the installed copy of the official package knows versions 1 and 2 only")
    return request.param


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Makes tiny checkpoints, each once."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def tiny(version: int, rate: float | None = None, name: str = "", **options: object) -> Path:
        rate = rate or RATES[version]
        kind = "-".join([str(rate), *(f"{key}={value}" for key, value in sorted(options.items()))])
        directory = folder / f"v{version}-{kind}" / (name or "checkpoint")
        if not directory.exists():
            make(f"cosyvoice{version}-tiny", directory, rate=rate, **options)
        return directory

    return tiny


@pytest.fixture(scope="session")
def load_model(make_checkpoint: MakeCheckpoint) -> Callable[..., CosyVoiceModel]:
    """Loads models on tiny checkpoints, each once. They have the presets of CosyVoice-300M-SFT."""
    loaded: dict[tuple[object, ...], CosyVoiceModel] = {}

    def load(
        version: int, rate: float | None = None, name: str = "", **checkpoint: object
    ) -> CosyVoiceModel:
        key = (version, rate, name, *sorted(checkpoint.items()))
        if key not in loaded:
            directory = make_checkpoint(version, rate, name, **checkpoint)
            model = CosyVoiceModel(directory=str(directory), home=HOME, device="cpu", slots=2)
            if model.capabilities.cloning:
                for voice, features in TinyVoices(version).clones().items():
                    data = features.to_bytes(model.capabilities.clone_format)
                    model.add_voice(Voice(name=voice, language="cmn", kind="clone"), data)
            loaded[key] = model
        return loaded[key]

    return load


@pytest.fixture(scope="session")
def session_model(version: int, load_model: Callable[..., CosyVoiceModel]) -> CosyVoiceModel:
    return load_model(version)


@pytest.fixture
def model(session_model: CosyVoiceModel) -> Iterator[CosyVoiceModel]:
    """A model of each version, with the clones of `TinyVoices`."""
    yield session_model
    session_model.take_incidents()


@pytest.fixture
def long_text(version: int) -> str:
    """Is spoken in several chunks."""
    return LONG_TEXTS[version]


@pytest.fixture
def speak(model: CosyVoiceModel) -> Callable[..., list[Samples]]:
    """All chunks of a text."""

    def chunks(
        text: str | Iterator[str], voice: str = "中文女", seed: int | None = 1, **more: str
    ) -> list[Samples]:
        request = SynthesisRequest(voice=voice, seed=seed, **more)
        return [chunk.samples for chunk in model.synthesize(request, text)]

    return chunks


@pytest.fixture
def recording() -> Samples:
    """Four seconds at 16 kHz of tones and noise."""
    time_s = np.arange(64_000) / 16_000
    tone = np.sin(2 * np.pi * (200 + 60 * np.sin(3 * time_s)) * time_s)
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return (0.3 * tone * np.abs(np.sin(5 * time_s)) + 0.02 * noise).astype(np.float32)
