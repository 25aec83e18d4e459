"""What streams ask of the engine's thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from models.base import ModelError
from models.cosyvoice.features import Floats, TokenIds
from models.native.lm.sequence import LmPrompt, TextLayout

if TYPE_CHECKING:
    from models.native.capturing import Captured
    from models.native.handle import SessionHandle


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VoicePrompt:
    """What speech goes on from, and what it sounds like."""

    lm: LmPrompt
    tokens: TokenIds
    """(n,) int32, the recording; n may be 0."""
    mel: Floats
    """(2 n, 80) float32, the same."""
    embedding: Floats
    """(192,) float32, the speaker."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Begin:
    """A new session."""

    handle: SessionHandle
    prompt: VoicePrompt
    seed: np.random.SeedSequence
    layout: TextLayout
    tenant: str = ""
    """Whose it is."""


@dataclass(frozen=True, slots=True, eq=False)
class AppendText:
    """More of a session's text."""

    handle: SessionHandle
    text: str
    ids: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class EndText:
    """A session's text is whole; or broken off, with what is to be raised for it."""

    handle: SessionHandle
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Cancel:
    """Nobody listens to a session any more."""

    handle: SessionHandle


@dataclass(frozen=True, slots=True, eq=False)
class Prepare:
    """Whatever can be captured is to be."""

    done: Future[Captured]


Order: TypeAlias = Begin | AppendText | EndText | Cancel | Prepare


class Inbox:
    """Orders from any thread to the engine's, which sleeps here while there is nothing to do."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._orders: list[Order] = []
        self._woken = False
        self._closed = False

    def put(self, order: Order) -> None:
        """Ask for something.

        Raises:
            ModelError: `failed`, something was to begin, and the engine has ended.
        """
        with self._changed:
            if self._closed:
                if isinstance(order, Begin | Prepare):
                    raise ModelError("failed", "the model has been closed")
                return
            self._orders.append(order)
            self._changed.notify_all()

    def wake(self) -> None:
        """Have the engine look at its sessions again."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more orders. Whoever waits for what nobody has taken is told."""
        with self._changed:
            self._closed = True
            orders, self._orders = self._orders, []
            self._changed.notify_all()
        for order in orders:
            error = ModelError("failed", "the model has been closed")
            match order:
                case Begin():
                    order.handle.end(error)
                case Prepare():
                    order.done.set_exception(error)

    def take(self, timeout_s: float | None) -> list[Order] | None:
        """Wait for orders, or to be woken.

        Args:
            timeout_s: how long at most; None for as long as it takes.

        Returns:
            All orders so far, perhaps none. None once it is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._orders or self._woken or self._closed, timeout_s)
            self._woken = False
            if self._closed:
                return None
            orders, self._orders = self._orders, []
            return orders
