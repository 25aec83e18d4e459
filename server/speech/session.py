"""One task: streamed text in, events and encoded audio out.

    feed / flush / finish ──▶ utterances ──▶ pool streams ──▶ encoder ──▶ events()

The session opens the synthesis of the next sentence while the current one is being sent, tells the
pool when its listener will run dry, and keeps order. It is used from one event loop; everything
but `events` is synchronous. All protocols speak only this.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from models.base import Samples, SynthesisRequest
from server import limits
from server.errors import SpeechError
from server.pool.pool import PoolStream
from server.speech.encoder import Encoder
from server.speech.playback import PlaybackClock
from server.speech.subtitles import SentenceTrack
from server.speech.types import (
    AudioProduced,
    Prosody,
    SentenceFinished,
    SentenceStarted,
    SessionEvent,
    SessionFinished,
    SessionSummary,
    SpeechOptions,
    SubtitleProduced,
)
from server.speech.utterances import Utterance, UtteranceReader
from server.speech.voices import VoiceEntry

FIRST_AUDIO_TARGET_S = 0.1
"""When a listener who hears nothing yet counts as run dry, after the text was there."""
_SPEECH_S_PER_CHARACTER = 0.15


class OpenStream(Protocol):
    """`WorkerPool.open`: what a session needs of the pool."""

    def __call__(
        self, model: str, request: SynthesisRequest, text: str, *, deadline_s: float
    ) -> PoolStream:
        """Queue a synthesis."""


class SessionObserver(Protocol):
    """What a session reports besides its summary."""

    def chunk_sent(self, gap_s: float) -> None:
        """An audio frame let itself be waited for so long."""


@dataclass(slots=True)
class _Sentence:
    utterance: Utterance
    ready_s: float
    stream: PoolStream | None = None


@dataclass(slots=True)
class _Tally:
    """What the summary is made of."""

    sentences: int = 0
    characters: int = 0
    audio_bytes: int = 0
    first_text_s: float | None = None
    first_ready_s: float | None = None
    first_audio_s: float | None = None
    model_first_chunk_s: float | None = None
    queue_wait_s: float = 0.0
    synthesis_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class SessionParts:
    """What `SpeechService` puts a session together from."""

    voice: VoiceEntry
    options: SpeechOptions
    reader: UtteranceReader
    make_encoder: Callable[[Prosody], Encoder]
    open_stream: OpenStream
    executor: Executor
    """Where encoders that are not `inline` run."""
    observer: SessionObserver
    linger_s: float
    """A pause in the text after which what is there is spoken."""
    on_close: Callable[[SpeechSession], None]
    keep_text: bool = False
    """Remember the text, for the log."""
    clock: Callable[[], float] = field(default=time.monotonic)


class SpeechSession:
    """A task under way. Iterate `events` once, from one task; `close` in any case."""

    def __init__(self, parts: SessionParts) -> None:
        self._parts = parts
        self._clock = parts.clock
        self._encoder: Encoder | None = None
        if not parts.options.ssml:
            # A wrong combination of parameters is refused before any text is taken. SSML may
            # still change the prosody, so there the encoder waits for the text.
            self._encoder = parts.make_encoder(Prosody())
        self._waiting: deque[_Sentence] = deque()
        self._current: _Sentence | None = None
        self._wakeup = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None
        self._finished = False
        self._cancelled = False
        self._closed = False
        self.failure: SpeechError | None = None
        """Why the task failed, if it did."""
        self.text = ""
        """What was fed, only if it is to be remembered."""
        self.voice_name = parts.voice.name
        self._tally = _Tally()
        self._playback = PlaybackClock()
        self.idle_since_s: float | None = self._clock()
        """Since when there is nothing to speak, by the monotonic clock; None while there is."""

    # --- Text in -----------------------------------------------------------------------------

    def feed(self, text: str) -> None:
        """Take a piece of text of any size.

        Raises:
            SpeechError: SSML_INVALID.
        """
        if self._finished or self._cancelled or not text:
            return
        if self._tally.first_text_s is None:
            self._tally.first_text_s = self._clock()
        self._tally.characters += len(text)
        if self._parts.keep_text:
            self.text += text
        self._take(self._parts.reader.feed(text))
        self._restart_linger()

    def flush(self) -> None:
        """Speak all text that is there; more may come."""
        self._stop_linger()
        if not self._finished and not self._cancelled:
            self._take(self._parts.reader.flush())

    def finish(self) -> None:
        """No more text comes.

        Raises:
            SpeechError: SSML_INVALID, the document does not end.
        """
        self._stop_linger()
        if not self._finished and not self._cancelled:
            self._finished = True
            self._take(self._parts.reader.finish())
            self._wakeup.set()

    def cancel(self) -> None:
        """Stop: models stop within one chunk, `events` ends with what has left so far."""
        self._cancelled = True
        self._stop_linger()
        for sentence in self._opened():
            if sentence.stream is not None:
                sentence.stream.cancel()
        self._waiting.clear()
        self._wakeup.set()

    def fail(self, error: SpeechError) -> None:
        """Stop because of an error of the protocol or the connection, for the summary."""
        self.failure = self.failure or error
        self.cancel()

    def close(self) -> None:
        """Free everything; idempotent."""
        if not self._closed:
            self._closed = True
            self.cancel()
            self._parts.on_close(self)

    # --- State -------------------------------------------------------------------------------

    @property
    def outcome(self) -> str:
        """`completed`, `cancelled` or the code of the error."""
        if self.failure is not None:
            return self.failure.code.value
        return "cancelled" if self._cancelled and not self._completed else "completed"

    @property
    def _completed(self) -> bool:
        return self._finished and not self._waiting and self._current is None

    def summary(self) -> SessionSummary:
        """What the task came to so far."""
        tally = self._tally
        start_s = tally.first_text_s
        return SessionSummary(
            sentences=tally.sentences,
            characters=tally.characters,
            audio_s=self._encoder.position_s if self._encoder is not None else 0.0,
            audio_bytes=tally.audio_bytes,
            first_audio_s=_since(start_s, tally.first_audio_s),
            text_wait_s=_since(start_s, tally.first_ready_s) or 0.0,
            model_first_chunk_s=tally.model_first_chunk_s,
            queue_wait_s=tally.queue_wait_s,
            synthesis_s=tally.synthesis_s,
            underruns=self._playback.underruns,
        )

    # --- Events out --------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[SessionEvent]:
        """All events in order; `SessionFinished` is the last.

        Raises:
            SpeechError: the task failed; nothing more comes.
        """
        try:
            while (sentence := await self._next_sentence()) is not None:
                async for event in self._speak(sentence):
                    yield event
            if not self._cancelled:
                for data in await self._end_file():
                    yield self._produced(data)
        except SpeechError as error:
            self.fail(error)
            raise
        yield SessionFinished(self.summary())

    async def _next_sentence(self) -> _Sentence | None:
        self._current = None
        while not self._cancelled:
            if self._waiting:
                self._current = self._waiting.popleft()
                self._open_ahead()
                return self._current
            if self._finished:
                return None
            self.idle_since_s = self._clock()
            self._wakeup.clear()
            await self._wakeup.wait()
        return None

    async def _speak(self, sentence: _Sentence) -> AsyncIterator[SessionEvent]:
        utterance = sentence.utterance
        index = self._tally.sentences + utterance.announced
        self._tally.sentences = index
        if utterance.announced:
            yield SentenceStarted(index, utterance.text)
        track = SentenceTrack(utterance, begin_s=self._ready_encoder().position_s)
        if sentence.stream is not None:
            async for event in self._speak_stream(sentence, sentence.stream, track):
                yield event
        if utterance.pause_s > 0 and not self._cancelled:
            for data in await self._silence(utterance.pause_s):
                yield self._produced(data)
        if utterance.announced and not self._cancelled:
            subtitle = track.complete() if self._parts.options.subtitles else None
            yield SentenceFinished(index, subtitle)

    async def _speak_stream(
        self, sentence: _Sentence, stream: PoolStream, track: SentenceTrack
    ) -> AsyncIterator[SessionEvent]:
        encoder = self._ready_encoder()
        asked_s = self._clock()
        async for chunk in stream:
            begin_s = encoder.position_s
            frames = await self._encode(chunk.samples)
            self._note_chunk(encoder.position_s - begin_s, asked_s, sentence.ready_s)
            for data in frames:
                yield self._produced(data)
            if self._parts.options.subtitles and chunk.words:
                track.add_words(chunk.words, encoder.time_scale)
                snapshot = track.snapshot(encoder.position_s)
                yield SubtitleProduced(self._tally.sentences, snapshot)
            asked_s = self._clock()
        track.end(encoder.position_s)
        self._note_stream(stream)
        if not self._cancelled:
            for data in await self._run(encoder, encoder.drain):
                yield self._produced(data)

    def _produced(self, data: bytes) -> AudioProduced:
        if self._tally.first_audio_s is None:
            self._tally.first_audio_s = self._clock()
        self._tally.audio_bytes += len(data)
        return AudioProduced(data)

    def _note_chunk(self, audio_s: float, asked_s: float, text_ready_s: float) -> None:
        now_s = self._clock()
        if self._tally.first_audio_s is not None:
            self._parts.observer.chunk_sent(now_s - asked_s)
        self._playback.sent(audio_s, now_s=now_s, asked_s=asked_s, text_ready_s=text_ready_s)

    def _note_stream(self, stream: PoolStream) -> None:
        self._tally.queue_wait_s += stream.queue_wait_s or 0.0
        self._tally.synthesis_s += stream.compute_s or 0.0
        if self._tally.model_first_chunk_s is None:
            self._tally.model_first_chunk_s = stream.model_first_chunk_s

    # --- Utterances to pool streams ----------------------------------------------------------

    def _take(self, utterances: list[Utterance]) -> None:
        now_s = self._clock()
        for utterance in utterances:
            if self._tally.first_ready_s is None and utterance.spoken:
                self._tally.first_ready_s = now_s
            self._waiting.append(_Sentence(utterance, now_s))
        if utterances:
            self.idle_since_s = None
            self._open_ahead()
            self._wakeup.set()

    def _opened(self) -> list[_Sentence]:
        """The sentences that may be synthesised now, the current one first."""
        current = [] if self._current is None else [self._current]
        count = 1 + limits.SESSION_LOOKAHEAD_SEGMENTS - len(current)
        return current + list(itertools.islice(self._waiting, count))

    def _open_ahead(self) -> None:
        deadline_s = self._playback.dry_s
        for sentence in self._opened():
            spoken = sentence.utterance.spoken
            due_s = sentence.ready_s + FIRST_AUDIO_TARGET_S if deadline_s is None else deadline_s
            if sentence.stream is not None:
                sentence.stream.reprioritize(due_s)
            elif spoken:
                sentence.stream = self._parts.open_stream(
                    self._parts.voice.model, self._request(), spoken, deadline_s=due_s
                )
            deadline_s = due_s + len(spoken) * _SPEECH_S_PER_CHARACTER

    def _request(self) -> SynthesisRequest:
        options = self._parts.options
        return SynthesisRequest(
            voice=self._parts.voice.voice.name, instruction=options.instruction, seed=options.seed
        )

    # --- Linger ------------------------------------------------------------------------------

    def _restart_linger(self) -> None:
        self._stop_linger()
        if self._parts.reader.pending:
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(self._parts.linger_s, self.flush)

    def _stop_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    # --- Encoding ----------------------------------------------------------------------------

    def _ready_encoder(self) -> Encoder:
        if self._encoder is None:
            self._encoder = self._parts.make_encoder(self._parts.reader.prosody)
        return self._encoder

    async def _encode(self, samples: Samples) -> list[bytes]:
        encoder = self._ready_encoder()
        return await self._run(encoder, encoder.encode, samples)

    async def _run(
        self, encoder: Encoder, step: Callable[..., list[bytes]], *arguments: object
    ) -> list[bytes]:
        """Encode here if that takes microseconds, else in a thread."""
        if encoder.inline:
            return step(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._parts.executor, step, *arguments)

    async def _silence(self, seconds: float) -> list[bytes]:
        """A pause, as long in the output at any tempo."""
        encoder = self._ready_encoder()
        n_samples = round(seconds * self._parts.voice.sample_rate_hz / encoder.time_scale)
        frames = await self._encode(np.zeros(n_samples, dtype=np.float32))
        return frames + await self._run(encoder, encoder.drain)

    async def _end_file(self) -> list[bytes]:
        """The end of the audio file; of none, if nothing was spoken."""
        if self._encoder is None or self._tally.first_audio_s is None:
            return []
        return await self._run(self._encoder, self._encoder.finish)


def _since(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else end_s - start_s
