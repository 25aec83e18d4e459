"""One task: streamed text in, events and encoded audio out.

    feed / flush / finish ──▶ utterances ──▶ pool streams ──▶ audio track ──▶ events()

The next sentence is synthesised while the current one is being sent (`lookahead`); the session
keeps order, and tells the pool when its listener will run dry. It is used from one event loop;
everything but `events` is synchronous. All protocols speak only this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from server.errors import ErrorCode, SpeechError
from server.pool.pool import PoolStream
from server.settings import TextStreamMode
from server.speech.audio_track import AudioTrack
from server.speech.lookahead import Lookahead, Sentence
from server.speech.playback import PlaybackClock
from server.speech.speaker import Speaker
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
from server.speech.utterances import UtteranceReader


class SessionObserver(Protocol):
    """What a session reports besides its summary."""

    def chunk_sent(self, gap_s: float) -> None:
        """An audio chunk let itself be waited for so long."""


def _charge_nobody(_characters: int) -> None:
    """Text is free."""


@dataclass(slots=True, kw_only=True)
class SessionParts:
    """What `SpeechService` puts a session together from."""

    voice_name: str
    options: SpeechOptions
    reader: UtteranceReader
    audio: AudioTrack
    speaker: Speaker
    observer: SessionObserver
    linger_s: float
    """A pause in the text after which what is there is spoken."""
    text_stream: TextStreamMode = "never"
    """Whether text goes into the model while it is being written; the model must be able to."""
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
        self._wakeup = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None
        self._text_ended = False
        self._cancelled = False
        self._closed = False
        self._completed = False
        self._tally = Tally()
        self._playback = PlaybackClock()
        self._ahead = Lookahead(
            parts.reader,
            parts.speaker,
            playback=self._playback,
            tally=self._tally,
            mode=parts.text_stream,
            clock=parts.clock,
        )
        self.voice_name = parts.voice_name
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
        self._ahead.cancel()
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

    async def _next_sentence(self) -> Sentence | None:
        while not self._cancelled:
            sentence = self._ahead.next()
            self._fill()
            if sentence is not None:
                return sentence
            if self._ahead.waiting:
                continue
            if self._ahead.exhausted:
                if self._text_ended:
                    return None
                self.idle_since_s = self._clock()
            self._wakeup.clear()
            await self._wakeup.wait()
        return None

    async def _speak(self, sentence: Sentence) -> AsyncIterator[SessionEvent]:
        beginning = sentence.utterance
        if beginning.announced:
            self._tally.sentences += 1
            yield SentenceStarted(self._tally.sentences, beginning.text)
        await self._audio.shape(beginning.prosody)
        track = SentenceTrack(beginning, begin_s=self._audio.position_s)
        if sentence.stream is not None:
            async for event in self._speak_stream(sentence, sentence.stream, track):
                yield event
        for data in await self._end_audio(sentence.utterance.pause_s):
            yield self._produced(data)
        if sentence.utterance.announced and not self._cancelled:
            subtitle = track.complete() if self._parts.options.subtitles else None
            yield SentenceFinished(self._tally.sentences, subtitle)

    async def _speak_stream(
        self, sentence: Sentence, stream: PoolStream, track: SentenceTrack
    ) -> AsyncIterator[SessionEvent]:
        asked_s = self._clock()
        async for chunk in stream:
            begin_s = self._audio.position_s
            frames = await self._audio.encode(chunk.samples)
            self._note_chunk(self._audio.position_s - begin_s, asked_s, sentence.written_s)
            for data in frames:
                yield self._produced(data)
            if self._parts.options.subtitles and chunk.words:
                track.follow(sentence.utterance)
                track.add_words(chunk.words, self._audio.time_scale)
                snapshot = track.snapshot(self._audio.position_s)
                yield SubtitleProduced(self._tally.sentences, snapshot)
            asked_s = self._clock()
        if not sentence.is_written and not self._cancelled:
            raise SpeechError(ErrorCode.MODEL_FAILED, "the model stopped before its text did")
        track.follow(sentence.utterance)
        track.end(self._audio.position_s)
        self._tally.stream_ended(stream)

    async def _end_audio(self, pause_s: float) -> list[bytes]:
        """What can leave at the end of a sentence; the file's last bytes belong to the last."""
        if self._cancelled:
            return []
        frames = await self._audio.silence(pause_s) if pause_s > 0 else []
        if self._text_ended and self._ahead.exhausted:
            return frames + await self._audio.end()
        return frames + await self._audio.drain()

    def _produced(self, data: bytes) -> AudioProduced:
        self._tally.audio_left(data, self._clock)
        return AudioProduced(data)

    def _note_chunk(self, audio_s: float, asked_s: float, written_s: float) -> None:
        now_s = self._clock()
        if self._tally.first_audio_s is not None and written_s <= asked_s:
            self._parts.observer.chunk_sent(now_s - asked_s)
        self._playback.sent(audio_s, now_s=now_s, asked_s=asked_s, text_ready_s=written_s)

    # --- Utterances to pool streams ----------------------------------------------------------

    def _fill(self) -> None:
        """Read as far ahead as may be synthesised now, and let the pool have it."""
        try:
            if not self._cancelled and not self._ahead.fill():
                asyncio.get_running_loop().call_soon(self._fill)
        except SpeechError as error:
            # Text may be read by a timer, where nobody could be told: `events` raises it.
            self.fail(error)
        if self._ahead.waiting:
            self.idle_since_s = None
        if self._ahead.waiting or (self._text_ended and self._ahead.exhausted):
            self._wakeup.set()

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
