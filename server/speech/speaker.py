"""One task's voice: makes syntheses of utterances."""

from __future__ import annotations

from typing import Protocol

from models.base import SynthesisRequest
from server.pool.pool import Clone, PoolStream
from server.speech.types import SpeechOptions
from server.speech.utterance import Utterance
from server.speech.voices import VoiceEntry


class OpenStream(Protocol):
    """`WorkerPool.open`: what is needed of the pool."""

    def __call__(
        self,
        model: str,
        request: SynthesisRequest,
        text: str,
        *,
        deadline_s: float,
        more_text: bool = False,
        clone: Clone | None = None,
    ) -> PoolStream:
        """Queue a synthesis."""


class Speaker:
    """Speaks utterances as a task asks for it.

    Args:
        open_stream: the pool.
        voice: the task's.
        options: the task's instruction and seed count here.
    """

    def __init__(
        self, open_stream: OpenStream, *, voice: VoiceEntry, options: SpeechOptions
    ) -> None:
        self._open_stream = open_stream
        self._voice = voice
        self._options = options

    def speak(
        self, utterance: Utterance, *, deadline_s: float, in_pieces: bool = False
    ) -> PoolStream:
        """Queue an utterance.

        Args:
            utterance: with something to speak.
            deadline_s: when its first sample is needed.
            in_pieces: it is the beginning of a sentence; the rest follows, or its end.

        Raises:
            SpeechError: the pool takes no more.
        """
        request = SynthesisRequest(
            voice=self._voice.voice.name,
            instruction=utterance.instruction or self._options.instruction,
            seed=self._options.seed,
        )
        return self._open_stream(
            model=self._voice.model,
            request=request,
            text=utterance.spoken,
            deadline_s=deadline_s,
            more_text=in_pieces,
            clone=self._voice.clone,
        )
