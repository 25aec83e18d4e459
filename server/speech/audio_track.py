"""The audio file of one task: a synchronous encoder, driven from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from models.base import Samples
from server.speech.encoder import Encoder
from server.speech.prosody import combined
from server.speech.types import Prosody


class AudioTrack:
    """Encodes in the loop what takes microseconds, and in a thread what takes longer.

    Args:
        encoder: of the task, made with `prosody`.
        model_rate_hz: of the samples that come.
        executor: where an encoder that is not `inline` runs.
    """

    def __init__(
        self, encoder: Encoder, *, model_rate_hz: int, prosody: Prosody, executor: Executor
    ) -> None:
        self._encoder = encoder
        self._model_rate_hz = model_rate_hz
        self._own = prosody
        self._prosody = prosody
        self._executor = executor
        self._begun = False
        self._ended = False

    @property
    def position_s(self) -> float:
        """Where in the file the next sample will be heard."""
        return self._encoder.position_s

    @property
    def time_scale(self) -> float:
        """Seconds of the file for one second of the model's."""
        return self._encoder.time_scale

    async def shape(self, wanted: Prosody) -> None:
        """Change the prosody of what comes, if a sentence's SSML asks for another than the last's.

        Raises:
            SpeechError: PARAMETER_INVALID, together with the task's own it is too much.
        """
        prosody = combined(self._own, wanted)
        if prosody != self._prosody:
            self._prosody = prosody
            await self._run(self._set_prosody, prosody)

    async def encode(self, samples: Samples) -> list[bytes]:
        """Return the frames that are due with these samples."""
        self._begun = True
        return await self._run(self._encoder.encode, samples)

    async def silence(self, seconds: float) -> list[bytes]:
        """Return the frames of a pause, as long in the file at any tempo."""
        n_samples = round(seconds * self._model_rate_hz / self.time_scale)
        return await self.encode(np.zeros(n_samples, dtype=np.float32))

    async def drain(self) -> list[bytes]:
        """Return what can leave at the end of a sentence."""
        return await self._run(self._encoder.drain)

    async def end(self) -> list[bytes]:
        """Return the end of the file, once; nothing, if nothing was spoken."""
        if self._ended or not self._begun:
            return []
        self._ended = True
        return await self._run(self._encoder.finish)

    def _set_prosody(self, prosody: Prosody) -> list[bytes]:
        self._encoder.set_prosody(prosody)
        return []

    async def _run(self, step: Callable[..., list[bytes]], *arguments: object) -> list[bytes]:
        if self._encoder.inline:
            return step(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, step, *arguments)
