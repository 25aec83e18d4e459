"""How a command fails."""

from __future__ import annotations


class CommandError(Exception):
    """A command cannot do what it was asked to.

    Args:
        message: one line for standard error, with what to do where that is known.
        exit_code: 1, or 2 for wrong usage.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UsageError(CommandError):
    """Options that are right one by one and wrong together."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=2)
