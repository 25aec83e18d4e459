"""SenseVoice with a stand-in for FunASR: what it is called with, and what becomes of its results.

The stand-in answers in the form of FunASR 1.4; neither the package nor the weights are here.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

from models.base import ModelError, Samples
from models.recognition import RecognitionRequest, Transcript
from server.recognizer_kinds import KINDS, recognizer_spec
from server.settings import RecognizerSettings

TAGS = "<|zh|><|NEUTRAL|><|Speech|><|withitn|>"
RATE_HZ = 16_000


class AutoModel:
    """FunASR's, as far as it is used: texts by the length of what is heard."""

    made: ClassVar[list[AutoModel]] = []
    has_gpu = True
    answer: Callable[[float], str] = staticmethod(lambda seconds: "")

    def __init__(self, **kwargs: Any) -> None:
        self.asked = kwargs
        device = kwargs.get("device", "cuda")
        self.kwargs = {"device": device if self.has_gpu else "cpu"}
        self.calls: list[dict[str, Any]] = []
        self.made.append(self)

    def generate(self, input: Any, **settings: Any) -> list[dict[str, Any]]:  # noqa: A002
        assert (input.dtype, input.ndim) == (np.float32, 1)
        assert np.abs(input).max(initial=0) <= 1
        self.calls.append(settings)
        return [{"key": "rand_key", "text": self.answer(input.size / RATE_HZ)}]


@pytest.fixture
def funasr(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[AutoModel]]:
    package = types.ModuleType("funasr")
    package.AutoModel = AutoModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "funasr", package)
    monkeypatch.setattr(AutoModel, "made", [])
    yield AutoModel
    sys.modules.pop("models.sensevoice", None)


def make(**options: Any) -> Any:
    return importlib.import_module("models.sensevoice").SenseVoiceRecognizer(**options)


def speech(seconds: float) -> Samples:
    """What voice activity detection takes for speech: a voice-like buzz."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tones = sum(np.sin(2 * np.pi * 120 * n * time_s) / n for n in range(1, 20))
    return (0.3 * tones * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_s))).astype(np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def hear(recognizer: Any, *audio: Samples, **request: Any) -> list[Transcript]:
    whole = np.concatenate([silence(0.5), *audio, silence(1)])
    pieces = iter(np.array_split(whole, max(1, whole.size // 1600)))
    return list(recognizer.recognize(RecognitionRequest(**request), pieces))


def test_the_model_is_asked_for_as_funasr_wants_it(funasr: type[AutoModel]) -> None:
    make()
    make(model="/models/SenseVoiceSmall", hub="hf", device="cuda:0")
    quiet = {"disable_update": True, "disable_pbar": True}
    assert [one.asked for one in funasr.made] == [
        {"model": "iic/SenseVoiceSmall", "hub": "ms", **quiet},
        {"model": "/models/SenseVoiceSmall", "hub": "hf", "device": "cuda:0", **quiet},
    ]


def test_a_gpu_that_is_not_there_is_told(
    funasr: type[AutoModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(funasr, "has_gpu", False)
    with pytest.raises(ValueError, match="'cuda:0' is not there"):
        make(device="cuda:0")
    make()


def test_tags_are_no_text(funasr: type[AutoModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(funasr, "answer", staticmethod(lambda _: f"{TAGS}今天天气很好。"))
    last = hear(make(), speech(1))[-1]
    assert last.text == "今天天气很好。"
    assert last.stable_characters == len(last.text)
    assert last.audio_s == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("你好。", "再见。", "你好。再见。"),
        ("Hello.", "Bye.", "Hello. Bye."),
        ("你好。", "Bye.", "你好。Bye."),
        ("", "Bye.", "Bye."),
        ("안녕.", "네.", "안녕. 네."),
    ],
)
def test_utterances_are_joined_as_their_script_is_written(
    funasr: type[AutoModel], monkeypatch: pytest.MonkeyPatch, first: str, second: str, joined: str
) -> None:
    texts = iter([first, second])
    monkeypatch.setattr(funasr, "answer", staticmethod(lambda _: TAGS + next(texts)))
    # Too short to be heard before it has ended.
    audio = (speech(0.3), silence(1), speech(0.3))
    assert hear(make(), *audio)[-1].text == joined


def test_an_open_utterance_is_heard_again_and_again(
    funasr: type[AutoModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "一二三四五六七八九十"
    monkeypatch.setattr(
        funasr, "answer", staticmethod(lambda s: TAGS + sentence[: int(s * 2)] + "。")
    )
    recognizer = make()
    transcripts = hear(recognizer, speech(4))
    assert 6 <= len(funasr.made[0].calls) <= 9
    told = ""
    for one in transcripts:
        stable = one.text[: one.stable_characters]
        assert stable.startswith(told)
        told = stable
    assert any(0 < one.stable_characters < len(one.text) for one in transcripts)


@pytest.mark.parametrize(
    ("option", "asked", "language"),
    [("auto", "", "auto"), ("yue", "", "yue"), ("auto", "zh-CN", "zh"), ("ja", "en-GB", "en"),
     ("auto", "cmn", "zh")],
)  # fmt: skip
def test_the_language_is_passed_on(
    funasr: type[AutoModel], option: str, asked: str, language: str
) -> None:
    hear(make(language=option), speech(1), language=asked, punctuation=False)
    assert funasr.made[0].calls
    assert {call["language"] for call in funasr.made[0].calls} == {language}
    assert {call["use_itn"] for call in funasr.made[0].calls} == {False}


def test_other_languages_are_refused(funasr: type[AutoModel]) -> None:
    with pytest.raises(ModelError, match="not 'fr'") as refused:
        hear(make(), speech(1), language="fr")
    assert refused.value.code == "unsupported"
    with pytest.raises(ValueError, match="'fr'"):
        make(language="fr")
    assert not funasr.made[1:]


def test_nothing_is_heard_in_silence(funasr: type[AutoModel]) -> None:
    assert hear(make(), silence(3)) == [Transcript("", 0, 4.5)]
    assert funasr.made[0].calls == []
    recognizer = make()
    recognizer.warm_up()
    assert len(funasr.made[1].calls) == 1


def test_it_is_as_it_was_described(funasr: type[AutoModel]) -> None:
    recognizer = make()
    assert recognizer.capabilities == KINDS["sensevoice"].capabilities
    assert recognizer.sample_rate_hz == KINDS["sensevoice"].sample_rate_hz
    spec = recognizer_spec(RecognizerSettings(kind="sensevoice", options={"parked": 5}))
    assert spec is not None
    assert spec.info is not None
    assert spec.info.capabilities == msgspec.structs.replace(recognizer.capabilities, parked=5)
