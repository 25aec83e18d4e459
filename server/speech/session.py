"""One task: streamed text in, events and encoded audio out.

    feed / flush / finish ──▶ utterances ──▶ pool streams ──▶ audio track ──▶ events()

The session opens the synthesis of the next sentence while the current one is being sent, tells the
pool when its listener will run dry, and keeps order. It is used from one event loop; everything
but `events` is synchronous. All protocols speak only this.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from models.base import SynthesisRequest
from server import limits
from server.errors import SpeechError
from server.pool.pool import Clone, PoolStream
from server.speech.audio_track import AudioTrack
from server.speech.playback import PlaybackClock
from server.speech.subtitles import SentenceTrack
from server.speech.tally import Tally
from server.speech.types import (
    AudioProduced,
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
_READS_AT_ONCE = 8


class OpenStream(Protocol):
    """`WorkerPool.open`: what a session needs of the pool."""

    def __call__(
        self,
        model: str,
        request: SynthesisRequest,
        text: str,
        *,
        deadline_s: float,
        clone: Clone | None = None,
    ) -> PoolStream:
        """Queue a synthesis."""


class SessionObserver(Protocol):
    """What a session reports besides its summary."""

    def chunk_sent(self, gap_s: float) -> None:
        """An audio chunk let itself be waited for so long."""


def _charge_nobody(_characters: int) -> None:
    """Text is free."""


@dataclass(slots=True)
class _Sentence:
    utterance: Utterance
    ready_s: float
    stream: PoolStream | None = None


@dataclass(slots=True, kw_only=True)
class SessionParts:
    """What `SpeechService` puts a session together from."""

    voice: VoiceEntry
    options: SpeechOptions
    reader: UtteranceReader
    audio: AudioTrack
    open_stream: OpenStream
    observer: SessionObserver
    linger_s: float
    """A pause in the text after which what is there is spoken."""
    release: Callable[[], None]
    """Gives the task's place to the next; may be called more than once."""
    on_close: Callable[[SpeechSession], None]
    charge: Callable[[int], None] = _charge_nobody
    """Takes so many characters to somebody's account, or raises SpeechError."""
    keep_text: bool = False
    """Remember the text, for the log."""
    clock: Callable[[], float] = time.monotonic


