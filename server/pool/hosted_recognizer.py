"""The recogniser as its worker has it."""

from __future__ import annotations

from models.recognition import SpeechRecognizer


class HostedRecognizer:
    """A loaded recogniser: it has neither clones nor recordings nor guards.

    Args:
        model: the recogniser.
    """

    def __init__(self, model: SpeechRecognizer) -> None:
        self.model = model

    def wait_enrolled(self, timeout_s: float) -> bool:  # noqa: ARG002 - as `HostedModel` has it
        """There is nothing to wait for."""
        return True

    def tell_incidents(self) -> None:
        """There are none."""

    def capacity(self) -> int:
        """How many streams compute at once."""
        return self.model.capabilities.slots

    def holdings(self) -> dict[str, int]:
        """Nothing that is told."""
        return {}
