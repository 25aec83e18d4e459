"""Marks that a model understands reach it untouched; a model that does not is not told of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Capabilities
from server.speech.normalizer import Normalizer
from server.speech.spoken import SpokenText
from server.speech.types import SpeechOptions
from server.speech.utterances import UtteranceReader

MARKS = (
    "[laughter]", "[breath]", "<strong>", "</strong>", "<laughter>", "</laughter>",
    "[j]", "[ǐ]", "[b]", "[AA1]", "[K]",
)  # fmt: skip


def normalized(text: str, *, marks: tuple[str, ...] = MARKS, clean: bool = True) -> SpokenText:
    normalizer = Normalizer(language="cmn", clean_markup=clean, keep_marks=marks)
    return normalizer.normalize(text)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("他突然[laughter]停下来。", "他突然[laughter]停下来。"),
        ("非凡的<strong>勇气</strong>与**智慧**。", "非凡的<strong>勇气</strong>与智慧。"),
        ("<laughter>哈哈</laughter>，3个", "<laughter>哈哈</laughter>，三个"),
        ("报道[j][ǐ]予好评", "报道[j][ǐ]予好评"),
        ("报道[j][i\u030c]予好评", "报道[j][ǐ]予好评"),
        ("[AA1][K]，第1名", "[AA1][K]，第一名"),
        ("**[laughter]**好", "[laughter]好"),
        ("# [breath]标题\n正文", "[breath]标题。正文"),
        # What only looks like a mark.
        ("看[b](https://a.com/x)和[1]", "看b和"),
        ("[cough]好[noise]的", "好的"),
        ("<b>好</b><u>的</u>", "好的"),
        ("好\U000f0000的", "好的"),
        # A sound can be asked for alone, stress without words cannot.
        ("[laughter]", "[laughter]"),
        ("<strong></strong>", ""),
    ],
)
def test_known_marks_stay(written: str, said: str) -> None:
    assert normalized(written).text == said


def test_known_marks_stay_in_text_that_is_not_cleaned() -> None:
    assert normalized("[AA1]，*3*", clean=False).text == "[AA1]，*三*"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("他突然[laughter]停下来，[Breath]笑了。", "他突然停下来，笑了。"),
        ("I was [laughter] so happy.", "I was so happy."),
        ("<strong>勇气</strong>", "勇气"),
        ("[laughter][breath]", ""),
    ],
)
def test_a_model_without_marks_does_not_read_them_aloud(written: str, said: str) -> None:
    assert normalized(written, marks=()).text == said


def test_a_mark_is_the_mark_in_the_text() -> None:
    text = "**好**[laughter]的"
    spoken = normalized(text)
    at = spoken.text.index("[")
    assert text[slice(*spoken.source_span(at, at + 10))] == "[laughter]"
    assert text[slice(*spoken.source_span(0, 1))] == "好"


@given(st.lists(st.sampled_from([*MARKS, "好", "的3个", " ok ", "，", "*", "\n"]), max_size=12))
@settings(max_examples=100, deadline=None)
def test_every_mark_survives_in_order(parts: list[str]) -> None:
    spoken = normalized("".join(parts)).text
    marks = [part for part in parts if part in MARKS]
    if spoken:
        at = 0
        for mark in marks:
            at = spoken.index(mark, at) + len(mark)


def test_the_reader_keeps_what_the_model_names() -> None:
    reader = UtteranceReader(
        SpeechOptions(voice="x"), language="cmn", capabilities=Capabilities(marks=("[breath]",))
    )
    for piece in ("[bre", "ath]因为他们那一辈人[laughter]在乡里。"):
        reader.feed(piece)
    reader.finish()
    spoken = []
    while (utterance := reader.read()) is not None or reader.unread:
        spoken += [utterance.spoken] if utterance is not None else []
    assert spoken == ["[breath]因为他们那一辈人在乡里。"]
