"""The embedded model: espeak-ng, which speaks a hundred languages on one core at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Literal

import numpy as np

from models.base import (
    Capabilities,
    ModelError,
    PcmChunk,
    SpeechModel,
    SynthesisRequest,
    Voice,
)
from models.espeak_library import EspeakLibrary, Int16Samples, Timbre, WordEvent

_PRESETS: dict[str, tuple[str, Literal["female", "male"], Timbre]] = {
    "中文女": ("cmn", "female", Timbre(variant="f3")),
    "中文男": ("cmn", "male", Timbre(variant="m3")),
    "英文女": ("en-us", "female", Timbre(variant="f3")),
    "英文男": ("en-us", "male", Timbre(variant="m3")),
    "日语男": ("ja", "male", Timbre(variant="m3")),
    "韩语女": ("ko", "female", Timbre(variant="f3")),
    "粤语女": ("yue", "female", Timbre(variant="f3")),
}

_Block = tuple[Int16Samples, list[WordEvent]]


class EspeakModel(SpeechModel):
    """Speaks with libespeak-ng."""

    name = "espeak"

    def __init__(self) -> None:
        self._library = EspeakLibrary()
        self.sample_rate_hz = self._library.sample_rate_hz
        self.capabilities = Capabilities(slots=1, run_ahead_s=600.0, word_times=True)
        self._voices = [
            Voice(name=name, language=language, gender=gender)
            for name, (language, gender, _) in _PRESETS.items()
        ]

    def voices(self) -> Sequence[Voice]:
        """The presets."""
        return self._voices

    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        """Speak; see `SpeechModel.synthesize`."""
        if not isinstance(text, str):
            raise ModelError("unsupported", "model 'espeak' takes a whole text")
        if request.voice not in _PRESETS:
            raise ModelError("voice_unknown", f"unknown voice {request.voice!r}")
        language, _, timbre = _PRESETS[request.voice]
        blocks: SimpleQueue[_Block | None] = SimpleQueue()
        stopped = threading.Event()

        def receive(samples: Int16Samples, words: list[WordEvent]) -> bool:
            blocks.put((samples, words))
            return not stopped.is_set()

        def run() -> None:
            self._library.speak(text, request.language or language, timbre, receive)
            blocks.put(None)

        threading.Thread(target=run, daemon=True).start()
        return self._chunks(blocks, stopped)

    def _chunks(
        self, blocks: SimpleQueue[_Block | None], stopped: threading.Event
    ) -> Iterator[PcmChunk]:
        try:
            while (block := blocks.get()) is not None:
                if block[0].size:
                    yield PcmChunk(np.multiply(block[0], np.float32(1 / 32768), dtype=np.float32))
        finally:
            stopped.set()

    def warm_up(self) -> None:
        """Speak a word."""
        for _ in self.synthesize(SynthesisRequest(voice="中文女"), "你好"):
            pass

    def close(self) -> None:
        """Free the library."""
        self._library.close()
