"""What the embedded model makes of a text before the library sees it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.espeak import EspeakModel
from models.espeak_text import (
    MAX_CLAUSE_CHARACTERS,
    MAX_PASSAGE_CHARACTERS,
    Passage,
    passages,
    script_of,
)
from models.espeak_voices import EspeakVoices, canonical_tag


@pytest.fixture(scope="session")
def voices(espeak: EspeakModel) -> EspeakVoices:
    return espeak._espeak_voices


def divide(voices: EspeakVoices, tag: str, text: str) -> list[Passage]:
    language = voices.language(tag)
    assert language is not None
    return list(passages(text, language, voices.reader))


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        # Latin words stay in a Chinese clause, which the library reads well; clauses of their own
        # are spoken by an English voice.
        ("cmn", "我用iPhone 15拍照。", [("cmn", "我用iPhone 15拍照。")]),
        ("cmn", "你好。Hello! 再见", [("cmn", "你好。"), ("en-US", "Hello!"), ("cmn", " 再见")]),
        # A passage that breaks off gets a comma.
        ("en", "I saw 东京 once", [("en-US", "I saw ，"), ("cmn", "东京 ，"), ("en-US", "once")]),
        ("ja", "東京です", [("cmn", "東京，"), ("ja", "です")]),
        ("ja", "時々", [("cmn", "時時")]),
        ("ja", "これはGPT", [("ja", "これは，"), ("en-US", "GPT")]),
        ("sr", "Здраво, zdravo", [("sr", "Здраво, zdravo")]),
        ("yue", "你好 Привет", [("yue", "你好 ，"), ("ru", "Привет")]),
        # Digits go with the word that they touch.
        ("en", "I paid 300元", [("en-US", "I paid ，"), ("cmn", "300元")]),
        ("cmn", "300", [("cmn", "300")]),
        ("en", "3.14", [("en-US", "3.14")]),
        # Pauses as the library expects them.
        ("cmn", "好,好.好", [("cmn", "好，好。好")]),
        ("cmn", "3,000.5元", [("cmn", "3,000.5元")]),
        ("cmn", "床前明月光\n疑是地上霜", [("cmn", "床前明月光，疑是地上霜")]),
        ("en", "so-called ‘free’ don’t", [("en-US", "so-called 'free' don't")]),
        # What is not to be read.
        ("en", "a [[b]] c", [("en-US", "a   b   c")]),
        ("en", "a\x01b\x00", [("en-US", "a b ")]),
        ("en", "hi 😀", [("en-US", "hi  ")]),
        ("en", "ខ្មែរ no", [("en-US", "    no")]),
        # What is written otherwise.
        ("en", "ｆｕｌｌ ①", [("en-US", "full 1")]),
        ("en", "٣ x²", [("en-US", "3 x²")]),
        ("ko", "\u1112\u1161\u11ab", [("ko", "한")]),
        # Syllables that the library would spell in English.
        ("cmn", "兄弟", [("cmn", " [[S;'io55N]] 弟")]),
        ("yue", "兄弟", [("yue", "兄弟")]),
    ],
)
def test_a_text_is_divided_and_cleaned(
    voices: EspeakVoices, tag: str, text: str, expected: list[tuple[str, str]]
) -> None:
    found = divide(voices, tag, text)
    assert [(each.language.tag, each.text) for each in found] == expected


def test_only_respelled_passages_have_phonemes(voices: EspeakVoices) -> None:
    (plain,) = divide(voices, "cmn", "[[你好]]")
    assert not plain.phonemes
    (respelled,) = divide(voices, "cmn", "[[熊]]")
    assert respelled.phonemes
    assert respelled.text == "   [[S;'io35N]]   "


def test_characters_know_where_they_came_from(voices: EspeakVoices) -> None:
    text = "a\u200be\u0301 [熊]"
    (latin, chinese) = divide(voices, "en", text)
    assert latin.text == "aé  ，"
    assert [text[i] for i in latin.indices] == ["a", "e", " ", "[", "["]
    assert {text[i] for i, c in zip(chinese.indices, chinese.text, strict=True) if c == "N"} == {
        "熊"
    }


@pytest.mark.parametrize("unit", ["好", "word ", "a", "9", "你a"])
def test_long_texts_are_divided_into_what_the_library_can_hold(
    voices: EspeakVoices, unit: str
) -> None:
    text = unit * 2000
    found = divide(voices, "cmn", text)
    assert max(len(passage.text) for passage in found) <= MAX_PASSAGE_CHARACTERS + 3
    for passage in found:
        clauses = passage.text.split("，")
        assert max(map(len, clauses)) <= MAX_CLAUSE_CHARACTERS
    spoken = {i for passage in found for i in passage.indices}
    assert spoken >= {i for i, character in enumerate(text) if character != " "}


def test_words_are_not_cut(voices: EspeakVoices) -> None:
    text = "incomprehensibilities " * 40
    for passage in divide(voices, "en", text):
        assert set(passage.text.replace("，", " ").split()) == {"incomprehensibilities"}


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=80), tag=st.sampled_from(["cmn", "en", "ja", "ar", "hi"]))
def test_nothing_harmful_gets_through(voices: EspeakVoices, text: str, tag: str) -> None:
    last = 0
    for passage in divide(voices, tag, text):
        passage.text.encode()  # no lone surrogates
        assert not any(ord(character) < 0x20 for character in passage.text)
        assert len(passage.indices) == len(passage.text)
        assert ("[" in passage.text) == passage.phonemes
        assert last <= passage.indices[0] <= passage.indices[-1] < len(text)
        last = passage.indices[-1]


@pytest.mark.parametrize(
    ("characters", "script"),
    [
        ("aß", "Latin"),
        ("好〇", "Han"),
        ("かカー", "Kana"),
        ("한", "Hangul"),
        ("Ж", "Cyrillic"),
        ("7。\u0301µ ", ""),  # of all
        ("ខ", "?"),  # of none that is spoken
    ],
)
def test_scripts(characters: str, script: str) -> None:
    assert {script_of(character) for character in characters} == {script}


@pytest.mark.parametrize(
    ("tag", "known"),
    [
        ("zh-CN", "cmn"),
        ("zh_TW", "cmn"),
        ("ZH-hk", "yue"),
        ("zh-Hant-HK", "yue"),
        ("en", "en-US"),
        ("en-AU", "en-US"),
        ("en-gb", "en-GB"),
        ("fr-CA", "fr-FR"),
        ("pt-br", "pt-BR"),
        ("no", "nb"),
        ("ja-JP", "ja"),
    ],
)
def test_languages_are_found_by_what_people_call_them(
    voices: EspeakVoices, tag: str, known: str
) -> None:
    language = voices.language(tag)
    assert language is not None
    assert language.tag == known


def test_unknown_languages_are_not_guessed(voices: EspeakVoices) -> None:
    assert voices.language("xx-YY") is None
    assert voices.language("") is None


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("en-us", "en-US"),
        ("cmn-latn-pinyin", "cmn-Latn-pinyin"),
        ("es-419", "es-419"),
        ("vi-vn-x-south", "vi-VN-x-south"),
        ("CHR-us-QAAA-x-west", "chr-US-Qaaa-x-west"),
    ],
)
def test_tags_are_written_as_the_standard_recommends(tag: str, expected: str) -> None:
    assert canonical_tag(tag) == expected
