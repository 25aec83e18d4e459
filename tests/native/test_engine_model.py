"""The native engine as a model: options, voices, and its sound beside the official package's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spoken import LONG, TEXT, VOICE, Watch, open_stream, opened, recorded, speak, tiny_checkpoint

from models.base import ModelError, Samples, SynthesisRequest, Voice
from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.features import VoiceFeatures
from models.cosyvoice.runtime import Official
from models.cosyvoice.vocoding import FlowPrompt, open_vocoder
from models.native.model import NativeModel
from models.native.session import SILENT_TOKENS, Session
from models.random_checkpoint.maker import make


@pytest.fixture(scope="module")
def directory(version: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(version, tmp_path_factory.mktemp("spoken") / f"v{version}")


@pytest.fixture(scope="module")
def as_cosyvoice(directory: Path) -> Iterator[NativeModel]:
    """With the choices of `models.cosyvoice`."""
    model = opened(directory, hops="growing", final_chunk="one_chunk")
    yield model
    model.close()


# --- Equality with the official package --------------------------------------------------------


def official_sound(
    official: Official, tokens: list[int], features: VoiceFeatures, seed: int
) -> list[Samples]:
    """What `models.cosyvoice` makes of speech tokens, by the official flow and vocoder."""
    noise_seed = np.random.SeedSequence(seed, spawn_key=(0, 0)).spawn(2)[1]
    no_recording = features.speech_tokens is None or features.mel is None
    speech = [] if no_recording else features.speech_tokens.tolist()
    mel = np.zeros((0, 80), np.float32) if no_recording else features.mel
    prompt = FlowPrompt(
        tokens=torch.tensor([speech], dtype=torch.int32),
        mel=torch.tensor(mel).unsqueeze(0),
        embedding=torch.tensor(features.embedding).unsqueeze(0),
    )
    vocoder = open_vocoder(official.version, official.model, prompt, noise_seed)
    with torch.inference_mode():
        chunks = [
            vocoder.next_chunk(tokens[:n_tokens])
            for n_tokens in range(1, len(tokens) + 1)
            if n_tokens >= vocoder.tokens_needed
        ]
        return [*chunks, vocoder.last_chunk(tokens)]


@pytest.mark.parametrize(
    "request_", [(TEXT, VOICE), (LONG, VOICE), (TEXT, "clone"), (LONG, "clone")]
)
def test_the_same_tokens_sound_as_by_the_official_package(
    load_reference: Callable[[Path], Official],
    directory: Path,
    as_cosyvoice: NativeModel,
    monkeypatch: pytest.MonkeyPatch,
    request_: tuple[str, str],
) -> None:
    text, voice = request_
    watch = Watch(as_cosyvoice, monkeypatch)
    chunks = [chunk.samples for chunk in open_stream(as_cosyvoice, text, voice, seed=3)]
    (tokens,) = watch.tokens.values()
    features = as_cosyvoice._voices.get(voice)
    assert features is not None
    expected = official_sound(load_reference(directory), tokens, features, seed=3)
    assert list(map(len, chunks)) == list(map(len, expected))
    np.testing.assert_allclose(np.concatenate(chunks), np.concatenate(expected), atol=2e-5)


# --- Tokens that are left out ------------------------------------------------------------------


def test_long_silences_of_version_3_are_left_out(
    version: int, as_cosyvoice: NativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most five of its silent tokens in a row, as upstream; and many are too many."""
    silence = [1, 2, 28, 29] * 5
    spoken = itertools.chain(range(100, 120), silence, range(200, 1000))
    drawn = []
    taken = Session.take

    def take(session: Session, token: int, now_s: float) -> None:
        drawn.append(next(spoken))
        taken(session, drawn[-1], now_s)

    monkeypatch.setattr(Session, "take", take)
    n_tokens = []
    ended = Session.decoded

    def decoded(session: Session, now_s: float) -> None:
        n_tokens.append(len(session._tokens))
        ended(session, now_s)

    monkeypatch.setattr(Session, "decoded", decoded)
    n_said = len(speak(as_cosyvoice, TEXT * 2)) // 960
    assert n_tokens == [n_said]
    assert len(drawn) - n_said == (15 if SILENT_TOKENS[version] else 0)


# --- Options -----------------------------------------------------------------------------------


