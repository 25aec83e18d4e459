"""Sentences that are spoken while they are written: what is given out early, and is it right?"""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.speech.growth import Growth
from server.speech.normalizer import Normalizer
from server.speech.segmenter import Segmenter
from server.speech.stable_prefix import stable_end
from server.speech.types import SpeechOptions
from server.speech.utterance import Utterance
from server.speech.utterances import UtteranceReader


@pytest.mark.parametrize(
    ("text", "stable"),
    [
        # Han and kana count at once, marks when something follows them.
        ("", ""),
        ("今", "今"),
        ("今天天气，", "今天天气"),
        ("今天天气，很", "今天天气，很"),
        ("ありがとう、また", "ありがとう、また"),
        ("他说：“好", "他说：“好"),
        ("他说：“", "他说"),
        ("好，，我们", "好"),
        ("”然后", "”然后"),
        ("…还是", "…还是"),
        ("……还是", ""),
        ("\n\n今天", "\n\n今天"),
        # A word counts when another follows; the blank goes with that one.
        ("Hello", ""),
        ("Hello ", ""),
        ("Hello wor", "Hello"),
        ("Hello, wor", "Hello,"),
        ('He said "yes, I', 'He said "yes,'),
        ("I don't like well-known na", "I don't like well-known"),
        ("用Pyth", "用"),
        ("用Python写", "用Python写"),
        ("안녕하세요 오늘", "안녕하세요"),
        ("Привет мир", "Привет"),
        # Words that what follows may change.
        ("in May 5", "in"),
        ("RMB 5", ""),
        ("see example.com", "see"),
        ("ask Mr. Smith", "ask"),
        ("see http://a.b/c", "see"),
        ("use GPT-4o", "use"),
        ("let x = 3", "let"),
        # A number waits for a clause mark and what follows it, among Chinese.
        ("第3章", "第"),
        ("一共25", "一共"),
        ("一共25℃，", "一共"),
        ("一共25℃，我", "一共25℃，我"),
        ("一共2024，3月", "一共"),
        ("在8:30，我们去", "在8:30，我们去"),
        ("it is 25, so", "it"),
        ("3-5天，我们", ""),
        ("全部25個の，です", "全部"),
        ("1. 今天，我们", ""),
        # Markup and what looks like it.
        ("**今天**天气", ""),
        ("我们**要**去", "我们"),
        ("好[1]的", "好"),
        ("好<b>的", "好"),
        ("好\n- 一", "好"),
        ("好😀的", "好"),
        ("好\ud83d", "好"),
        ("好【3†a】", "好"),
        ("Ａ组和B组", ""),
        ("是πr", "是"),
    ],
)
def test_stable_prefix(text: str, stable: str) -> None:
    assert text[: stable_end(text)] == stable


def test_a_stable_prefix_never_shrinks() -> None:
    end = stable_end("一共25℃，我们")
    assert stable_end("一共25℃，我们。。", end) >= end


def test_what_was_given_out_stays() -> None:
    """The numbers of a Chinese beginning stay Chinese, though the whole would be Japanese."""
    growth = Growth(language="cmn", expand=True)
    text = "一共25℃，我们"
    assert growth.advance(text)
    assert growth.spoken.text == "一共二十五摄氏度，我们"
    longer = text + "のほうはとてもよいと思いますよ"
    assert not growth.advance(longer)
    whole = Normalizer(language="cmn").normalize(longer)
    assert not whole.text.startswith(growth.spoken.text)
    complete = growth.complete(whole)
    assert complete.text == "一共二十五摄氏度，我们のほうはとてもよいと思いますよ"
    assert len(complete.origins) == len(complete.ends) == len(complete.text)
    assert longer[complete.origins[-1] : complete.ends[-1]] == "よ"


def read_all(reader: UtteranceReader) -> list[Utterance]:
    utterances = []
    while (utterance := reader.read()) is not None or reader.unread:
        if utterance is not None:
            utterances.append(utterance)
    return utterances


def read_growing(
    reader: UtteranceReader, pieces: list[str]
) -> tuple[list[Utterance], list[list[Utterance]]]:
    """All utterances, and for each what was given out of it before."""
    utterances: list[Utterance] = []
    growths: list[list[Utterance]] = []
    growing: list[Utterance] = []
    for piece in [*pieces, None]:
        if piece is None:
            reader.finish()
        else:
            reader.feed(piece)
        for utterance in read_all(reader):
            utterances.append(utterance)
            growths.append(growing)
            growing = []
        if piece is not None and (beginning := reader.grow()) is not None:
            growing.append(beginning)
    assert growing == []
    return utterances, growths


def reader_of(*, language: str = "cmn", clean: bool = True, ssml: bool = False) -> UtteranceReader:
    options = SpeechOptions(voice="x", clean_markup=clean, ssml=ssml)
    return UtteranceReader(options, language=language)


