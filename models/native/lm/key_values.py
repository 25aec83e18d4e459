"""Keys and values of all sessions' positions."""

from __future__ import annotations

import torch

from models.native.lm.spec import QwenSizes


class KeyValues:
    """A slot per session, each with room for `max_length` positions.

    What is behind a session's last position is never attended to, so a slot needs no clearing for
    the next session. One slot more than there are sessions takes the rows that pad a batch, one
    position more the padding behind a row's end.

    Args:
        body: sizes of the model.
        n_slots: sessions.
        max_length: positions of each.
        device: where the model is.
        dtype: of the model.
    """

    def __init__(
        self,
        body: QwenSizes,
        *,
        n_slots: int,
        max_length: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.n_slots = n_slots
        self.max_length = max_length
        self.layers = torch.zeros(
            (body.layers, n_slots + 1, 2 * body.kv_heads, max_length + 1, body.head_size),
            device=device,
            dtype=dtype,
        )
        """Heads of keys, then heads of values."""

    @property
    def spare_slot(self) -> int:
        """For rows without a session."""
        return self.n_slots

    @property
    def n_bytes(self) -> int:
        """Of memory."""
        return int(self.layers.numel() * self.layers.element_size())

    def clear(self, slot: int) -> None:
        """Forget what is no number: even without any weight it would spoil a later session's."""
        self.layers[:, slot] = 0
