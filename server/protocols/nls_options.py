"""Aliyun NLS: from a client's parameters to what a speech session is asked for."""

from __future__ import annotations

import re
from typing import Any

from server import limits
from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.fields import Fields
from server.speech.types import AudioFormat, Prosody, SpeechOptions

_HAN = re.compile("[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_RATE_STEPS = 500


def read_options(parameters: dict[str, Any], fields: Fields) -> SpeechOptions:
    """All parameters but the text; all are optional, unknown ones are ignored.

    Args:
        parameters: a StartSynthesis' payload, or those of a request.
        fields: of `SpeechParameters`, or of a type that is derived from it.

    Raises:
        SpeechError: a value has the wrong type or is out of range.
    """
    # The Python SDK spells it "volumn".
    volume_name = "volume" if parameters.get("volume") is not None else "volumn"
    volume = fields.integer(parameters, volume_name)
    speech_rate = fields.integer(parameters, "speech_rate")
    pitch_rate = fields.integer(parameters, "pitch_rate")
    seed = fields.integer(parameters, "seed")
    return SpeechOptions(
        voice=fields.string(parameters, "voice"),
        audio_format=_audio_format(parameters, fields),
        sample_rate_hz=_sample_rate_hz(parameters, fields),
        prosody=Prosody(
            speed=rate_factor(speech_rate or 0),
            pitch=rate_factor(pitch_rate or 0),
            gain=(50 if volume is None else volume) / 50,
        ),
        subtitles=fields.boolean(parameters, "enable_subtitle"),
        ssml=fields.boolean(parameters, "enable_ssml"),
        clean_markup=fields.boolean(parameters, "enable_markdown_filter"),
        expand_text=fields.boolean(parameters, "enable_text_normalization"),
        instruction=fields.string(parameters, "instruction"),
        seed=seed,
    )


def read_text(parameters: dict[str, Any]) -> str:
    """The text of a task that gets all of it at once.

    Raises:
        SpeechError: TEXT_MISSING, or TEXT_TOO_LONG.
    """
    text = parameters.get("text")
    if not isinstance(text, str) or not text.strip():
        raise SpeechError(ErrorCode.TEXT_MISSING, "No text specified!")
    check_task_length(count_characters(text))
    return text


def check_task_length(characters: int) -> None:
    """Refuse a task's text that is too long.

    Raises:
        SpeechError: TEXT_TOO_LONG.
    """
    if characters > limits.MAX_TASK_CHARACTERS:
        raise SpeechError(
            ErrorCode.TEXT_TOO_LONG,
            f"Text is over the {limits.MAX_TASK_CHARACTERS} characters of one task!",
        )


def rate_factor(rate: int) -> float:
    """NLS' -500..0..500 as a factor 0.5..1..2, equal steps sounding equal: 2^(rate/500)."""
    return 1.0 if rate == 0 else float(2.0 ** (rate / _RATE_STEPS))


def count_characters(text: str) -> int:
    """Length as NLS bills and limits it: a Han character is 2, everything else 1."""
    if text.isascii():
        return len(text)
    return len(text) + len(_HAN.findall(text))


def _audio_format(parameters: dict[str, Any], fields: Fields) -> AudioFormat:
    value = parameters.get("format")
    if value is None or value == "":
        return AudioFormat(fields.default("format"))
    if isinstance(value, str) and value.lower() in set(AudioFormat):
        return AudioFormat(value.lower())
    raise SpeechError(ErrorCode.FORMAT_UNSUPPORTED, f"Invalid format '{nls.echo(value)}'!")


def _sample_rate_hz(parameters: dict[str, Any], fields: Fields) -> int:
    value = parameters.get("sample_rate")
    if value is None:
        return int(fields.default("sample_rate"))
    if isinstance(value, bool) or value not in limits.SAMPLE_RATES_HZ:
        allowed = ", ".join(str(rate) for rate in limits.SAMPLE_RATES_HZ)
        raise SpeechError(
            ErrorCode.SAMPLE_RATE_UNSUPPORTED,
            f"Unsupported sample_rate '{nls.echo(value)}', use one of {allowed}!",
        )
    return int(value)
