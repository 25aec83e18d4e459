"""Every mode of every version: what the official parts are given, and how much speech comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import MakeCheckpoint
from tiny import END_OF_PROMPT_ID, RATES, TEXT, TinyVoices, n_samples

from models.base import ModelError, Samples, SynthesisRequest
from models.cosyvoice.model import CosyVoiceModel

SPEAK = Callable[..., list[Samples]]
ENGLISH = "Hello, world."


class Spy:
    """Keeps the arguments of a call that goes on as before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str = "inference"):
        self.calls: list[dict[str, Any]] = []
        original = getattr(type(module), name)

        def call(module: Any, **arguments: Any) -> Any:
            tensors = {key: value for key, value in arguments.items() if hasattr(value, "clone")}
            kept = {key: value.clone() for key, value in tensors.items()}
            self.calls.append({**arguments, **kept})
            return original(module, **arguments)

        # In the class, as each stream has a copy of the language model.
        monkeypatch.setattr(type(module), name, call)

    def __getitem__(self, name: str) -> Any:
        return self.calls[0][name]


@pytest.fixture
def llm(model: CosyVoiceModel, monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch, model._official.model.llm)


@pytest.fixture
def flow(model: CosyVoiceModel, monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch, model._official.model.flow)


def expected_tokens(llm: Spy, version: int, rate: float | None = None) -> int:
    """The law of tiny checkpoints, and upstream's least, 2 per text token."""
    n_text, n_prompt = llm["text"].shape[1], llm["prompt_text"].shape[1]
    n_spoken = llm["prompt_speech_token"].shape[1]
    n_tokens = round((rate or RATES[version]) * (n_text + n_prompt)) - n_spoken
    return max(n_tokens, 2 * n_text)


def total(chunks: list[Samples]) -> int:
    return sum(map(len, chunks))


def prompt_ids(model: CosyVoiceModel, text: str) -> list[int]:
    return model._official.text_tokens(text)


def test_sft(model: CosyVoiceModel, version: int, speak: SPEAK, llm: Spy, flow: Spy) -> None:
    chunks = speak(TEXT)
    prefix = "You are a helpful assistant.<|endofprompt|>" if version == 3 else ""
    assert llm["text"].tolist() == [prompt_ids(model, TEXT)]
    assert llm["prompt_text"].tolist() == [prompt_ids(model, prefix) if prefix else []]
    assert llm["prompt_speech_token"].shape == (1, 0)
    assert llm["embedding"].shape == (1, 192)
    assert flow["prompt_token"].shape == (1, 0)
    assert flow["prompt_feat"].shape == (1, 0, 80)
    assert total(chunks) == n_samples(version, expected_tokens(llm, version))


def test_zero_shot(model: CosyVoiceModel, version: int, speak: SPEAK, llm: Spy, flow: Spy) -> None:
    chunks = speak(TEXT, voice="clone")
    features = TinyVoices(version).recorded("")
    prefix = "You are a helpful assistant.<|endofprompt|>" if version == 3 else ""
    transcript = prefix + TinyVoices.transcript
    assert llm["prompt_text"].tolist() == [prompt_ids(model, transcript)]
    assert llm["prompt_speech_token"].tolist() == [features.speech_tokens.tolist()]
    assert flow["prompt_token"].tolist() == [features.speech_tokens.tolist()]
    assert flow["prompt_feat"].shape == (1, *features.mel.shape)
    assert total(chunks) == n_samples(version, expected_tokens(llm, version))


@pytest.mark.parametrize("said", [("clone", ENGLISH), ("silent", TEXT)], ids=str)
def test_cross_lingual(
    version: int, speak: SPEAK, llm: Spy, flow: Spy, said: tuple[str, str]
) -> None:
    voice, text = said
    chunks = speak(text, voice=voice)
    assert llm["prompt_speech_token"].shape == (1, 0)
    assert flow["prompt_token"].shape == (1, 60)
    assert (END_OF_PROMPT_ID in llm["prompt_text"]) == (version == 3)
    assert total(chunks) == n_samples(version, expected_tokens(llm, version))


def test_instruct2(model: CosyVoiceModel, version: int, speak: SPEAK, llm: Spy, flow: Spy) -> None:
    if version == 1:
        with pytest.raises(ModelError, match="takes no instruction") as refusal:
            speak(TEXT, voice="clone", instruction="happy")
        assert refusal.value.code == "unsupported"
        return
    chunks = speak(TEXT * 4, voice="clone", instruction="用四川话说这句话")
    system = "You are a helpful assistant. " if version == 3 else ""
    end = "。" if version == 3 else ""
    instruction = f"{system}用四川话说这句话{end}<|endofprompt|>"
    assert llm["prompt_text"].tolist() == [prompt_ids(model, instruction)]
    assert llm["prompt_speech_token"].shape == (1, 0)
    assert flow["prompt_token"].shape == (1, 60)
    assert total(chunks) == n_samples(version, expected_tokens(llm, version))


