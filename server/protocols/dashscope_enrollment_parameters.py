"""DashScope's voice enrollment: what a request has.

Names, defaults and ranges stand here only: `fields` reads by them, and the document of the HTTP
endpoints is made of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MODEL = "voice-enrollment"
LONGEST_S = (3.0, 30.0)
"""Least and most of `max_prompt_audio_length`."""
MAX_PAGE_SIZE = 1000
TARGET_MODEL = r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}"
PREFIX = r"[A-Za-z0-9_]{1,10}"


class EnrollmentInput(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with which voice; null is as good as absent."""

    action: Literal["create_voice", "list_voice", "query_voice", "update_voice", "delete_voice"]
    target_model: Annotated[
        str,
        Meta(
            description="Needed by `create_voice`: the model that tasks with this voice name. The "
            "name of a model of this server makes the voice with it; for any other name it is made "
            "with the first model that clones.",
            extra_json_schema={"pattern": f"^{TARGET_MODEL}$"},
        ),
    ] = ""
    prefix: Annotated[
        str,
        Meta(
            description="Needed by `create_voice`: goes into the voice_id. `list_voice` tells the "
            "voices with this prefix only.",
            extra_json_schema={"pattern": f"^{PREFIX}$"},
        ),
    ] = ""
    url: Annotated[
        str,
        Meta(
            description="Needed by `create_voice` and `update_voice`: where the server fetches the "
            "recording; addresses that are not public only if the server is set to allow them."
        ),
    ] = ""
    text: Annotated[
        str,
        Meta(
            description="What is said in the recording, word for word; needed where no recogniser "
            "takes dictation. Ours."
        ),
    ] = ""
    language_hints: Annotated[
        list[str] | None,
        Meta(description="BCP 47 tags of the recording's language; only the first counts."),
    ] = None
    max_prompt_audio_length: Annotated[
        float,
        Meta(
            description="In seconds: a longer recording is cut at a quiet place, unless its `text` "
            "is given.",
            extra_json_schema={"minimum": LONGEST_S[0], "maximum": LONGEST_S[1]},
        ),
    ] = 10.0
    voice_prompt: Annotated[None, Meta(description="Not supported: anything else is an error.")] = (
        None
    )
    voice_id: Annotated[
        str, Meta(description="Needed by `query_voice`, `update_voice` and `delete_voice`.")
    ] = ""
    page_index: Annotated[int, Meta(ge=0, le=1_000_000, description="From 0, of `list_voice`.")] = 0
    page_size: Annotated[
        int, Meta(ge=1, le=MAX_PAGE_SIZE, description="Voices on a page of `list_voice`.")
    ] = 10


class EnrollmentMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A request for DashScope's voice enrollment."""

    model: Literal["voice-enrollment"]
    input: EnrollmentInput
