"""What the language model's engine refuses."""

from __future__ import annotations


class LmRefusalError(Exception):
    """A session cannot be had. Nothing has been taken for it."""


class SlotsExhaustedError(LmRefusalError):
    """Every slot has a session; one more can be opened when one of them closes."""


class PromptTooLongError(LmRefusalError):
    """The prompt alone has more positions than a slot."""
