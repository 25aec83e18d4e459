"""Which voice a DashScope task means: its model counts, if it is one of ours."""

from __future__ import annotations

from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.protocols.dashscope_enrollment import parse_voice_id


def find_voice(services: Services, name: str, *, model: str) -> str:
    """What means the voice `name` of `model`, and no other.

    The vendor's models stand for no particular one of ours; the name of a model that is loaded is
    taken at its word. A voice of the enrollment speaks for the model that it was made for only; the
    package's older module has no models but voices.

    Raises:
        SpeechError: VOICE_UNKNOWN, or MODEL_UNAVAILABLE because none is loaded yet.
    """
    if not services.pool.models:
        raise SpeechError(
            ErrorCode.MODEL_UNAVAILABLE, "No model is loaded yet, try again!", retry_after_s=1.0
        )
    voice = services.speech.catalog.resolve(name)
    made_for = None if voice.clone is None else parse_voice_id(voice.clone.facts.name)
    if voice.clone is not None and made_for is not None:
        if model not in {made_for.target_model, name}:
            message = f"Voice '{voice.name}' was made for the model '{made_for.target_model}'!"
            raise SpeechError(ErrorCode.VOICE_UNKNOWN, message)
        return voice.clone.facts.id
    if model in services.pool.models and voice.model != model:
        # An alias stands for the first voice that is there; the model may have another one for it.
        voice = services.speech.catalog_of(model).resolve(name)
    return voice.id if voice.clone is not None else f"{voice.model}/{voice.voice.name}"