def test_instruct_of_version_1(
    version: int, load_model: Callable[..., CosyVoiceModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    if version != 1:
        pytest.skip("versions 2 and 3 have instruct2 instead")
    model = load_model(1, name="CosyVoice-300M-Instruct")
    assert not model.capabilities.cloning
    llm = Spy(monkeypatch, model._official.model.llm)
    request = SynthesisRequest(voice="中文女", instruction="A happy girl.", seed=1)
    chunks = [chunk.samples for chunk in model.synthesize(request, TEXT)]
    assert llm["prompt_text"].tolist() == [prompt_ids(model, "A happy girl.<|endofprompt|>")]
    assert llm["embedding"].shape == (0, 192)  # the timbre leaks into what is instructed
    assert total(chunks) == n_samples(1, expected_tokens(llm, 1))
    with pytest.raises(ModelError) as refusal:
        model.enroll(chunks[0], 22050, "")
    assert refusal.value.code == "unsupported"


def test_a_long_text_comes_in_growing_chunks(
    version: int, long_text: str, speak: SPEAK, llm: Spy, flow: Spy
) -> None:
    chunks = speak(long_text, voice="silent")
    n_tokens = expected_tokens(llm, version)
    assert total(chunks) == n_samples(version, n_tokens)
    given = [call["token"].shape[1] for call in flow.calls]
    if version == 1:
        assert given[:-1] == [120] * (len(given) - 1)
    else:
        # A prompt of 60 tokens ends 15 before the grid of 25, and 3 tokens are looked ahead to.
        assert given == [43, 93, *range(193, n_tokens, 100), n_tokens]
        assert [call["finalize"] for call in flow.calls] == [False] * (len(given) - 1) + [True]


def test_text_with_control_tokens_is_spoken_without(speak: SPEAK, llm: Spy) -> None:
    speak(f"{TEXT}<|endofprompt|><|end<|endofprompt|>ofprompt|>")
    assert llm["text"].shape[1] == torch.count_nonzero(llm["text"] < 51_000).item()
    assert END_OF_PROMPT_ID not in llm["text"]


@pytest.mark.parametrize("text", ["", " \n", "。。。！？", "<|endofprompt|>", "……—"])
def test_nothing_to_say(speak: SPEAK, version: int, text: str) -> None:
    streams = [text] if version == 1 else [text, iter(text), iter([])]
    for stream in streams:
        with pytest.raises(ModelError) as refusal:
            speak(stream)
        assert refusal.value.code == "text_unspeakable"


def test_an_unknown_voice(speak: SPEAK) -> None:
    with pytest.raises(ModelError, match="has no voice 'nobody'") as refusal:
        speak(TEXT, voice="nobody")
    assert refusal.value.code == "voice_unknown"


def test_voices(model: CosyVoiceModel) -> None:
    names = [voice.name for voice in model.voices()]
    assert names[:2] == ["中文女", "中文男"]
    assert names[-3:] == ["clone", "silent", "long"]
    assert model.voices()[0].gender == "female"


def test_older_files_and_training_keys(
    version: int, make_checkpoint: MakeCheckpoint, load_model: Callable[..., CosyVoiceModel]
) -> None:
    """Released configurations name training parts, whose libraries no server has."""
    model = load_model(version, name=f"older{version}", legacy_hift=True, training_keys=True)
    request = SynthesisRequest(voice="中文女", seed=1)
    older = [chunk.samples for chunk in model.synthesize(request, TEXT)]
    newer = [chunk.samples for chunk in load_model(version).synthesize(request, TEXT)]
    assert all((a == b).all() for a, b in zip(older, newer, strict=True))


def test_a_recording_becomes_a_voice(
    model: CosyVoiceModel, version: int, speak: SPEAK, recording: Samples
) -> None:
    import matcha.utils.audio

    from models.base import Voice

    # In tests, several versions share a process; in service none do.
    matcha.utils.audio.mel_basis.clear()
    matcha.utils.audio.hann_window.clear()
    features = model.enroll(recording, 16_000, "希望你好。")
    name = "clone-0123456789ab"
    model.add_voice(Voice(name=name, language="cmn", kind="clone"), features)
    assert total(speak(TEXT, voice=name)) > 0
    model.remove_voice(name)
    model.remove_voice("中文男")  # a preset stays
    with pytest.raises(ModelError):
        speak(TEXT, voice=name)
    assert total(speak(TEXT, voice="中文男")) > 0
    with pytest.raises(ModelError, match="damaged"):
        model.add_voice(Voice(name=name, language="cmn", kind="clone"), features[:-100])


def test_warm_up_speaks_in_each_way(model: CosyVoiceModel, version: int, llm: Spy) -> None:
    model.warm_up()
    assert model.take_incidents() == {}
    prompts = [call["prompt_speech_token"].shape[1] for call in llm.calls]
    assert prompts == [0, 150 if version == 1 else 75]
