"""What a load says, and how an LLM would have written it."""

from __future__ import annotations

import random

BUILTIN = "今天下午天气很好，我们一起去公园散步吧。路上可以买一杯热咖啡。"
"""About six seconds of speech with the embedded model."""
_TOKEN_CHARACTERS = (1, 1, 2, 2, 3)
"""Chinese tokens of current LLMs are 1 to 3 characters long, mostly 1 or 2."""


def tokens(text: str, seed: int) -> list[str]:
    """Cut `text` as an LLM's tokens would; the same cuts for the same seed."""
    source = random.Random(seed)  # noqa: S311 - repeatable, not secret
    pieces, begin = [], 0
    while begin < len(text):
        end = begin + source.choice(_TOKEN_CHARACTERS)
        pieces.append(text[begin:end])
        begin = end
    return pieces
