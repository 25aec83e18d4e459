"""From streamed text to utterances: indices into the text as the client wrote it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import Capabilities
from server.errors import ErrorCode, SpeechError
from server.speech.types import SpeechOptions
from server.speech.utterance import Utterance
from server.speech.utterances import UtteranceReader


def read(
    *pieces: str, ssml: bool = False, clean: bool = True, instruction: bool = False
) -> list[Utterance]:
    options = SpeechOptions(voice="x", ssml=ssml, clean_markup=clean)
    reader = UtteranceReader(
        options, language="cmn", capabilities=Capabilities(instruction=instruction)
    )
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return read_all(reader)


def read_all(reader: UtteranceReader) -> list[Utterance]:
    """All utterances of what has come."""
    utterances = []
    while (utterance := reader.read()) is not None or reader.unread:
        if utterance is not None:
            utterances.append(utterance)
    return utterances


def sources(utterance: Utterance, text: str) -> str:
    """What `spoken` was made of."""
    begin, end = utterance.source_span(0, len(utterance.spoken))
    return text[begin:end]


def test_plain_text() -> None:
    text = "今天天气很好。我们去公园吧！"
    first, second = read(text)
    assert (first.text, first.text_begin, first.text_end) == ("今天天气很好。", 0, 7)
    assert (second.text, second.text_begin, second.text_end) == ("我们去公园吧！", 7, 14)
    assert sources(second, text) == "我们去公园吧！"


def test_markdown_is_dropped_and_indices_stay() -> None:
    text = "# **今天**天气很好。\n我有25℃的水。"
    first, second = read(text)
    assert first.spoken == "今天天气很好。"
    assert first.source_span(0, 2) == (4, 6)
    at = second.spoken.index("二十五")
    assert text[slice(*second.source_span(at, at + 3))] == "25℃"


def test_markup_can_be_kept() -> None:
    (only,) = read("**今天**天气很好。", clean=False)
    assert "*" in only.spoken


SSML = '<speak>今天<sub alias="天气预报">TQYB</sub>说。<break time="2s"/>明天下雨。</speak>'


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_ssml_in_pieces(size: int) -> None:
    pieces = [SSML[i : i + size] for i in range(0, len(SSML), size)]
    first, second = read(*pieces, ssml=True)
    assert (first.spoken, first.pause_s) == ("今天天气预报说。", 2.0)
    assert (second.spoken, second.pause_s) == ("明天下雨。", 0.0)
    assert SSML[second.text_begin : second.text_end] == second.text == "明天下雨。"
    begin, end = first.source_span(2, 6)
    assert SSML[begin:end] == "TQYB"


def test_plain_text_around_ssml() -> None:
    text = "今天天气很好。<speak>明天下雨。</speak>后天有风。"
    utterances = read(text, ssml=True)
    assert [u.spoken for u in utterances] == ["今天天气很好。", "明天下雨。", "后天有风。"]
    assert [text[u.text_begin : u.text_end] for u in utterances] == [u.text for u in utterances]


def test_a_pause_before_anything_is_no_sentence() -> None:
    first, second = read('<speak><break time="1s"/>你好吗。</speak>', ssml=True)
    assert (first.announced, first.spoken, first.pause_s) == (False, "", 1.0)
    assert second.announced


def test_verbatim_text_is_not_normalised_again() -> None:
    (only,) = read(
        '<speak>号码<say-as interpret-as="telephone">10086</say-as>和25℃。</speak>', ssml=True
    )
    assert "幺" in only.spoken
    assert "二十五" in only.spoken


EMOTIONAL = '<speak>听着：<emotion category="happy">我中奖了。真的！</emotion>走吧。</speak>'


def test_an_emotion_begins_and_ends_an_utterance() -> None:
    utterances = read(EMOTIONAL, ssml=True, instruction=True)
    assert [(u.spoken, u.instruction) for u in utterances] == [
        ("听着：", ""),
        ("我中奖了。", "happy"),
        ("真的！", "happy"),
        ("走吧。", ""),
    ]
    assert [EMOTIONAL[u.text_begin : u.text_end] for u in utterances] == [
        u.text for u in utterances
    ]


def test_without_instructions_an_emotion_changes_nothing() -> None:
    plain = "<speak>听着：我中奖了。真的！走吧。</speak>"
    assert [(u.spoken, u.instruction) for u in read(EMOTIONAL, ssml=True)] == [
        (u.spoken, "") for u in read(plain, ssml=True)
    ]


@pytest.mark.parametrize("text", ["<speak>", "<speak>a<b></speak>", "<speak>&x;</speak>"])
def test_broken_ssml(text: str) -> None:
    with pytest.raises(SpeechError) as caught:
        read(text, ssml=True)
    assert caught.value.code is ErrorCode.SSML_INVALID


def test_an_unspeakable_pause_is_answered_once() -> None:
    reader = UtteranceReader(SpeechOptions(voice="x"), language="cmn")
    reader.feed("！！")
    reader.pause()
    (empty,) = read_all(reader)
    assert (empty.spoken, empty.announced) == ("", True)
    reader.pause()
    assert read_all(reader) == []
    reader.feed("你好吗？明天见。")
    (real, *_) = read_all(reader)
    assert real.spoken.startswith("你好吗")


def test_reading_goes_no_further_than_asked() -> None:
    """Minutes of text cost nothing before they are needed."""
    reader = UtteranceReader(SpeechOptions(voice="x"), language="cmn")
    reader.feed("今天天气很好。" * 10_000)
    assert reader.read() is not None
    assert reader.unread


def test_much_text_that_says_nothing_is_read_in_turns() -> None:
    reader = UtteranceReader(SpeechOptions(voice="x"), language="cmn")
    reader.feed("```\n" + "x = 1\n" * 10_000)
    assert reader.read() is None
    assert reader.unread


@given(st.text(alphabet="今天a1。，.?!\n`*<> 😀", max_size=60), st.integers(1, 9))
def test_indices_always_point_into_the_text(text: str, size: int) -> None:
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    last = 0
    for utterance in read(*pieces):
        assert text[utterance.text_begin : utterance.text_end] == utterance.text
        assert utterance.text_begin >= last
        last = utterance.text_end
        for i in range(len(utterance.spoken)):
            begin, end = utterance.source_span(i, i + 1)
            assert utterance.text_begin <= begin <= end <= utterance.text_end
