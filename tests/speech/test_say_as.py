from __future__ import annotations

import pytest

from server.speech.say_as import ReadingLanguage, reading_language, say_as


@pytest.mark.parametrize(
    ("interpret_as", "text", "reading"),
    [
        ("cardinal", "10234", "一万零二百三十四"),
        ("cardinal", "10,000", "一万"),
        ("cardinal", "-123.01", "负一百二十三点零一"),
        ("cardinal", "007", "七"),
        ("cardinal", "0.5", "零点五"),
        ("digits", "123045", "一二三零四五"),
        ("digits", "3.14", "三点一四"),
        ("digits", "１２", "一二"),
        ("nick", "李四6689", "李四六六八九"),
        ("telephone", "114", "幺幺四"),
        ("telephone", "010-8888 1234", "零幺零，八八八八，幺二三四"),
        ("telephone", "+86 (10) 110转8", "加八六，幺零，幺幺零转八"),
        ("id", "b88_a1", "B 八八下划线 A 一"),
        ("characters", "ISO 9001", "I S O 九零零一"),
        ("characters", "a@b.cn", "A 艾特 B 点 C N"),
        ("verbatim", "浙A X88888", "浙 A X 八八八八八"),
        ("punctuation", "……", "省略号省略号"),
        ("punctuation", "，", "逗号"),
        ("address", "富路国际1号楼3单元304", "富路国际一号楼三单元三零四"),
        ("address", "深南大道10000号", "深南大道一万号"),
        ("address", "3-2-1204", "三杠二杠幺二零四"),
    ],
)
def test_final_readings_in_chinese(interpret_as: str, text: str, reading: str) -> None:
    assert say_as(text, interpret_as, "zh") == (reading, True)


@pytest.mark.parametrize(
    ("interpret_as", "text", "reading"),
    [
        ("cardinal", "1,205", "one thousand two hundred five"),
        ("cardinal", "-3.5", "minus three point five"),
        ("digits", "2024", "two zero two four"),
        ("digits", "1.5", "one point five"),
        ("telephone", "555-1234", "five five five, one two three four"),
        ("telephone", "+1 800", "plus one, eight zero zero"),
        ("id", "ab-1", "A B dash one"),
        ("characters", "hello", "H E L L O"),
        ("punctuation", "?!", "question mark exclamation mark"),
    ],
)
def test_final_readings_in_english(interpret_as: str, text: str, reading: str) -> None:
    assert say_as(text, interpret_as, "en") == (reading, True)


@pytest.mark.parametrize(
    ("text", "chinese", "english"),
    [
        ("2024-03-05", "2024年3月5日", "March 5, 2024"),
        ("20240305", "2024年3月5日", "March 5, 2024"),
        ("2024/3", "2024年3月", "March 2024"),
        ("03-05", "3月5日", "March 5"),
        ("3/5/2024", "2024年3月5日", "March 5, 2024"),
        ("25/12/2024", "25/12/2024", "25/12/2024"),
        ("明天", "明天", "明天"),
    ],
)
def test_dates_are_written_as_in_a_sentence(text: str, chinese: str, english: str) -> None:
    assert say_as(text, "date", "zh") == (chinese, False)
    assert say_as(text, "date", "en") == (english, False)


@pytest.mark.parametrize(
    ("interpret_as", "text", "language"),
    [
        ("time", "12:30", "zh"),
        ("currency", "￥1,299.00", "zh"),
        ("measure", "25kg", "zh"),
        ("name", "任盈盈", "zh"),
        ("address", "1310 Villa St", "en"),
        ("cardinal", "many", "en"),
        ("cardinal", "12", ""),
        ("something", "12", "zh"),
    ],
)
def test_the_rest_is_left_to_the_normaliser(
    interpret_as: str, text: str, language: ReadingLanguage
) -> None:
    assert say_as(text, interpret_as, language) == (text, False)


@pytest.mark.parametrize(
    ("interpret_as", "text", "reading"),
    [("digits", "123", "1 2 3"), ("characters", "ab1", "A B 1"), ("telephone", "12-3", "1 2, 3")],
)
def test_other_languages_say_their_own_digits(interpret_as: str, text: str, reading: str) -> None:
    assert say_as(text, interpret_as, "") == (reading, True)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("号码是12", "cmn", "zh"),
        ("The number is 12", "cmn", "en"),
        ("12", "cmn", "zh"),
        ("12", "yue", "zh"),
        ("12", "en-US", "en"),
        ("12", "", "en"),
        ("号码是12", "en-US", "zh"),
        ("番号は12", "ja", ""),
        ("番号は12", "cmn", ""),
        ("12번", "ko", ""),
        ("Nummer 12", "de", ""),
    ],
)
def test_the_language_of_readings(text: str, language: str, expected: str) -> None:
    assert reading_language(text, language) == expected
