"""What is said in a recording, as people write it down."""

from __future__ import annotations

import pytest

from server.errors import ErrorCode, SpeechError
from server.speech.transcript import (
    checked_language,
    checked_transcript,
    guess_language,
    remark_on_length,
)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Hello there.", "Hello there."),
        ("  Two\r\nlines,\tone text. ", "Two lines, one text."),
        ("Zoe\u0308\0 says\u200b hi", "Zoë says\u200b hi"),
        ("你好\ud83d", "你好"),
    ],
)
def test_kept_in_one_line(written: str, kept: str) -> None:
    assert checked_transcript(written) == kept


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", ErrorCode.TEXT_MISSING),
        (" \n", ErrorCode.TEXT_MISSING),
        ("…?!", ErrorCode.TEXT_MISSING),
        ("a" * 1001, ErrorCode.TEXT_TOO_LONG),
    ],
)
def test_refused(text: str, code: ErrorCode) -> None:
    with pytest.raises(SpeechError) as refused:
        checked_transcript(text)
    assert refused.value.code is code


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello, 123.", "en"),
        ("我们用 WebSocket。", "cmn"),
        ("東京に行きます。", "ja"),
        ("서울에 갑니다. 漢字", "ko"),
        ("Привет.", "ru"),
        ("123", "en"),
    ],
)
def test_a_script_speaks_for_a_language(text: str, language: str) -> None:
    assert guess_language(text) == language


def test_language_tags() -> None:
    for tag in ("", "zh", "cmn", "en-US", "zh-Hant-TW"):
        assert checked_language(tag) == tag
    for tag in ("english", "e", "en_US", "en-", "en US", "-", "en-" + "-".join(["latn"] * 8)):
        with pytest.raises(SpeechError):
            checked_language(tag)


@pytest.mark.parametrize(
    ("text", "speech_s", "plausible"),
    [
        ("你好，很高兴认识你，今天天气真好。", 3.0, True),
        ("你好，很高兴认识你，今天天气真好。", 1.6, True),
        ("你好。", 6.0, False),
        ("Hello, nice to meet you; it is a lovely day today.", 3.5, True),
        ("Hello.", 8.0, False),
        ("A whole page of text. " * 20, 8.0, False),
        ("今天是2025年3月12日。", 3.0, True),
    ],
)
def test_text_and_time(text: str, speech_s: float, plausible: bool) -> None:
    assert (remark_on_length(text, speech_s) is None) == plausible
