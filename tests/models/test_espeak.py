"""The embedded model, on the real library: what is heard, and when."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.base import ModelError, PcmChunk, Samples, SynthesisRequest, WordTime
from models.espeak import EspeakModel

PRESETS = ["中文女", "中文男", "英文女", "英文男", "日语男", "韩语女", "粤语女"]
TEXTS = {
    "cmn": "你好世界，今天天气真好。我们一起去公园散步吧。",
    "en-US": "Hello world, the weather is nice today. Shall we go?",
    "ja": "こんにちは、きょうはとてもいいてんきですね。",
    "ko": "안녕하세요, 오늘은 날씨가 정말 좋네요.",
    "yue": "你好世界，今日天氣真係好。",
}
RATE_HZ = 22050


def chunks(model: EspeakModel, text: str, voice: str = "中文女", **request: str) -> list[PcmChunk]:
    return list(model.synthesize(SynthesisRequest(voice=voice, **request), text))


def speech(model: EspeakModel, text: str, voice: str = "中文女", **request: str) -> Samples:
    return np.concatenate([chunk.samples for chunk in chunks(model, text, voice, **request)])


def words(model: EspeakModel, text: str, voice: str = "中文女") -> list[WordTime]:
    return [word for chunk in chunks(model, text, voice) for word in chunk.words]


def fundamental_hz(samples: Samples) -> float:
    """The median over voiced frames of 40 ms, by autocorrelation between 60 and 400 Hz."""
    size = int(0.04 * RATE_HZ)
    shortest, longest = RATE_HZ // 400, RATE_HZ // 60
    found = []
    for begin in range(0, len(samples) - size, size // 2):
        frame = samples[begin : begin + size].astype(np.float64)
        if np.sqrt(np.mean(frame**2)) < 0.02:
            continue
        likeness = np.correlate(frame, frame, "full")[size - 1 :] / np.sum(frame**2)
        candidates = likeness[shortest:longest]
        if candidates.max() > 0.5:
            # The first period that is nearly as good as the best: not two periods as one.
            first = np.flatnonzero(candidates > 0.9 * candidates.max())[0]
            found.append(RATE_HZ / (shortest + first))
    return float(np.median(found))


def decibels(samples: Samples) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(samples.astype(np.float64) ** 2))))


def test_the_rate_and_abilities_are_reported(espeak: EspeakModel) -> None:
    assert espeak.sample_rate_hz == RATE_HZ
    assert espeak.capabilities.word_times
    assert espeak.capabilities.slots == 1
    assert not espeak.capabilities.instruction
    assert not espeak.capabilities.text_stream


def test_presets_come_first_and_every_name_is_unique(espeak: EspeakModel) -> None:
    voices = espeak.voices()
    names = [voice.name for voice in voices]
    assert names[: len(PRESETS)] == PRESETS
    assert len(set(names)) == len(names) > 130
    assert all(re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", voice.language) for voice in voices)
    assert {voice.gender for voice in voices if voice.name.endswith("女")} == {"female"}
    assert {voice.gender for voice in voices if voice.name.endswith("男")} == {"male"}


def test_every_voice_speaks(espeak: EspeakModel) -> None:
    for voice in espeak.voices():
        assert decibels(speech(espeak, "no 5", voice.name)) > -40, voice.name


@pytest.mark.parametrize("voice", PRESETS)
def test_presets_are_loud_enough_and_do_not_clip(espeak: EspeakModel, voice: str) -> None:
    language = next(each.language for each in espeak.voices() if each.name == voice)
    samples = speech(espeak, TEXTS[language], voice)
    assert samples.dtype == np.float32
    assert -22 < decibels(samples) < -18
    assert np.abs(samples).max() < 0.99


@pytest.mark.parametrize(("female", "male"), [("中文女", "中文男"), ("英文女", "英文男")])
def test_women_speak_higher_than_men(espeak: EspeakModel, female: str, male: str) -> None:
    text = TEXTS["cmn"] + TEXTS["en-US"]
    high, low = (fundamental_hz(speech(espeak, text, voice)) for voice in (female, male))
    assert 180 < high < 260
    assert 90 < low < 130


def test_the_first_chunk_is_short_and_the_others_are_not(espeak: EspeakModel) -> None:
    sizes = [len(chunk.samples) for chunk in chunks(espeak, TEXTS["cmn"])]
    assert 0 < sizes[0] <= 0.061 * RATE_HZ
    assert min(sizes[1:-1]) >= 0.1 * RATE_HZ


@pytest.mark.parametrize("voice", PRESETS)
@pytest.mark.parametrize("text", ["你好", "OK, then.", "吗？", "안녕!", "はい"])
def test_segments_can_be_put_end_to_end(espeak: EspeakModel, voice: str, text: str) -> None:
    samples = speech(espeak, text, voice)
    heard = np.flatnonzero(np.abs(samples) > 60 / 32768)
    assert abs(samples[0]) < 0.002
    assert abs(samples[-1]) < 0.0001
    assert heard[0] <= 0.0115 * RATE_HZ
    assert 0.095 * RATE_HZ <= len(samples) - heard[-1] <= 0.255 * RATE_HZ


# --- Words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("voice", "text", "expected"),
    [
        ("中文女", "世界和平。", ["世", "界", "和", "平"]),
        ("中文女", "共300元，GPT-4o真好", ["共", "300", "元", "GPT", "4", "o", "真", "好"]),
        ("中文女", "英雄的熊猫", ["英", "雄", "的", "熊", "猫"]),
        ("英文女", "It's 3.14 o'clock, Dr. Who!", ["It's", "3.14", "o'clock", "Dr", "Who"]),
        ("英文男", "I said 你们 twice", ["I", "said", "你", "们", "twice"]),
        ("英文男", "cafe\u0301 au lait", ["cafe\u0301", "au", "lait"]),
        ("日语男", "きょうは、コンピューター", ["きょうは", "コンピューター"]),
        ("韩语女", "안녕하세요 세계", ["안녕하세요", "세계"]),
        ("中文女", "Hello! Привет 😀 [x]", ["Hello", "Привет", "x"]),
    ],
)
def test_words_are_found_in_the_text(
    espeak: EspeakModel, voice: str, text: str, expected: list[str]
) -> None:
    found = words(espeak, text, voice)
    assert [text[word.text_begin : word.text_end] for word in found] == expected


def check_words(text: str, spoken: list[PcmChunk]) -> None:
    """In order, apart, within the text and within the audio that has come with them."""
    heard_s, last_s, last_index = 0.0, 0.0, 0
    for chunk in spoken:
        heard_s += len(chunk.samples) / RATE_HZ
        for word in chunk.words:
            assert last_s <= word.begin_s < word.end_s <= heard_s + 1e-9
            assert last_index <= word.text_begin < word.text_end <= len(text)
            last_s, last_index = word.end_s, word.text_end


@pytest.mark.parametrize("voice", PRESETS)
def test_word_times_are_in_order_and_within_the_audio(espeak: EspeakModel, voice: str) -> None:
    text = "".join(TEXTS.values())
    check_words(text, chunks(espeak, text, voice))


def test_words_end_before_the_pause_after_them(espeak: EspeakModel) -> None:
    text = "世界，和平。"
    samples = speech(espeak, text)
    first, *_, last = words(espeak, text)
    assert first.begin_s == 0
    assert len(samples) / RATE_HZ - last.end_s >= 0.1
    world, peace = words(espeak, text)[1:3]
    assert peace.begin_s - world.end_s > 0.05


def test_times_lie_on_the_sounds(espeak: EspeakModel) -> None:
    """What is heard in a word's time is loud, what is heard between clauses is not."""
    text = "Wow, no, why."
    samples = speech(espeak, text, "英文男")
    spans = [
        samples[int(word.begin_s * RATE_HZ) : int(word.end_s * RATE_HZ)]
        for word in words(espeak, text, "英文男")
    ]
    assert all(decibels(span) > -30 for span in spans)
    wow, no, _ = words(espeak, text, "英文男")
    pause = samples[round(wow.end_s * RATE_HZ) : round(no.begin_s * RATE_HZ)]
    assert len(pause) > 0.05 * RATE_HZ
    assert np.abs(pause).max() < 0.002


