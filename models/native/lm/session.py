"""One text on its way through the language model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from models.native.lm.sampling import NO_TOKEN
from models.native.lm.sequence import SequenceState, TokenSequence
from models.native.lm.step import Column
from models.native.lm.uniforms import signed


class LmSession:
    """A session of an `LmEngine`, which opens it. It belongs to the engine's thread.

    Args:
        sequence: what it reads and says.
        seed: of what it draws.
        slot: where its keys and values are.
        row: its row of the engine's table, (len(Column) + win_size,) int64.
        free: gives the slot back.
    """

    def __init__(
        self,
        sequence: TokenSequence,
        *,
        seed: int,
        slot: int,
        row: npt.NDArray[np.int64],
        free: Callable[[LmSession], None],
    ) -> None:
        self.slot = slot
        """Another session may have it once this one is closed."""
        self._sequence = sequence
        self._row = row
        self._recent = row[len(Column) :]
        self._recent[:] = NO_TOKEN
        row[Column.SLOT] = slot
        row[Column.SEED] = signed(seed)
        self._free = free
        self._position = 0
        self._n_read = 0
        self._is_open = True

    def append_text(self, ids: Iterable[int]) -> None:
        """Take (more) text.

        Raises:
            ValueError: the session is closed, the text's end has been told before, or an id is
                unknown to the model.
        """
        if not self._is_open:
            raise ValueError("the session is closed")
        self._sequence.append_text(ids)

    def end_text(self) -> None:
        """No more text comes."""
        self._sequence.end_text()

    def close(self) -> None:
        """Give the slot back, now. What is closed stays closed."""
        if self._is_open:
            self._is_open = False
            self._sequence.stop()
            self._free(self)

    @property
    def is_open(self) -> bool:
        """It has its slot. The end of speech closes it, too."""
        return self._is_open

    @property
    def is_ready(self) -> bool:
        """It can be computed now."""
        return self._is_open and self._sequence.can_go_on

    @property
    def state(self) -> SequenceState:
        """What it is at."""
        return self._sequence.state

    @property
    def is_too_long(self) -> bool:
        """See `TokenSequence.is_too_long`."""
        return self._sequence.is_too_long

    @property
    def n_positions(self) -> int:
        """Of its slot that are in use."""
        return self._position

    def unread(self) -> Sequence[int]:
        """What is to be read next, as far as it has not been. Nothing, if the text was empty."""
        return self._sequence.next_input()[self._n_read :]

    def prepare(self, n_inputs: int) -> None:
        """Write its row for a call that reads so many inputs."""
        draw = self._sequence.draw
        self._row[Column.START : Column.SEED] = (
            self._position,
            n_inputs,
            self._sequence.n_drawn,
            draw.choice,
            draw.forced,
        )

    def has_read(self, n_inputs: int) -> bool:
        """They are in the slot. True, if they were the last, and a token was drawn."""
        self._position += n_inputs
        self._n_read += n_inputs
        return self._n_read == len(self._sequence.next_input())

    def accept(self, token: int) -> None:
        """Take what was drawn."""
        self._recent[self._sequence.n_drawn % len(self._recent)] = token
        self._n_read = 0
        self._sequence.accept(token)