def test_bfloat16_speaks(directory: Path) -> None:
    model = opened(directory, bf16=True)
    try:
        samples = speak(model, TEXT)
        assert np.isfinite(samples).all()
        assert samples.any()
    finally:
        model.close()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"slots": 0}, "slots"),
        ({"max_length": 10}, "max_length"),
        ({"device": "tpu"}, "tpu"),
        ({"hops": "long"}, "hops"),
        ({"final_chunk": "last"}, "final_chunk"),
    ],
)
def test_options_out_of_range(directory: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        NativeModel(directory=str(directory), **options)


def test_a_device_that_is_not_there(directory: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(ModelError, match="no CUDA device"):
        NativeModel(directory=str(directory), device="cuda")


def test_version_1(tmp_path: Path) -> None:
    directory = make("cosyvoice1-tiny", tmp_path / "v1")
    with pytest.raises(ModelError, match="versions 2 and 3") as failure:
        NativeModel(directory=str(directory))
    assert failure.value.code == "unsupported"


def test_what_it_can_do(version: int, directory: Path, as_cosyvoice: NativeModel) -> None:
    expected = Checkpoint.open(directory).capabilities(slots=8)
    found = as_cosyvoice.capabilities
    assert (found.marks, found.clone_format) == (expected.marks, f"cosyvoice{version}")
    assert found.text_stream
    assert found.slots == 8


# --- Voices ------------------------------------------------------------------------------------


def test_a_voice_that_is_not_there(as_cosyvoice: NativeModel) -> None:
    with pytest.raises(ModelError) as failure:
        speak(as_cosyvoice, TEXT, voice="nobody")
    assert failure.value.code == "voice_unknown"


def test_clones_come_and_go(as_cosyvoice: NativeModel) -> None:
    time_s = np.arange(64_000) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * 220 * time_s) * np.abs(np.sin(5 * time_s))
    features = as_cosyvoice.enroll(tone.astype(np.float32), 16_000, "Hello, hello.")
    as_cosyvoice.add_voice(Voice(name="Ada", language="en", kind="clone"), features)
    assert len(speak(as_cosyvoice, "Hello.", voice="Ada"))
    as_cosyvoice.remove_voice("Ada")
    with pytest.raises(ModelError, match="Ada"):
        speak(as_cosyvoice, TEXT, voice="Ada")


def test_an_instruction_is_part_of_the_prompt(
    version: int, as_cosyvoice: NativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = []
    lm = as_cosyvoice._engine._stages.lm
    opened_session = lm.open

    def open_session(prompt: Any, **options: Any) -> Any:
        prompts.append(prompt)
        return opened_session(prompt, **options)

    monkeypatch.setattr(lm, "open", open_session)
    request = SynthesisRequest(voice="clone", seed=1, instruction="用四川话说")
    assert list(as_cosyvoice.synthesize(request, TEXT))
    plain = SynthesisRequest(voice="clone", seed=1)
    assert list(as_cosyvoice.synthesize(plain, TEXT))
    told, untold = prompts
    assert told.text != untold.text
    assert not told.speech  # an instruction takes the place of the recording's words
    assert list(untold.speech) == recorded().speech_tokens.tolist()


def test_a_voice_that_is_too_long_for_a_slot(directory: Path) -> None:
    model = opened(directory, max_length=256)
    try:
        data = recorded(9, n_tokens=300).to_bytes(model.capabilities.clone_format)
        model.add_voice(Voice(name="long", language="cmn", kind="clone"), data)
        with pytest.raises(ModelError, match="too long"):
            speak(model, TEXT, voice="long")
        assert len(speak(model, TEXT))
    finally:
        model.close()


def test_warming_up(as_cosyvoice: NativeModel) -> None:
    as_cosyvoice.take_incidents()
    as_cosyvoice.warm_up()
    assert as_cosyvoice.take_incidents() == {}


def test_what_it_holds_is_told_and_nothing_is_left_of_a_stream(as_cosyvoice: NativeModel) -> None:
    stream = as_cosyvoice.synthesize(SynthesisRequest(voice="clone", seed=1), LONG)
    next(stream)
    during = as_cosyvoice.holdings()
    stream.close()
    # Its cancel was obeyed before the next stream began.
    assert len(speak(as_cosyvoice, TEXT))
    after = as_cosyvoice.holdings()
    assert (during["sessions"], after["sessions"], after["lm_slots"]) == (1, 0, 0)
    assert during["flow_pages"] + during["flow_pages_kept"] > 0
    assert after["flow_pages"] == 0
    assert after["flow_pages_kept"] >= during["flow_pages_kept"]