# --- Scripts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("voice", ["中文女", "英文女", "日语男", "韩语女", "粤语女", "ru", "ar"])
@pytest.mark.parametrize(
    "text", ["Hello", "你们好", "東京", "ありがとう", "감사합니다", "Спасибо", "شكرا", "ευχαριστώ"]
)
def test_a_text_in_another_script_is_spoken_whole(
    espeak: EspeakModel, voice: str, text: str
) -> None:
    found = words(espeak, text, voice)
    assert found[0].text_begin == 0
    assert found[-1].text_end == len(text)
    # Spelled character by character, as the library would do by itself, it would be longer.
    assert found[-1].end_s < 0.5 * len(text) + 0.3


def test_numbers_are_read_in_the_language_around_them(espeak: EspeakModel) -> None:
    # Mandarin says 37 in three syllables, English in four; the rest of the time is the same.
    assert len(speech(espeak, "37", "cmn")) != len(speech(espeak, "37", "en-US"))
    in_chinese = words(espeak, "共37元 only", "en-US")
    alone = words(espeak, "共37元", "cmn")
    assert in_chinese[1].end_s - in_chinese[1].begin_s == pytest.approx(
        alone[1].end_s - alone[1].begin_s, rel=0.1
    )


def test_a_language_in_the_request_takes_the_voice_along(espeak: EspeakModel) -> None:
    as_it_is = fundamental_hz(speech(espeak, "90 90 90", "中文女"))
    assert fundamental_hz(speech(espeak, "90 90 90", "中文女", language="fr-CA")) > 170
    assert as_it_is > 170
    assert len(speech(espeak, "90", "中文女", language="fr-CA")) == len(
        speech(espeak, "90", "中文女", language="fr")
    )


