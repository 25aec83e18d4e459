from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import WordTime
from server.speech.subtitles import SentenceTrack, split_words
from server.speech.types import SentenceSubtitle


@dataclass
class Spoken:
    """A sentence, what the model gets, and which span each character of that came from."""

    text: str
    text_begin: int = 0
    rewritten: Sequence[tuple[str, int, int]] = ()

    @property
    def spoken(self) -> str:
        return "".join(part for part, _, _ in self.rewritten) or self.text

    def source_span(self, begin: int, end: int) -> tuple[int, int]:
        if not self.rewritten:
            return self.text_begin + begin, self.text_begin + end
        spans = [span for part, *span in self.rewritten for _ in part][begin:end]
        return spans[0][0], spans[-1][1]


def words(subtitle: SentenceSubtitle) -> list[tuple[str, float, float]]:
    return [(word.text, round(word.begin_s, 3), round(word.end_s, 3)) for word in subtitle.words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天天气好。", ["今", "天", "天", "气", "好"]),
        ("用 Python 写", ["用", "Python", "写"]),
        ("It's 3.14, or 50%!", ["It's", "3.14", "or", "50%"]),
        ("rock 'n' roll", ["rock", "n", "roll"]),
        ("GPT-4o", ["GPT", "4o"]),
        ("12:30 到 1,299.00", ["12:30", "到", "1,299.00"]),
        ("안녕하세요, 세계", ["안녕하세요", "세계"]),
        ("ひらがなカー", ["ひ", "ら", "が", "な", "カ", "ー"]),
        ("Привет, мир", ["Привет", "мир"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        (
            "cafe\N{COMBINING ACUTE ACCENT} au lait",
            ["cafe\N{COMBINING ACUTE ACCENT}", "au", "lait"],
        ),
        ("KTV包间A座", ["KTV", "包", "间", "A", "座"]),
        ("……！？", []),
        ("👍🏽 ok", ["ok"]),
        ("<strong>勇气</strong>", ["勇", "气"]),
        ("", []),
    ],
)
def test_words_of_a_text(text: str, expected: list[str]) -> None:
    assert [text[begin:end] for begin, end in split_words(text)] == expected


def test_word_times_of_the_model_are_placed_in_the_tasks_text_and_audio() -> None:
    track = SentenceTrack(Spoken("Hello big world.", text_begin=100), begin_s=5.0)
    track.add_words([WordTime(0, 5, 0.0, 0.4)], 0.5)
    assert track.snapshot(5.3) == SentenceSubtitle(
        text="Hello big world.",
        text_begin=100,
        text_end=116,
        begin_s=5.0,
        end_s=5.3,
        words=track.snapshot(5.3).words,
    )
    assert words(track.snapshot(5.3)) == [("Hello", 5.0, 5.2)]
    track.add_words([WordTime(6, 9, 0.5, 0.7), WordTime(10, 15, 0.7, 1.2)], 0.5)
    track.end(6.0)
    whole = track.complete()
    assert words(whole) == [("Hello", 5.0, 5.2), ("big", 5.25, 5.35), ("world", 5.35, 5.6)]
    assert [(word.text_begin, word.text_end) for word in whole.words] == [
        (100, 105), (106, 109), (110, 115),
    ]  # fmt: skip
    assert not any(word.estimated for word in whole.words)
    assert (whole.begin_s, whole.end_s) == (5.0, 6.0)


def test_without_word_times_the_sentence_is_divided_by_length() -> None:
    track = SentenceTrack(Spoken("你好，internationalization。"), begin_s=1.0)
    track.end(4.0)
    subtitle = track.complete()
    assert [word.text for word in subtitle.words] == ["你", "好", "internationalization"]
    assert all(word.estimated for word in subtitle.words)
    ni, hao, long = subtitle.words
    assert ni.begin_s == 1.0
    assert ni.end_s == pytest.approx(hao.begin_s)
    assert long.begin_s > hao.end_s + 0.1, "a comma is a pause"
    assert long.end_s - long.begin_s > 4 * (ni.end_s - ni.begin_s)
    assert long.end_s < 4.0, "and so is the full stop"


def test_a_word_that_the_model_left_out_is_placed_between_its_neighbours() -> None:
    track = SentenceTrack(Spoken("one two three"), begin_s=0.0)
    track.add_words([WordTime(0, 3, 0.0, 0.5), WordTime(8, 13, 1.5, 2.0)], 1.0)
    track.end(2.2)
    assert words(track.complete()) == [("one", 0.0, 0.5), ("two", 0.5, 1.5), ("three", 1.5, 2.0)]
    assert [word.estimated for word in track.complete().words] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "times", "expected"),
    [
        ("of the cat", [(0, 2, 0.0, 0.5), (7, 10, 0.5, 1.0)], ["of", "the", "cat"]),
        ("of the cat", [(3, 6, 0.0, 0.5), (7, 10, 0.5, 1.0)], ["of", "the", "cat"]),
        ("of the cat", [(0, 2, 0.0, 0.5), (3, 6, 0.5, 1.0)], ["of", "the", "cat"]),
        ("of the cat", [(0, 6, 0.0, 0.5), (7, 10, 0.5, 1.0)], ["of", "the", "cat"]),
    ],
)
def test_without_room_a_word_shares_the_time_of_its_neighbour(
    text: str, times: list[tuple[int, int, float, float]], expected: list[str]
) -> None:
    track = SentenceTrack(Spoken(text), begin_s=0.0)
    track.add_words([WordTime(*time) for time in times], 1.0)
    track.end(1.0)
    subtitle = track.complete()
    assert [word.text for word in subtitle.words] == expected
    assert all(word.end_s - word.begin_s > 0.1 for word in subtitle.words)
    assert sum(word.estimated for word in subtitle.words) == 2


