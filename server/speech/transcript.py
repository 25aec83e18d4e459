"""What is said in a recording, as somebody wrote it down."""

from __future__ import annotations

import re
import unicodedata

from server.errors import ErrorCode, SpeechError
from server.speech.characters import QUARTERS, WORD_QUARTERS, Kind, classify, is_speakable
from server.speech.recording_report import Remark

MAX_CHARACTERS = 1000
"""Half a minute of fast speech has about 600 letters."""

_UNIT_S = 0.2
"""What `server.speech.characters` counts in."""
_FASTER = 2.5
"""Than usual, or slower; nobody speaks so."""
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_MAX_LANGUAGE_CHARACTERS = 35
"""BCP 47 asks for room for as many (RFC 5646, 4.4.1)."""
_BLANKS = re.compile(r"\s+")


def checked_transcript(text: str) -> str:
    """The text in one line, without control characters.

    Raises:
        SpeechError: TEXT_MISSING, TEXT_TOO_LONG.
    """
    text = unicodedata.normalize("NFC", _BLANKS.sub(" ", text).strip())
    text = "".join(c for c in text if unicodedata.category(c) not in {"Cc", "Cs"})
    if not is_speakable(text):
        raise SpeechError(
            ErrorCode.TEXT_MISSING,
            "The text of the recording is missing: write down what is said in it, word for word!",
        )
    if len(text) > MAX_CHARACTERS:
        raise SpeechError(
            ErrorCode.TEXT_TOO_LONG,
            f"The text of the recording has more than {MAX_CHARACTERS} characters!",
        )
    return text


def checked_language(tag: str) -> str:
    """A BCP 47 tag; an empty one stays empty.

    Raises:
        SpeechError: PARAMETER_INVALID.
    """
    if tag and (len(tag) > _MAX_LANGUAGE_CHARACTERS or not _LANGUAGE.fullmatch(tag)):
        message = "Invalid language: not a tag such as 'zh' or 'en-US'!"
        raise SpeechError(ErrorCode.PARAMETER_INVALID, message)
    return tag


def guess_language(text: str) -> str:
    """The language that the script of a text speaks for; English for Latin letters."""
    kinds = {classify(char).kind for char in text}
    if kinds & {Kind.KANA, Kind.KANA_TAIL}:
        return "ja"
    if Kind.HANGUL in kinds:
        return "ko"
    if Kind.HAN in kinds:
        return "cmn"
    return "ru" if any("\u0400" <= char <= "\u04ff" for char in text) else "en"


def remark_on_length(text: str, speech_s: float) -> Remark | None:
    """Advice if this much text was hardly said in this much time, or far more was said."""
    expected_s = _expected_s(text)
    if speech_s / _FASTER <= expected_s <= speech_s * _FASTER:
        return None
    return Remark(
        "text",
        f"The text takes about {expected_s:.0f} s to say, but there are {speech_s:.0f} s of "
        "speech: it has to be what is said, word for word.",
    )


def _expected_s(text: str) -> float:
    quarters, in_word = 0, False
    for char in text:
        character = classify(char)
        is_letter = character.kind is Kind.LETTER
        quarters += character.quarters + (WORD_QUARTERS if is_letter and not in_word else 0)
        in_word = is_letter or (in_word and character.kind is Kind.EXTEND)
    return quarters / QUARTERS * _UNIT_S