def test_a_sentence_grows_and_ends_where_the_segmenter_says() -> None:
    utterances, growths = read_growing(reader_of(), list("今天25℃，天气真是很好。我"))
    first, second, last = utterances
    assert [beginning.spoken for beginning in growths[0]] == ["今", "今天"]
    assert first.spoken == "今天二十五摄氏度，"
    assert [beginning.text for beginning in growths[1]] == ["天气真是很好"[:n] for n in range(1, 7)]
    assert growths[1][-1].text_begin == second.text_begin == 6
    assert (second.text_end, last.text_begin) == (13, 13)


def test_code_and_reasoning_do_not_grow() -> None:
    text = "<think>今天想一想。还要想。</think>\n```\n你好世界。再见世界\n```\n好的，我们开始。"
    utterances, growths = read_growing(reader_of(), list(text))
    spoken = [b.spoken for growth in growths for b in growth]
    assert all("好的，我们开始。".startswith(beginning) for beginning in spoken)
    assert "".join(utterance.spoken for utterance in utterances) == "好的，我们开始。"


def test_ssml_does_not_grow() -> None:
    reader = reader_of(ssml=True)
    reader.feed("今天天气")
    assert read_all(reader) == []
    assert reader.grow() is None


def test_a_flush_completes_it() -> None:
    reader = reader_of()
    reader.feed("没有标点 hello")
    assert read_all(reader) == []
    beginning = reader.grow()
    assert beginning is not None
    assert (beginning.text, beginning.spoken) == ("没有标点", "没有标点")
    reader.pause()
    (complete,) = read_all(reader)
    assert complete.spoken == "没有标点 hello"
    reader.feed("还有")
    assert read_all(reader) == []
    again = reader.grow()
    assert again is not None
    assert (again.text, again.text_begin) == ("还有", 10)


@pytest.mark.parametrize("text", ["好" * 500, "a comma, " + "word " * 500, "好、" + "好" * 500])
def test_a_long_sentence_is_never_cut_inside_what_was_given_out(text: str) -> None:
    utterances, growths = read_growing(reader_of(), list(text))
    assert len(utterances) > 3
    assert "".join(utterance.text for utterance in utterances) == text
    for utterance, growth in zip(utterances, growths, strict=True):
        assert all(utterance.text.startswith(beginning.text) for beginning in growth)
    # Where nothing is given out, it is cut at better places.
    segmenter = Segmenter()
    segments = [s for char in text for s in segmenter.feed(char)] + segmenter.finish()
    assert len(segments) <= len(utterances) + 1


FRAGMENTS = (
    *"今天年月日个第点后，，，。！；、：“”（）《》…—~*_`#[]<>|=+-/.,:;!?'\"  \n\t😀％Ａ１½²π×√々ー",
    *("hello", "the", "May", "No.", "Mr.", "RMB", "don't", "well-known", "GPT-4o", "iPhone 15"),
    *("2", "24", "2024", "1,299.5", "25℃", "30%", "￥5", "$5", "8:30", "3-5", "1/2", "5 km"),
    *("验证码1234", "example.com", "https://a.b/c?d", "**", "```\n", "[链接](x)", "<b>", "&amp;"),
    *("我们一起去", "公园里散步", "电话", "打", "比分", "至", "万", "等于", "<think>"),
)


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(FRAGMENTS), max_size=40),
    st.lists(st.integers(1, 6), min_size=1, max_size=20),
    st.sampled_from(["cmn", "en", "ja", "de"]),
    st.booleans(),
)
@example(["，", "，", "好", "*"], [1], "cmn", True)
@example(["一共", "3-5", "，", "我", "="], [1], "cmn", True)
@example(["好", "！", "[链接](x)"], [1], "cmn", True)
def test_what_is_given_out_is_how_the_whole_sentence_begins(
    fragments: list[str], sizes: list[int], language: str, clean: bool
) -> None:
    text, pieces = "".join(fragments), []
    while sum(map(len, pieces)) < len(text):
        begin = sum(map(len, pieces))
        pieces.append(text[begin : begin + sizes[len(pieces) % len(sizes)]])
    utterances, growths = read_growing(reader_of(language=language, clean=clean), pieces)
    normalizer = Normalizer(language=language, clean_markup=clean)
    done = 0
    for utterance, growth in zip(utterances, growths, strict=True):
        if not utterance.spoken:
            continue
        # What is not spoken goes through the normaliser too: it remembers open code.
        normalizer.normalize(text[done : utterance.text_begin])
        whole = normalizer.normalize(utterance.text)
        done = utterance.text_end
        assert utterance.spoken == whole.text
        before = ""
        for beginning in growth:
            assert beginning.spoken.startswith(before)
            before = beginning.spoken
            assert text[beginning.text_begin : beginning.text_end] == beginning.text
            assert beginning.text_begin == utterance.text_begin
            n = len(beginning.spoken)
            assert beginning.origins == utterance.origins[:n]
            assert beginning.ends == utterance.ends[:n]
        assert utterance.spoken.startswith(before)
