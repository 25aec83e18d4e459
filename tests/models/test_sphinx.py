"""The embedded recogniser hears what the embedded voices say."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import soxr

from models.base import ModelError, Samples, SynthesisRequest
from models.espeak import EspeakModel
from models.recognition import RecognitionRequest, Transcript
from models.sphinx import SphinxRecognizer
from models.utterances import AgreedWords, UtteranceDetector

COMMANDS = [
    "stop",
    "turn on the light",
    "turn off the light",
    "open the door",
    "close the door",
    "play music",
    "turn left",
    "turn right",
]
REQUEST = RecognitionRequest()


@pytest.fixture(scope="module")
def voice() -> Iterator[EspeakModel]:
    model = EspeakModel()
    yield model
    model.close()


@pytest.fixture(scope="module")
def recognizer() -> SphinxRecognizer:
    return SphinxRecognizer(phrases=COMMANDS)


def say(model: EspeakModel, text: str) -> Samples:
    request = SynthesisRequest(voice="en-US")
    samples = np.concatenate([chunk.samples for chunk in model.synthesize(request, text)])
    at_16k = soxr.resample(samples, model.sample_rate_hz, 16_000).astype(np.float32)
    return np.concatenate([silence(0.5), at_16k, silence(0.8)])


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * 16_000), np.float32)


def hear(recognizer: SphinxRecognizer, audio: Samples, piece: int = 1600) -> list[Transcript]:
    pieces = (audio[begin : begin + piece] for begin in range(0, len(audio), piece))
    return list(recognizer.recognize(REQUEST, pieces))


def test_commands_are_understood(voice: EspeakModel, recognizer: SphinxRecognizer) -> None:
    heard = [hear(recognizer, say(voice, text))[-1].text for text in COMMANDS]
    # "on" and "off" are one word error among 23.
    right = sum(text == transcript for text, transcript in zip(COMMANDS, heard, strict=True))
    assert right >= len(COMMANDS) - 1, heard


def test_free_speech_is_heard_as_some_english(voice: EspeakModel) -> None:
    transcript = hear(SphinxRecognizer(), say(voice, "one two three four five"))[-1]
    assert len(transcript.text.split()) >= 3
    assert set(transcript.text.split()) & {"one", "two", "three", "four", "five"}


def test_a_pause_ends_an_utterance_and_its_words_stay(
    voice: EspeakModel, recognizer: SphinxRecognizer
) -> None:
    audio = np.concatenate([say(voice, "turn on the light"), say(voice, "close the door")])
    transcripts = hear(recognizer, audio)
    assert transcripts[-1].text == "turn on the light close the door"
    assert transcripts[-1].stable_characters == len(transcripts[-1].text)
    assert transcripts[-1].audio_s == pytest.approx(len(audio) / 16_000)
    before = [one for one in transcripts if one.audio_s < len(audio) / 32_000]
    assert before, "nothing was told before the audio ended"
    assert "turn on the light".startswith(before[-1].text[: before[-1].stable_characters])


def test_what_is_stable_is_never_taken_back(
    voice: EspeakModel, recognizer: SphinxRecognizer
) -> None:
    told = ""
    for one in hear(recognizer, say(voice, "turn off the light"), piece=999):
        assert one.text.startswith(told)
        told = one.text[: one.stable_characters]


def test_pieces_of_any_size_are_heard_alike(
    voice: EspeakModel, recognizer: SphinxRecognizer
) -> None:
    audio = say(voice, "open the door")
    finals = {hear(recognizer, audio, piece)[-1].text for piece in (77, 480, 16_000, 10**6)}
    assert finals == {"open the door"}


@pytest.mark.parametrize("seconds", [0.0, 0.01, 2.0])
def test_silence_is_an_empty_text(recognizer: SphinxRecognizer, seconds: float) -> None:
    transcript = hear(recognizer, silence(seconds))[-1]
    assert (transcript.text, transcript.stable_characters) == ("", 0)
    assert transcript.audio_s == pytest.approx(seconds)


def test_a_stream_that_is_given_up_leaves_its_decoder_usable(
    voice: EspeakModel, recognizer: SphinxRecognizer
) -> None:
    audio = say(voice, "play music")
    for _ in range(3):
        stream = recognizer.recognize(REQUEST, iter(np.array_split(audio, 20)))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    assert hear(recognizer, audio)[-1].text == "play music"


def test_another_language_is_refused(recognizer: SphinxRecognizer) -> None:
    with pytest.raises(ModelError, match="hears English only, not 'zh-CN'") as refused:
        recognizer.recognize(RecognitionRequest(language="zh-CN"), iter([]))
    assert refused.value.code == "unsupported"
    assert not list(recognizer.recognize(RecognitionRequest(language="en-GB"), iter([])))[-1].text


def test_words_that_the_dictionary_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="'xyzzyq' is not in"):
        SphinxRecognizer(phrases=["one", "xyzzyq"])
    with pytest.raises(ValueError, match="is not in"):
        SphinxRecognizer(phrases=["one);"])


def test_an_utterance_without_a_pause_is_ended(voice: EspeakModel) -> None:
    audio = np.tile(say(voice, "play music")[8000:-12800], 8)
    detector = UtteranceDetector(16_000, max_utterance_s=2.0)
    ends = [heard for heard in detector.hear([audio]) if heard.ended and heard.speech]
    assert len(ends) >= 3


@pytest.mark.parametrize("samples", [0, 1, 479])
def test_audio_may_end_in_the_middle_of_speech(voice: EspeakModel, samples: int) -> None:
    audio = say(voice, "play music")[: 480 * 40 + samples]
    *_, last = UtteranceDetector(16_000).hear([audio])
    assert (last.ended, last.audio_s) == (True, len(audio) / 16_000)
    assert last.speech


def test_words_are_agreed_on_by_hypotheses_in_a_row() -> None:
    words = AgreedWords()
    assert words.update(["turn"]) == ["turn"]
    assert words.update(["turn", "on"]) == ["turn", "on"]
    assert words.agreed == []
    words.update(["turn", "on", "the"])
    words.update(["turn", "of", "the", "light"])
    assert words.agreed == ["turn"]
    assert words.finish(["burn", "off", "the", "light"]) == ["turn", "off", "the", "light"]