# --- Text that is none, or means harm -----------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "  \n", "。，！", "...", "😀👍🏽", "\x00\x01", "\ud800", "[[]]", "\u0301", "ខ្មែរ"]
)
def test_what_cannot_be_spoken_is_an_error(espeak: EspeakModel, text: str) -> None:
    with pytest.raises(ModelError) as caught:
        chunks(espeak, text)
    assert caught.value.code == "text_unspeakable"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("[[h@loU]] you", "  h@loU   you"),
        ("a\x01ba\x0150P b", "a ba 50P b"),
        ("Hi\x00 there", "Hi  there"),
        ("Hi\ud83d there", "Hi  there"),
        ("be\u200bfore", "before"),
        ("\u202eabc\u202c", "abc"),
        ("ｈｅｌｌｏ １２", "hello 12"),
        ("cafe\u0301", "café"),
    ],
)
def test_text_is_only_ever_text(espeak: EspeakModel, text: str, plain: str) -> None:
    assert np.array_equal(speech(espeak, text, "en-US"), speech(espeak, plain, "en-US"))


def test_ssml_has_no_effect(espeak: EspeakModel) -> None:
    assert len(speech(espeak, "no <break time='9s'/> pause", "en-US")) < 9 * RATE_HZ


def test_very_long_text_without_a_pause_is_spoken_from_the_start(espeak: EspeakModel) -> None:
    for text in ("好" * 20_000, "a" * 20_000, "7" * 20_000):
        stream = espeak.synthesize(SynthesisRequest(voice="中文女"), text)
        assert len(next(stream).samples) > 0
        stream.close()


def test_nothing_is_left_out_of_a_long_text(espeak: EspeakModel) -> None:
    found = words(espeak, "我们" * 500)
    assert found[-1].text_end == 1000
    gaps = [later.text_begin - earlier.text_end for earlier, later in pairwise(found)]
    assert set(gaps) == {0}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.text(st.sampled_from("你好，。,. 3.14-ab'Éでカ안Ж\n[]兄熊\u0301\u200d😀"), max_size=60),
    ),
    voice=st.sampled_from([*PRESETS, "ar", "hi", "th", "ru", "cmn-Latn-pinyin"]),
)
def test_any_text_is_spoken_or_refused(espeak: EspeakModel, text: str, voice: str) -> None:
    try:
        spoken = chunks(espeak, text, voice)
    except ModelError as error:
        assert error.code == "text_unspeakable"  # noqa: PT017 - a refusal is one of two answers
        return
    assert all(len(chunk.samples) > 0 for chunk in spoken)
    assert max(np.abs(chunk.samples).max() for chunk in spoken) <= 1
    check_words(text, spoken)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (SynthesisRequest(voice="nobody"), "voice_unknown"),
        (SynthesisRequest(voice="cmn+f3"), "voice_unknown"),
        (SynthesisRequest(voice="中文女", language="xx"), "unsupported"),
    ],
)
def test_what_the_model_lacks_is_refused_at_once(
    espeak: EspeakModel, request_: SynthesisRequest, code: str
) -> None:
    with pytest.raises(ModelError) as caught:
        espeak.synthesize(request_, "你好")
    assert caught.value.code == code


