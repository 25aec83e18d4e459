"""A model that can be told how to speak: `instructed_model:InstructedModel`.

It speaks like the sine model, an octave higher where the instruction is `very happy`, and fails at
any other instruction, with its words. It knows the mark `[laughter]`.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from sine_model import SineModel

from models.base import ModelError, PcmChunk, SynthesisRequest

_VOICES = {"": "sine", "very happy": "sine-2"}


class InstructedModel(SineModel):
    def __init__(self) -> None:
        super().__init__(name="instructed", text_stream=False)
        self.capabilities = msgspec.structs.replace(
            self.capabilities, instruction=True, marks=("[laughter]",)
        )

    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        voice = _VOICES.get(request.instruction)
        if voice is None:
            raise ModelError("failed", f"told to be {request.instruction!r}")
        return super().synthesize(msgspec.structs.replace(request, voice=voice), text)
