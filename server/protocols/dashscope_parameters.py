"""DashScope: the parameters of speech, over its WebSocket and over HTTP.

Names, defaults and ranges stand here only: `fields` reads by them, and the document of the HTTP
endpoints is made of them. Source: Model Studio's "CosyVoice WebSocket API" page and the package
`dashscope` (2.0.2).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from server import limits
from server.speech.types import AudioFormat

DEFAULT_FORMAT = AudioFormat.MP3
DEFAULT_SAMPLE_RATE_HZ = 22_050
"""Of a format that comes with 0, or without a rate; `AudioFormat.DEFAULT` of the package."""
FORMATS = (AudioFormat.MP3, AudioFormat.PCM, AudioFormat.WAV, AudioFormat.OPUS)
FACTORS = (0.5, 2.0)
"""Least and most of `rate` and of `pitch`."""
MAX_INSTRUCTION_CHARACTERS = 128
TEXT_TYPES = ("PlainText", "SSML")
_FACTOR = {"minimum": FACTORS[0], "maximum": FACTORS[1]}


class SpeechParameters(msgspec.Struct, frozen=True, kw_only=True):
    """How it shall sound; null is as good as absent, unknown parameters are ignored."""

    voice: Annotated[
        str, Meta(description="A name or an alias of the voice list. An unknown one is an error.")
    ]
    format: Annotated[
        str,
        Meta(
            description="The container, in any case; `Default` is the default. `pcm` is signed 16 "
            "bit little endian mono, `opus` is in Ogg.",
            extra_json_schema={"enum": [str(name) for name in FORMATS]},
        ),
    ] = str(DEFAULT_FORMAT)
    sample_rate: Annotated[
        int,
        Meta(
            description="In Hz; 0 is the default. A codec that lacks the rate gets the next one "
            "above.",
            extra_json_schema={"enum": [0, *limits.SAMPLE_RATES_HZ]},
        ),
    ] = DEFAULT_SAMPLE_RATE_HZ
    volume: Annotated[
        int, Meta(ge=0, le=100, description="The amplitude's factor is volume/50.")
    ] = 50
    rate: Annotated[float, Meta(description="Factor on the tempo.", extra_json_schema=_FACTOR)] = (
        1.0
    )
    pitch: Annotated[float, Meta(description="Factor on the pitch.", extra_json_schema=_FACTOR)] = (
        1.0
    )
    bit_rate: Annotated[
        Annotated[int, Meta(ge=6, le=510)] | None,
        Meta(description="In kbit/s, of `opus`; ignored for other formats."),
    ] = None
    text_type: Annotated[
        str,
        Meta(
            description="In any case. With `SSML`, text that begins as an SSML document is read "
            "as one.",
            extra_json_schema={"enum": list(TEXT_TYPES)},
        ),
    ] = TEXT_TYPES[0]
    enable_ssml: Annotated[bool, Meta(description="The same as the text type `SSML`.")] = False
    word_timestamp_enabled: Annotated[
        bool, Meta(description="Times of words in the events of a sentence's end.")
    ] = False
    enable_markdown_filter: Annotated[
        bool, Meta(description="Leave out markup, code, links and emoji.")
    ] = True
    instruction: Annotated[
        str,
        Meta(
            description="How to say it, for voices that take instructions, else an error.",
            extra_json_schema={"maxLength": MAX_INSTRUCTION_CHARACTERS},
        ),
    ] = ""
    seed: Annotated[
        int,
        Meta(
            ge=0, le=65_535, description="Repeatable sampling, for models that sample; 0 is none."
        ),
    ] = 0
    language_hints: Annotated[
        list[str] | None, Meta(description="Ignored: the text speaks for itself.")
    ] = None
    hot_fix: Annotated[None, Meta(description="Not supported: anything else is an error.")] = None


class SpeechInput(SpeechParameters, frozen=True, kw_only=True):
    """The `input` of an HTTP request."""

    text: Annotated[
        str,
        Meta(
            description=f"What shall be said: up to {limits.MAX_PIECE_CHARACTERS} characters, a "
            "Han character counting 2 and tags of SSML nothing."
        ),
    ]


class SpeechMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request."""

    model: Annotated[
        str,
        Meta(
            description="The name of a model of this server narrows the voices to its own; any "
            "other name does not matter."
        ),
    ]
    input: SpeechInput
