"""Aliyun NLS: the parameters of speech, over sockets and over HTTP.

Names, defaults and ranges stand here only: `fields` reads by them, and the document of the HTTP
endpoints is made of them. Sources: Aliyun's "streaming-text-tts-wss" and "restful-api-3" pages.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from server import limits
from server.speech.types import AudioFormat

_Volume = Annotated[int, Meta(ge=0, le=100, description="The amplitude's factor is volume/50.")]


class SpeechParameters(msgspec.Struct, frozen=True, kw_only=True):
    """How it shall sound. All are optional, null is as good as absent, unknown ones are ignored."""

    voice: Annotated[
        str, Meta(description="A name or an alias of the voice list. An unknown one is an error.")
    ] = "longxiaochun"
    format: Annotated[
        AudioFormat,
        Meta(
            description="The container, in any case. `pcm` is signed 16 bit little endian mono, "
            "`opus` is in Ogg, `aac` in ADTS; `wav` has the sizes of a stream."
        ),
    ] = AudioFormat.PCM
    sample_rate: Annotated[
        int,
        Meta(
            description="In Hz. A codec that lacks the rate gets the next one above.",
            extra_json_schema={"enum": list(limits.SAMPLE_RATES_HZ)},
        ),
    ] = 16_000
    volume: _Volume = 50
    volumn: Annotated[
        _Volume, Meta(description="How Aliyun's Python SDK spells `volume`, which goes first.")
    ] = 50
    speech_rate: Annotated[
        int, Meta(ge=-500, le=500, description="The tempo's factor is 2^(rate/500).")
    ] = 0
    pitch_rate: Annotated[
        int, Meta(ge=-500, le=500, description="The pitch's factor is 2^(rate/500).")
    ] = 0
    enable_subtitle: Annotated[
        bool, Meta(description="Messages with timestamps, over a WebSocket.")
    ] = False
    enable_ssml: Annotated[
        bool, Meta(description="Text that begins as an SSML document is read as one.")
    ] = False
    enable_markdown_filter: Annotated[
        bool, Meta(description="Leave out markup, code, links and emoji. Ours.")
    ] = True
    enable_text_normalization: Annotated[
        bool, Meta(description="Put numbers, dates, units and symbols into words. Ours.")
    ] = True
    instruction: Annotated[
        str,
        Meta(description="How to say it, for voices that take instructions, else an error. Ours."),
    ] = ""
    seed: Annotated[
        Annotated[int, Meta(ge=0, le=2**32 - 1)] | None,
        Meta(description="Repeatable sampling, for models that sample. Ours."),
    ] = None


class TextParameters(SpeechParameters, frozen=True, kw_only=True):
    """What shall be said, and how: a task that gets all of its text at once."""

    text: Annotated[
        str,
        Meta(
            description=f"What shall be said: up to {limits.MAX_TASK_CHARACTERS} characters, a Han "
            "character counting 2. An SSML document is read as one."
        ),
    ]
    voice: Annotated[
        str, Meta(description="A name or an alias of the voice list. An unknown one is an error.")
    ] = "xiaoyun"
    enable_ssml: Annotated[
        bool, Meta(description="Text that begins as an SSML document is read as one.")
    ] = True


class HttpParameters(TextParameters, frozen=True, kw_only=True):
    """A request of `/stream/v1/tts`; null is as good as absent, unknown fields are ignored."""

    enable_subtitle: Annotated[
        bool, Meta(description="Ignored: there are no timestamps over HTTP.")
    ] = False
    appkey: Annotated[
        str, Meta(description="Any, or none, unless the server is set to require one.")
    ] = ""
    token: Annotated[str, Meta(description="Where no header can be set.")] = ""
