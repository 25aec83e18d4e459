"""What running the command line in a test gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    code: int
    out: bytes
    err: str


Cosystream = Callable[..., Outcome]
