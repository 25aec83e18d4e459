"""The voices that a loaded model speaks with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.base import Voice
from models.cosyvoice.features import FeaturesError, VoiceFeatures
from models.cosyvoice.speakers import preset_voice


class VoiceTable:
    """Presets and clones by name. Clones come and go in one thread while others speak.

    Args:
        presets: of the checkpoint.
        text_vocabulary: rows of the language model's table; an id beyond it would break CUDA for
            the whole process.

    Raises:
        FeaturesError: a preset does not fit.
    """

    def __init__(self, presets: Mapping[str, VoiceFeatures], text_vocabulary: int) -> None:
        self._text_vocabulary = text_vocabulary
        self._entries: dict[str, tuple[Voice, VoiceFeatures]] = {}
        for name, features in presets.items():
            self.add(preset_voice(name, features), features)

    def voices(self) -> Sequence[Voice]:
        """All of them, presets first."""
        return [voice for voice, _ in self._entries.values()]

    def get(self, name: str) -> VoiceFeatures | None:
        """A voice's features, or None if there is no such voice."""
        entry = self._entries.get(name)
        return None if entry is None else entry[1]

    def add(self, voice: Voice, features: VoiceFeatures) -> None:
        """Take up a voice, in the place of one of the same name.

        Raises:
            FeaturesError: its transcript was tokenized for another model.
        """
        ids = features.prompt_text
        if ids is not None and ids.max() >= self._text_vocabulary:
            raise FeaturesError(
                f"voice {voice.name!r}: its transcript has the token {ids.max()}, and the language "
                f"model knows {self._text_vocabulary}"
            )
        # In one assignment each, because other threads read the table.
        self._entries = {**self._entries, voice.name: (voice, features)}

    def remove(self, name: str) -> None:
        """Forget a clone; presets stay, and an unknown name is ignored."""
        self._entries = {
            known: entry
            for known, entry in self._entries.items()
            if known != name or entry[0].kind != "clone"
        }
