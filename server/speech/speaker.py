"""One task's voice: makes syntheses of utterances."""

from __future__ import annotations

import hashlib
import secrets
from typing import Protocol

from models.base import SynthesisRequest
from server.pool.pool import Clone, PoolStream
from server.speech.types import SpeechOptions
from server.speech.utterance import Utterance
from server.speech.voices import VoiceEntry

_TENANT_KEY = secrets.token_bytes(16)
_TENANT_BYTES = 8


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
        tenant: whose task it is. Models learn it in other words, which only tell one from another.
    """

    def __init__(
        self, open_stream: OpenStream, *, voice: VoiceEntry, options: SpeechOptions, tenant: str
    ) -> None:
        self._open_stream = open_stream
        self._voice = voice
        self._options = options
        self._tenant = _pseudonym(tenant)

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
            tenant=self._tenant,
        )
        return self._open_stream(
            model=self._voice.model,
            request=request,
            text=utterance.spoken,
            deadline_s=deadline_s,
            more_text=in_pieces,
            clone=self._voice.clone,
        )


def _pseudonym(tenant: str) -> str:
    """Another name for a tenant, the same as long as this process runs."""
    digest = hashlib.blake2b(tenant.encode(), key=_TENANT_KEY, digest_size=_TENANT_BYTES)
    return digest.hexdigest()