def test_a_stream_of_text_is_refused(espeak: EspeakModel) -> None:
    with pytest.raises(ModelError, match="stream"):
        espeak.synthesize(SynthesisRequest(voice="cmn"), iter(["你好"]))


# --- One after the other, at once, and broken off -----------------------------------------------


def test_the_same_text_gives_the_same_samples(espeak: EspeakModel) -> None:
    text = "你好，sixty six thieves. 英雄"
    before = speech(espeak, text)
    speech(espeak, "Whatever comes between, the breath and the flutter differ.", "英文男")
    stream = espeak.synthesize(SynthesisRequest(voice="粤语女"), "半途而廢" * 50)
    next(stream)
    stream.close()
    assert np.array_equal(speech(espeak, text), before)


def test_streams_do_not_wait_for_one_another(espeak: EspeakModel) -> None:
    text = "你好，世界。" * 30
    expected = speech(espeak, text)
    parked = espeak.synthesize(SynthesisRequest(voice="中文女"), text)
    first = next(parked)
    results: dict[int, Samples] = {}

    def run(i: int) -> None:
        results[i] = speech(espeak, text)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(samples, expected) for samples in results.values())
    rest = [chunk.samples for chunk in parked]
    assert np.array_equal(np.concatenate([first.samples, *rest]), expected)


def test_closing_a_stream_stops_the_library(capfd: pytest.CaptureFixture[str]) -> None:
    before = set(psutil.Process().children())
    model = EspeakModel()
    try:
        (host,) = set(psutil.Process().children()) - before
        stream = model.synthesize(SynthesisRequest(voice="中文女"), "好" * 1000)
        next(stream)
        speaking = host.children()
        assert len(speaking) == 1
        stream.close()
        gone, alive = psutil.wait_procs(speaking, timeout=10)
        assert (gone, alive) == (speaking, [])
        assert host.is_running()
    finally:
        model.close()
    assert capfd.readouterr().err == ""


def test_a_library_that_was_killed_is_replaced() -> None:
    before = set(psutil.Process().children())
    model = EspeakModel()
    try:
        (host,) = set(psutil.Process().children()) - before
        expected = speech(model, "你好")
        host.kill()
        psutil.wait_procs([host], timeout=10)
        assert np.array_equal(speech(model, "你好"), expected)
    finally:
        model.close()


def test_closing_the_model_ends_its_process() -> None:
    before = set(psutil.Process().children())
    model = EspeakModel()
    model.warm_up()
    hosts = set(psutil.Process().children()) - before
    model.close()
    assert len(hosts) == 1
    assert not set(psutil.Process().children()) - before


def test_the_library_does_not_outlive_its_worker() -> None:
    script = "from models.espeak import EspeakModel as M; m = M(); print(1, flush=True); input()"
    command = (sys.executable, "-c", script)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        hosts = psutil.Process(worker.pid).children()
        worker.kill()
    assert len(hosts) == 1
    assert psutil.wait_procs(hosts, timeout=10)[1] == []


def test_a_crash_of_the_library_is_one_failed_synthesis() -> None:
    before = set(psutil.Process().children())
    model = EspeakModel()
    try:
        (host,) = set(psutil.Process().children()) - before
        stream = model.synthesize(SynthesisRequest(voice="中文女"), "好" * 1000)
        next(stream)
        for child in host.children():
            child.kill()
        with pytest.raises(ModelError) as caught:
            list(stream)
        assert caught.value.code == "failed"
        assert len(speech(model, "你好")) > 0
    finally:
        model.close()
