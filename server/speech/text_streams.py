"""Which voices are given their text while it is being written, by the operator's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from models.base import Capabilities
from server.pool.options import ModelInfo
from server.settings import ModelSettings, TextStreamMode
from server.speech.types import SpeechOptions
from server.speech.voices import VoiceEntry


class TextStreams:
    """`text_stream` and `voice_text_stream` of all models.

    Args:
        models: the settings.
    """

    def __init__(self, models: Sequence[ModelSettings]) -> None:
        self._models = {model.name: model for model in models}

    def mode(
        self, voice: VoiceEntry, capabilities: Capabilities, options: SpeechOptions
    ) -> TextStreamMode:
        """How a task is spoken. `never` where the model cannot, and for SSML: it is read whole."""
        settings = self._models.get(voice.model)
        if settings is None or options.ssml or not capabilities.text_stream:
            return "never"
        for name in _names(voice):
            if name in settings.voice_text_stream:
                return settings.voice_text_stream[name]
        return settings.text_stream

    def problems(
        self, models: Mapping[str, ModelInfo], voices: Sequence[VoiceEntry]
    ) -> Iterator[str]:
        """Say what has no effect on the models that are known, for the operator."""
        for name, settings in self._models.items():
            if name not in models:
                continue
            known = {n for voice in voices if voice.model == name for n in _names(voice)}
            for voice in settings.voice_text_stream:
                if voice not in known:
                    yield f"model {name!r}: voice_text_stream names {voice!r}, which is no voice"
            wanted = {settings.text_stream, *settings.voice_text_stream.values()}
            if "always" in wanted and not models[name].capabilities.text_stream:
                yield f'model {name!r}: text_stream = "always", but it takes whole sentences only'


def _names(voice: VoiceEntry) -> tuple[str, ...]:
    return voice.name, voice.id, voice.voice.name
