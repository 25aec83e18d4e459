"""What is a segment, when it is one, and that it does not depend on how the text arrives."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.speech import boundaries
from server.speech.characters import Kind, classify, is_grapheme_boundary, is_speakable
from server.speech.segmenter import Segment, Segmenter, SegmenterOptions

SMALL = SegmenterOptions(first_units=12, units=16, token_units=24, characters=40)
"""Lengths at which short texts already have to be cut."""


def segments_of(text: str, options: SegmenterOptions | None = None) -> list[str]:
    segmenter = Segmenter(options) if options else Segmenter()
    return [segment.text for segment in [*segmenter.feed(text), *segmenter.finish()]]


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in pairwise(places)]


# --- Whole texts -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("你好", ["你好"]),
        ("你好。", ["你好。"]),
        # The first clause goes out early, later ones wait for their sentence.
        (
            "今天天气，不错。我们，去公园，玩一会儿吧。",
            ["今天天气，", "不错。我们，去公园，玩一会儿吧。"],
        ),
        ("你好，今天天气很好。", ["你好，今天天气很好。"]),
        ("第一步：打开设置；第二步：选择语言。", ["第一步：打开设置；", "第二步：选择语言。"]),
        # The second segment may end at a clause too, if it is a long one.
        (
            "在这个问题上，我们认为应该考虑得更加全面一些，包括成本，时间，人力等等。",
            ["在这个问题上，", "我们认为应该考虑得更加全面一些，", "包括成本，时间，人力等等。"],
        ),
        # Short sentences are joined to the next.
        ("好。我来看看。", ["好。我来看看。"]),
        ("我们开始吧。好。好的。那就这样。走！", ["我们开始吧。", "好。好的。那就这样。", "走！"]),
        ("Yes. I can help you with that. Sure.", ["Yes. I can help you with that.", " Sure."]),
        # Marks after a definite one begin the next segment.
        ("他说：“今天很好。”然后就离开了。", ["他说：“今天很好。", "”然后就离开了。"]),
        ("真的假的？！我完全不相信这件事。", ["真的假的？", "！我完全不相信这件事。"]),
        ("我想想……还是算了吧，太麻烦了。", ["我想想…", "…还是算了吧，太麻烦了。"]),
        ("他说：“今天很好。”", ["他说：“今天很好。", "”"]),
        # Newlines.
        ("春眠不觉晓\n处处闻啼鸟\n", ["春眠不觉晓\n", "处处闻啼鸟\n"]),
        ("Title line here\r\n\r\nThe text.", ["Title line here\r\n", "\r\nThe text."]),
        # English.
        ("Hello there. How are you today?", ["Hello there.", " How are you today?"]),
        ("Is it 3.14 or 2.72? It is 3.14.", ["Is it 3.14 or 2.72?", " It is 3.14."]),
        ("Well, when I think of it, yes.", ["Well, when I think of it,", " yes."]),
        ('He said "Stop it." Then he left us.', ['He said "Stop it."', " Then he left us."]),
        ("It is big (very big.) Then it ends.", ["It is big (very big.)", " Then it ends."]),
        ("**Done with it.** Next we go on.", ["**Done with it.**", " Next we go on."]),
        ("What is this?! I do not like it.", ["What is this?!", " I do not like it."]),
        ("I think... maybe we should go.", ["I think...", " maybe we should go."]),
        ("Visit us today!😊 We are open.", ["Visit us today!", "😊 We are open."]),
        # Mixed.
        ("请打开Settings.然后选择语言。", ["请打开Settings.", "然后选择语言。"]),
        ("你喜欢Python吗?我很喜欢它。", ["你喜欢Python吗?", "我很喜欢它。"]),
        ("请看这里:这是一个例子。", ["请看这里:", "这是一个例子。"]),
        # Japanese and Korean.
        (
            "こんにちは、元気ですか。今日はとても良い天気ですね。",
            ["こんにちは、元気ですか。", "今日はとても良い天気ですね。"],
        ),
        ("안녕하세요. 오늘 날씨가 좋네요.", ["안녕하세요.", " 오늘 날씨가 좋네요."]),
    ],
)
def test_a_text_becomes_segments(text: str, expected: list[str]) -> None:
    assert segments_of(text) == expected


@pytest.mark.parametrize(
    "token",
    [
        "3.14",
        "1,299.00",
        "12:30",
        "12：30",
        "１，２９９",
        "３．１４",
        "v1.2.3",
        "U.S.A. is",
        "e.g. this",
        "i.e. that",
        "Dr. Wang",
        "Mr. Smith",
        "J. K. Rowling",
        "5 p.m. sharp",
        "No. 5",
        "Fig. 3",
        "etc. and so on",
        "www.a.com/b?c=d&e=f",
        "https://example.com:8080/a.b/c?d=1,2;3!x",
        "a.b-c@example.co.uk",
        "192.168.1.1",
        "obj.method(a,b).value",
        "3–5",
        "3～5",
        '<break time="1.5s"/>',
        '<sub alias="你好。再见。">Hi</sub>',
        "a != b",
        "don't",
    ],
)
@pytest.mark.parametrize("lead", ["We are now looking at ", "我们现在正在看的是"])
def test_nothing_is_cut_inside(token: str, lead: str) -> None:
    text = f"{lead}{token}and so on"
    assert segments_of(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "1. Open the door\n2. Close it again now",
            ["1. Open the door\n", "2. Close it again now"],
        ),
        (
            "We do two things: 1. open the door.",
            ["We do two things:", " 1. open the door."],
        ),
        ("It costs exactly 5. Then we left.", ["It costs exactly 5.", " Then we left."]),
        ("I say no to you. No. That is wrong.", ["I say no to you.", " No. That is wrong."]),
    ],
)
def test_a_number_with_a_dot_is_an_item_only_where_one_can_stand(
    text: str, expected: list[str]
) -> None:
    assert segments_of(text) == expected


# --- When a segment goes out -----------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "今天天气很好。",
        "今天天气很好！",
        "你吃饭了吗？",
        "让我想一想…",
        "第一步是这样；",
        "在这个问题上，",
        "春眠不觉晓\n",
        "元気ですか？",
    ],
)
def test_definite_marks_are_not_waited_on(text: str) -> None:
    segmenter = Segmenter()
    assert segmenter.feed(text) == [Segment(text, 0, len(text))]
    assert segmenter.pending == ""


@pytest.mark.parametrize("text", ["Hello there.", "Hello there!", "Hello there?", 'So he "said."'])
def test_ascii_marks_wait_for_the_next_character(text: str) -> None:
    segmenter = Segmenter()
    assert segmenter.feed(text) == []
    assert segmenter.feed(" ") == [Segment(text, 0, len(text))]


def test_a_mark_between_two_pieces_is_no_mark_if_the_number_goes_on() -> None:
    segmenter = Segmenter()
    assert segmenter.feed("The value of it is 3") == []
    assert segmenter.feed(".") == []
    assert segmenter.feed("14 and the U.S") == []
    assert segmenter.feed(".A. is big.") == []
    text = "The value of it is 3.14 and the U.S.A. is big."
    assert segmenter.finish() == [Segment(text, 0, len(text))]


def test_the_first_clause_goes_out_before_the_sentence_is_known() -> None:
    segmenter = Segmenter()
    heard = [segment.text for token in "关于这个问题，我们" for segment in segmenter.feed(token)]
    assert heard == ["关于这个问题，"]
    assert segmenter.pending == "我们"


# --- Pauses ----------------------------------------------------------------------------------
def test_a_flush_lets_everything_out() -> None:
    segmenter = Segmenter()
    assert segmenter.feed("好") == []
    assert segmenter.flush() == [Segment("好", 0, 1)]
    assert segmenter.flush() == []


def test_a_flush_speaks_what_waits_for_a_character() -> None:
    segmenter = Segmenter()
    assert segmenter.feed("Hi. How are you?") == []
    assert segmenter.flush() == [Segment("Hi. How are you?", 0, 16)]


def test_a_flush_splits_what_it_finds() -> None:
    segmenter = Segmenter()
    segmenter.feed("How are you today?")
    segmenter.feed('"')
    assert [segment.text for segment in segmenter.flush()] == ['How are you today?"']


def test_marks_and_blanks_stay_at_a_flush_and_join_the_next_text() -> None:
    segmenter = Segmenter()
    assert segmenter.feed("今天天气很好。”\n") == [Segment("今天天气很好。", 0, 7)]
    assert segmenter.flush() == []
    assert segmenter.pending == "”\n"
    assert segmenter.feed("我们走吧。") == [Segment("”\n我们走吧。", 7, 14)]
    assert segmenter.feed("”") == []
    assert segmenter.finish() == [Segment("”", 14, 15)]


def test_after_a_flush_the_next_segment_is_urgent_again() -> None:
    segmenter = Segmenter()
    segmenter.feed("今天天气很好。")
    assert segmenter.feed("好的。") == []
    segmenter.flush()
    assert [segment.text for segment in segmenter.feed("好的。")] == ["好的。"]


def test_a_session_can_make_the_next_segment_urgent() -> None:
    segmenter = Segmenter()
    segmenter.feed("<think>\n用户在打招呼。\n</think>")
    segmenter.expedite()
    assert segmenter.feed("你好。") != []


# --- Long sentences --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # At the last clause mark, else at a list mark, a blank, between two Han characters.
        ("一二三四五六七八九十甲乙丙丁", ["一二三四五六七八九十甲乙", "丙丁"]),
        ("一二三、四五六七八九十甲乙丙丁", ["一二三、", "四五六七八九十甲乙丙丁"]),
        ("一二，三、四五六七八九十甲乙丙丁", ["一二，", "三、四五六七八九十甲乙丙丁"]),
        (
            "one two three four five six seven eight nine",
            ["one two three four five six seven eight", " nine"],
        ),
        # Not before a measure word, not inside a number or a word.
        ("一二三四五六七八九十12个苹果", ["一二三四五六七八九十", "12个苹果"]),
        ("一二三四五六七八九十internet", ["一二三四五六七八九十", "internet"]),
        (
            "コンピューターシステムのデータベースをチェックしているところ",
            ["コンピューターシステムのデータベースをチェックし", "ているところ"],
        ),
        # A token without a place to cut it.
        ("1" * 30, ["1" * 24, "1" * 6]),
    ],
)
def test_a_long_sentence_is_cut_at_the_best_place(text: str, expected: list[str]) -> None:
    assert segments_of(text, SMALL) == expected


def test_text_without_length_is_cut_between_graphemes() -> None:
    family = "👨\N{ZERO WIDTH JOINER}👩\N{ZERO WIDTH JOINER}👧"
    assert segments_of(family * 17, SMALL) == [family * 8, family * 8, family]
    flags = segments_of("🇨🇳🇯🇵" * 15, SMALL)
    assert all(len(flag) % 2 == 0 for flag in flags)


def test_a_cluster_longer_than_the_cap_is_cut_all_the_same() -> None:
    assert segments_of("a" + "\u0301" * 100, SMALL) == [
        "a" + "\u0301" * 39,
        "\u0301" * 40,
        "\u0301" * 21,
    ]


def test_a_surrogate_pair_that_came_in_halves_is_not_torn() -> None:
    assert segments_of("\ud83d\ude00" * 45, SMALL)[0] == "\ud83d\ude00" * 20


def test_what_is_not_closed_in_time_is_no_tag() -> None:
    text = "<a b='" + "x" * boundaries.MAX_TAG_CHARACTERS + "好的。今天天气很好。"
    assert segments_of(text)[-1] == "今天天气很好。"
    assert segments_of("如果a <b那么就可以继续。今天天气很好。") == [
        "如果a <b那么就可以继续。",
        "今天天气很好。",
    ]


# --- Properties ------------------------------------------------------------------------------
NASTY_WORDS = (
    "你好 今天 。 ， ！ ？ … ； ： 、 ” “ ） 「 」 ー ッ は 요 안 a b Hello world No Dr e.g U.S v1 "
    ". , : ; ! ? ... ?! ' \" ( ) [ ] * ** ` ``` _ ~ - — – ～ < > </ <b /> = / @ # % 0 1 12 ３ ． "
    "http://a.com/b?c=d 1,299.00 12:30 今天天气很好我们去公园玩 abcdefghijklmnopqrstuvwxyz "
    "😊 👩\u200d👧 \u200d \ufe0f 🇨 e\u0301 \u0301 क् ष ᄀ ᅡ \ud83d \ude00"
)
NASTY_BLANKS = ["", " ", "  ", "\n", "\r\n", "\t", "\u3000", "No. 5", '<break time="1s. 2"/>']
NASTY = st.lists(
    st.sampled_from(NASTY_WORDS.split(" ") + NASTY_BLANKS) | st.text(max_size=3), max_size=40
).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=NASTY, cuts=st.lists(st.integers(0, 10_000), max_size=30), small=st.booleans())
@example(text="见 No. 5 页。" * 3, cuts=list(range(40)), small=True)
@example(text="你好0:\t你好你好”今天天气很好我们去公园玩", cuts=[], small=True)
@example(text="好</b 你好。”. a\n", cuts=list(range(40)), small=False)
def test_segments_do_not_depend_on_the_pieces(text: str, cuts: list[int], small: bool) -> None:
    options = SMALL if small else SegmenterOptions()
    whole, pieces = Segmenter(options), Segmenter(options)
    expected = [*whole.feed(text), *whole.finish()]
    got = [segment for piece in pieces_of(text, cuts) for segment in pieces.feed(piece)]
    assert got + pieces.finish() == expected
    assert "".join(segment.text for segment in expected) == text
    assert [segment.begin for segment in expected] == [0, *(s.end for s in expected)][
        : len(expected)
    ]
    assert all(segment.text == text[segment.begin : segment.end] for segment in expected)
    assert all(is_speakable(s.text) or len(s.text) >= options.characters for s in expected[:-1])


@settings(max_examples=100, deadline=None)
@given(text=NASTY, cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_with_pauses_no_text_is_lost(text: str, cuts: list[int]) -> None:
    segmenter = Segmenter(SMALL)
    got: list[Segment] = []
    for piece in pieces_of(text, cuts):
        got += segmenter.feed(piece)
        got += segmenter.flush()
        assert not is_speakable(segmenter.pending)
    got += segmenter.finish()
    assert "".join(segment.text for segment in got) == text
    assert all(is_speakable(segment.text) or len(segment.text) >= 40 for segment in got[:-1])


@settings(max_examples=200, deadline=None)
@given(text=NASTY)
def test_segments_are_bounded_and_tear_no_cluster_without_need(text: str) -> None:
    begin = 0
    for part in segments_of(text, SMALL):
        assert len(part) <= SMALL.characters
        is_definite = classify(part[-1]).kind in (Kind.END, Kind.CLAUSE, Kind.LIST, Kind.NEWLINE)
        begin += len(part)
        if begin < len(text) and not is_definite and "\u0301" * 3 not in part:
            assert is_grapheme_boundary(text, begin)


@pytest.mark.parametrize("piece", [1, 3, 20_000])
def test_the_work_grows_with_the_text_and_not_with_its_square(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, longest = 0, 0
    read = boundaries.MarkReader.read

    def count(
        self: boundaries.MarkReader, text: str, begin: int, at: int, *, final: bool
    ) -> boundaries.Mark:
        nonlocal reads, longest
        reads += 1
        longest = max(longest, at - begin)
        return read(self, text, begin, at, final=final)

    monkeypatch.setattr(boundaries.MarkReader, "read", count)
    text = ("今天天气很好，v1.2.3 No. 5。" + "x" * 700 + "。" * 40 + " " * 1300) * 10
    segmenter = Segmenter()
    for start in range(0, len(text), piece):
        segmenter.feed(text[start : start + piece])
        assert len(segmenter.pending) <= 1001
    segmenter.finish()
    assert reads <= 3 * len(text)
    assert longest <= 1000


# --- Parts -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text", ["a", "好", "5", "か", "요", "é", "½", "①", "Ⅲ", "%", "￥", "℃", "“a”"]
)
def test_speakable(text: str) -> None:
    assert is_speakable(text)


@pytest.mark.parametrize(
    "text", ["", " \n", "。！？", "...", "—", "**", "```", "😊", "👩\u200d👧", "（）", "\ud83d"]
)
def test_not_speakable(text: str) -> None:
    assert not is_speakable(text)


@pytest.mark.parametrize(
    "options",
    [{"first_sentence_units": 0}, {"clause_units": (-1.0,)}, {"units": 0}, {"characters": 0}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="length"):
        SegmenterOptions(**options)