def test_a_number_is_one_word_however_many_are_spoken() -> None:
    source = "in 2024 we"
    rewritten = [("in ", 0, 3), ("twenty twenty four", 3, 7), (" ", 7, 8), ("we", 8, 10)]
    track = SentenceTrack(Spoken(source, rewritten=rewritten), begin_s=0.0)
    track.add_words(
        [
            WordTime(0, 2, 0.0, 0.2),
            WordTime(3, 9, 0.2, 0.6),
            WordTime(10, 16, 0.6, 1.0),
            WordTime(17, 21, 1.0, 1.3),
            WordTime(22, 24, 1.3, 1.5),
        ],
        1.0,
    )
    track.end(1.5)
    subtitle = track.complete()
    assert words(subtitle) == [("in", 0.0, 0.2), ("2024", 0.2, 1.3), ("we", 1.3, 1.5)]
    assert not any(word.estimated for word in subtitle.words)


def test_a_sign_that_is_spoken_after_its_number_lengthens_it() -> None:
    rewritten = [("five ", 1, 2), ("dollars ", 0, 1), ("now", 3, 6)]
    track = SentenceTrack(Spoken("$5 now", rewritten=rewritten), begin_s=0.0)
    track.add_words(
        [WordTime(0, 4, 0, 0.3), WordTime(5, 12, 0.3, 0.8), WordTime(13, 16, 0.8, 1)], 1.0
    )
    track.end(1.0)
    assert words(track.complete()) == [("5", 0.0, 0.8), ("now", 0.8, 1.0)]


def test_words_that_are_not_spoken_get_no_time() -> None:
    """A tag, or the address of a markdown link."""
    source = "<s>走</s>[去](http://a.cn)"
    heard = [(word, source.index(word), source.index(word) + 1) for word in "走去"]
    track = SentenceTrack(Spoken(source, rewritten=heard), begin_s=0.0)
    track.end(1.0)
    assert words(track.complete()) == [("走", 0.0, 0.5), ("去", 0.5, 1.0)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("”他说。", "他说。"),
        ("」』 次は\n", "次は"),
        ("’好的", "好的"),
        ("’tis so", "’tis so"),
        ('"Hi"', '"Hi"'),
        ("“你好”", "“你好”"),
        ("  \n", ""),
        ("”’", ""),
        ("", ""),
    ],
)
def test_quotes_that_close_the_last_sentence_are_not_shown_in_this_one(
    text: str, shown: str
) -> None:
    track = SentenceTrack(Spoken(text, text_begin=10), begin_s=0.0)
    track.end(1.0)
    subtitle = track.complete()
    assert subtitle.text == shown
    assert text[subtitle.text_begin - 10 : subtitle.text_end - 10] == shown


def test_a_sentence_without_speech_lasts_no_time() -> None:
    subtitle = SentenceTrack(Spoken("——"), begin_s=2.5).complete()
    assert (subtitle.begin_s, subtitle.end_s, subtitle.words) == (2.5, 2.5, ())


@given(data=st.data())
def test_words_cover_the_sentence_in_order_and_stay_within_it(data: st.DataObject) -> None:
    text = data.draw(st.text(st.sampled_from("你好，。 ab1.5'カ한’”\u0301🙂"), max_size=30))
    index = st.integers(0, max(0, len(text) - 1))
    time_s = st.floats(-0.5, 3.0)
    times = data.draw(st.lists(st.tuples(index, st.integers(1, 4), time_s, time_s), max_size=6))
    track = SentenceTrack(Spoken(text, text_begin=7), begin_s=1.0)
    track.add_words([WordTime(at, at + size, begin, end) for at, size, begin, end in times], 0.7)
    track.end(data.draw(st.floats(1.0, 4.0)))
    subtitle = track.complete()
    shown = [word for word in split_words(text) if word[0] >= subtitle.text_begin - 7]
    assert [(word.text_begin - 7, word.text_end - 7) for word in subtitle.words] == shown
    times_s = [moment for word in subtitle.words for moment in (word.begin_s, word.end_s)]
    assert times_s == sorted(times_s)
    assert all(subtitle.begin_s <= moment <= subtitle.end_s for moment in times_s)
    assert subtitle.words == track.complete().words


def test_a_sentence_that_grows_keeps_the_times_of_its_words() -> None:
    heard = [WordTime(n, n + 1, 0.2 * n, 0.2 * n + 0.2) for n in range(5)]
    track = SentenceTrack(Spoken("今天"), begin_s=1.0)
    track.add_words(heard[:2], 1.0)
    assert [word for word, *_ in words(track.snapshot(1.4))] == ["今", "天"]
    track.follow(Spoken("今天天气好。"))
    track.add_words(heard[2:], 1.0)
    track.end(2.0)
    whole = SentenceTrack(Spoken("今天天气好。"), begin_s=1.0)
    whole.add_words(heard, 1.0)
    whole.end(2.0)
    assert track.complete() == whole.complete()


def test_a_sentence_that_grows_without_word_times_is_divided_anew() -> None:
    track = SentenceTrack(Spoken("今天"), begin_s=0.0)
    assert [word for word, *_ in words(track.complete())] == ["今", "天"]
    track.follow(Spoken("今天天气"))
    track.end(2.0)
    assert words(track.complete()) == [
        ("今", 0.0, 0.5),
        ("天", 0.5, 1.0),
        ("天", 1.0, 1.5),
        ("气", 1.5, 2.0),
    ]
