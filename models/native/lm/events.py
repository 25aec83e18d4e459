"""What becomes of sessions in a tick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from models.native.lm.session import LmSession


@dataclass(frozen=True, slots=True)
class TokenDrawn:
    """The next speech token."""

    session: LmSession
    token: int


@dataclass(frozen=True, slots=True)
class WantsText:
    """It has to wait for more text, or for its end."""

    session: LmSession


@dataclass(frozen=True, slots=True)
class Ended:
    """Speech has come to its end; the session is closed."""

    session: LmSession


@dataclass(frozen=True, slots=True)
class TooLong:
    """Speech has missed its end, or its slot is full; the session is closed. The tokens so far
    are what upstream would have taken for the whole.
    """  # noqa: D205

    session: LmSession


@dataclass(frozen=True, slots=True)
class NotFinite:
    """The model computed something that is no number; the session is closed."""

    session: LmSession


LmEvent: TypeAlias = TokenDrawn | WantsText | Ended | TooLong | NotFinite
