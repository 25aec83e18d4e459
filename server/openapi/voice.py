"""A voice of the list, as several sections show it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Voice(msgspec.Struct, kw_only=True):
    """A voice that can be spoken with."""

    name: Annotated[str, Meta(description="What a request may name it by.")]
    id: Annotated[str, Meta(description="Another such name, which means no other voice.")]
    model: str
    language: Annotated[str, Meta(description="BCP 47 tag.")]
    gender: str
    kind: Annotated[str, Meta(description="`preset` or `clone`.")]
    description: str
    sample_rate: Annotated[int, Meta(description="Of its model, in Hz.")]
    aliases: Annotated[list[str], Meta(description="More names, such as vendors'.")]
