"""SSML's <emotion>: Aliyun's category and intensity, put into the words of an instruction."""

from __future__ import annotations

import re
from collections.abc import Mapping

_CATEGORY = re.compile(r"[\w -]{1,40}")
_INTENSITY = re.compile(r"\d(\.\d{1,6})?", re.ASCII)
_MOST_INTENSITY = 2.0
_SLIGHT_INTENSITY = 0.75
_STRONG_INTENSITY = 1.25
"""Models take words, not numbers: three degrees around the vendor's normal of 1."""


def emotion_instruction(attributes: Mapping[str, str]) -> str:
    """Return `happy`, `very happy` or `slightly happy`; empty without a category.

    Args:
        attributes: of the element: `category`, and `intensity` from 0 to 2, 1 if it is absent.

    Raises:
        ValueError: naming the attribute.
    """
    category = attributes.get("category", "").strip()
    intensity = attributes.get("intensity", "1").strip()
    if category and not _CATEGORY.fullmatch(category):
        raise ValueError(f"category must be a word, not {category!r:.30}")
    if not _INTENSITY.fullmatch(intensity) or not 0 < float(intensity) <= _MOST_INTENSITY:
        raise ValueError(f"intensity must be above 0 and at most 2, not {intensity!r:.30}")
    if not category:
        return ""
    if float(intensity) < _SLIGHT_INTENSITY:
        return f"slightly {category}"
    return f"very {category}" if float(intensity) > _STRONG_INTENSITY else category
