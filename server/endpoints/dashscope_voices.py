"""Which voice a DashScope task means: its model counts, if it is one of ours."""

from __future__ import annotations

from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError


def find_voice(services: Services, name: str, *, model: str) -> str:
    """What means the voice `name` of `model`, and no other.

    The vendor's models stand for no particular one of ours; the name of a model that is loaded is
    taken at its word.

    Raises:
        SpeechError: VOICE_UNKNOWN, or MODEL_UNAVAILABLE because none is loaded yet.
    """
    if not services.pool.models:
        raise SpeechError(
            ErrorCode.MODEL_UNAVAILABLE, "No model is loaded yet, try again!", retry_after_s=1.0
        )
    voice = services.speech.catalog.resolve(name)
    if model in services.pool.models and voice.model != model:
        # An alias stands for the first voice that is there; the model may have another one for it.
        voice = services.speech.catalog_of(model).resolve(name)
    return voice.id if voice.clone is not None else f"{voice.model}/{voice.voice.name}"