class SpeechSession:
    """A task under way. Iterate `events` once, from one task; `close` in any case."""

    def __init__(self, parts: SessionParts) -> None:
        self._parts = parts
        self._clock = parts.clock
        self._audio = parts.audio
        self._waiting: deque[_Sentence] = deque()
        self._current: _Sentence | None = None
        self._wakeup = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None
        self._text_ended = False
        self._cancelled = False
        self._closed = False
        self._completed = False
        self._tally = Tally()
        self._playback = PlaybackClock()
        self.voice_name = parts.voice.name
        self.text = ""
        """What was fed, only if it is to be remembered."""
        self.failure: SpeechError | None = None
        """Why the task failed, if it did."""
        self.idle_since_s: float | None = self._clock()
        """Since when there is nothing to speak, by the monotonic clock; None while there is."""

    # --- Text in -----------------------------------------------------------------------------

    def feed(self, text: str) -> None:
        """Take a piece of text of any size.

        Raises:
            SpeechError: the account that it is charged to does not allow it.
        """
        if self._text_ended or self._cancelled or not text:
            return
        self._parts.charge(len(text))
        self._tally.text_came(text, self._clock())
        if self._parts.keep_text:
            self.text += text
        self._parts.reader.feed(text)
        self._fill()
        self._restart_linger()

    def flush(self) -> None:
        """Speak all text that is there; more may come."""
        self._stop_linger()
        if not self._text_ended and not self._cancelled:
            self._parts.reader.pause()
            self._fill()

    def finish(self) -> None:
        """No more text comes."""
        self._stop_linger()
        if not self._text_ended and not self._cancelled:
            self._text_ended = True
            self._parts.reader.finish()
            self._fill()
            self._wakeup.set()

    def cancel(self) -> None:
        """Stop: models stop within one chunk, `events` ends with what has left so far."""
        self._cancelled = True
        self._stop_linger()
        self._parts.release()
        for sentence in self._due():
            if sentence.stream is not None:
                sentence.stream.cancel()
        self._waiting.clear()
        self._wakeup.set()

    def fail(self, error: SpeechError) -> None:
        """Stop because of an error of the protocol or the connection."""
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
        return "completed" if self._completed else "cancelled"

    def summary(self) -> SessionSummary:
        """What the task came to so far."""
        return self._tally.summary(self._audio.position_s, self._playback.underruns)

    # --- Events out --------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[SessionEvent]:
        """All events in order; `SessionFinished` is the last.

        Raises:
            SpeechError: the task failed; nothing more comes.
        """
        try:
            while (sentence := await self._next_sentence()) is not None:
                async for event in self._speak(sentence):
                    yield event
            if not self._cancelled:
                for data in await self._audio.end():
                    yield self._produced(data)
        except SpeechError as error:
            self.fail(error)
            raise
        if self.failure is not None:
            raise self.failure
        self._completed = not self._cancelled
        yield SessionFinished(self.summary())

    async def _next_sentence(self) -> _Sentence | None:
        self._current = None
        self._fill()
        while not self._cancelled:
            if self._waiting:
                self._current = self._waiting.popleft()
                self._fill()
                return self._current
            if not self._parts.reader.unread:
                if self._text_ended:
                    return None
                self.idle_since_s = self._clock()
            self._wakeup.clear()
            await self._wakeup.wait()
        return None

    async def _speak(self, sentence: _Sentence) -> AsyncIterator[SessionEvent]:
        utterance = sentence.utterance
        if utterance.announced:
            self._tally.sentences += 1
            yield SentenceStarted(self._tally.sentences, utterance.text)
        await self._audio.shape(utterance.prosody)
        track = SentenceTrack(utterance, begin_s=self._audio.position_s)
        if sentence.stream is not None:
            async for event in self._speak_stream(sentence, sentence.stream, track):
                yield event
        for data in await self._end_audio(utterance.pause_s):
            yield self._produced(data)
        if utterance.announced and not self._cancelled:
            subtitle = track.complete() if self._parts.options.subtitles else None
            yield SentenceFinished(self._tally.sentences, subtitle)

    async def _speak_stream(
        self, sentence: _Sentence, stream: PoolStream, track: SentenceTrack
    ) -> AsyncIterator[SessionEvent]:
        asked_s = self._clock()
        async for chunk in stream:
            begin_s = self._audio.position_s
            frames = await self._audio.encode(chunk.samples)
            self._note_chunk(self._audio.position_s - begin_s, asked_s, sentence.ready_s)
            for data in frames:
                yield self._produced(data)
            if self._parts.options.subtitles and chunk.words:
                track.add_words(chunk.words, self._audio.time_scale)
                snapshot = track.snapshot(self._audio.position_s)
                yield SubtitleProduced(self._tally.sentences, snapshot)
            asked_s = self._clock()
        track.end(self._audio.position_s)
        self._tally.stream_ended(stream)

    async def _end_audio(self, pause_s: float) -> list[bytes]:
        """What can leave at the end of a sentence; the file's last bytes belong to the last."""
        if self._cancelled:
            return []
        frames = await self._audio.silence(pause_s) if pause_s > 0 else []
        if self._text_ended and not self._waiting:
            return frames + await self._audio.end()
        return frames + await self._audio.drain()

    def _produced(self, data: bytes) -> AudioProduced:
        self._tally.audio_left(data, self._clock)
        return AudioProduced(data)

    def _note_chunk(self, audio_s: float, asked_s: float, text_ready_s: float) -> None:
        now_s = self._clock()
        if self._tally.first_audio_s is not None:
            self._parts.observer.chunk_sent(now_s - asked_s)
        self._playback.sent(audio_s, now_s=now_s, asked_s=asked_s, text_ready_s=text_ready_s)

    # --- Utterances to pool streams ----------------------------------------------------------

    def _fill(self) -> None:
        """Read as far ahead as may be synthesised now, and let the pool have it."""
        try:
            if not self._cancelled:
                self._read_ahead()
                self._open_due()
        except SpeechError as error:
            # Text may be read by a timer, where nobody could be told: `events` raises it.
            self.fail(error)
        if self._waiting or (self._text_ended and not self._parts.reader.unread):
            self._wakeup.set()

    def _read_ahead(self) -> None:
        reader = self._parts.reader
        for _ in range(_READS_AT_ONCE):
            if len(self._due()) > limits.SESSION_LOOKAHEAD_SEGMENTS:
                return
            utterance = reader.read()
            if utterance is not None:
                self._waiting.append(_Sentence(utterance, self._clock()))
                self.idle_since_s = None
                if utterance.spoken:
                    self._tally.text_ready(self._clock())
            elif not reader.unread:
                return
        # Much text without anything to speak: others have their turn on the loop.
        asyncio.get_running_loop().call_soon(self._fill)

    def _due(self) -> list[_Sentence]:
        """The sentences that may be synthesised now, the current one first."""
        current = [] if self._current is None else [self._current]
        count = 1 + limits.SESSION_LOOKAHEAD_SEGMENTS - len(current)
        return current + list(itertools.islice(self._waiting, count))

    def _open_due(self) -> None:
        deadline_s = self._playback.dry_s
        for sentence in self._due():
            spoken = sentence.utterance.spoken
            due_s = sentence.ready_s + FIRST_AUDIO_TARGET_S if deadline_s is None else deadline_s
            if sentence.stream is not None:
                sentence.stream.reprioritize(due_s)
            elif spoken:
                sentence.stream = self._parts.open_stream(
                    self._parts.voice.model,
                    self._request(sentence.utterance),
                    spoken,
                    deadline_s=due_s,
                    clone=self._parts.voice.clone,
                )
            deadline_s = due_s + len(spoken) * _SPEECH_S_PER_CHARACTER

    def _request(self, utterance: Utterance) -> SynthesisRequest:
        options = self._parts.options
        return SynthesisRequest(
            voice=self._parts.voice.voice.name,
            instruction=utterance.instruction or options.instruction,
            seed=options.seed,
        )

    # --- Linger ------------------------------------------------------------------------------

    def _restart_linger(self) -> None:
        self._stop_linger()
        if self._parts.reader.waits_for_pause:
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(self._parts.linger_s, self.flush)

    def _stop_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
