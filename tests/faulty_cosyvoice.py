"""CosyVoice whose language model breaks in the middle of a sentence, for one of its voices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from models.base import PcmChunk, SynthesisRequest
from models.cosyvoice.model import CosyVoiceModel

_GOOD_TOKENS = 40


class FaultyCosyVoice(CosyVoiceModel):
    """Hosted like any other; the official language model itself raises."""

    def __init__(self, *, faulty_voice: str, **options: Any) -> None:
        self._faulty_voice = faulty_voice
        super().__init__(**options)
        llm = self._official.model.llm
        self._faulty = faulty = threading.local()

        def inference(instance: Any, *arguments: Any, **named: Any) -> Iterator[Any]:
            for number, token in enumerate(sound(instance, *arguments, **named)):
                if getattr(faulty, "armed", False) and number == _GOOD_TOKENS:
                    raise RuntimeError("CUDA error: device-side assert triggered")
                yield token

        sound = type(llm).inference
        # Under its own name, which upstream looks at.
        kind = type(llm)
        llm.__class__ = type(kind.__name__, (kind,), {"inference": inference})

    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        # A stream stays in one thread, so this concerns no other.
        self._faulty.armed = request.voice == self._faulty_voice
        return super().synthesize(request, text)
