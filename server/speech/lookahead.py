"""The sentences of one task that are being spoken or will be next, and their synthesis.

Text is read no further than may be synthesised now. Whole sentences go to the pool as they are;
where the model can and the mode says so, a sentence goes there while it is still being written.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from server import limits
from server.pool.pool import PoolStream
from server.settings import TextStreamMode
from server.speech.playback import PlaybackClock
from server.speech.speaker import Speaker
from server.speech.tally import Tally
from server.speech.utterance import Utterance
from server.speech.utterances import UtteranceReader

FIRST_AUDIO_TARGET_S = 0.1
"""When a listener who hears nothing yet counts as run dry, after the text was there."""
SOON_DRY_S = 1.0
"""With less to hear than this, a listener is not made to wait for the end of a sentence: about what
a model needs to begin with a sentence."""
_SPEECH_S_PER_CHARACTER = 0.15
_READS_AT_ONCE = 8


@dataclass(slots=True)
class Sentence:
    """A sentence on its way from text to audio."""

    utterance: Utterance
    """What is known of it."""
    begun_s: float
    """Since when there is something to speak."""
    written_s: float = math.inf
    """Since when all of it is there."""
    stream: PoolStream | None = None

    @property
    def is_written(self) -> bool:
        """All of its text is there."""
        return self.written_s < math.inf

    def write(self, utterance: Utterance, written_s: float = math.inf) -> None:
        """Take more of its text; all of it, if the time is given at which that was there."""
        added = utterance.spoken[len(self.utterance.spoken) :]
        self.utterance, self.written_s = utterance, written_s
        if self.stream is not None:
            self.stream.append_text(added, last=self.is_written)


class Lookahead:
    """Reads text, queues sentences and opens their synthesis.

    Args:
        reader: of the task's text.
        speaker: the task's voice.
        playback: knows when the listener runs dry.
        tally: is told when there is something to speak.
        mode: whether sentences go to the model while they are being written. Only `never` fits a
            model without `Capabilities.text_stream`.
        clock: monotonic seconds, as the pool's.
    """

    def __init__(
        self,
        reader: UtteranceReader,
        speaker: Speaker,
        *,
        playback: PlaybackClock,
        tally: Tally,
        mode: TextStreamMode,
        clock: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._speaker = speaker
        self._playback = playback
        self._tally = tally
        self._mode: TextStreamMode = mode
        self._clock = clock
        self._waiting: deque[Sentence] = deque()
        self._current: Sentence | None = None
        self._growing: Sentence | None = None
        """The one that is being written, if its synthesis has begun."""

    @property
    def waiting(self) -> bool:
        """There is a sentence to go on with."""
        return bool(self._waiting)

    @property
    def exhausted(self) -> bool:
        """Of the text that came, there is nothing left to begin with."""
        return not self._waiting and not self._reader.unread

    def fill(self) -> bool:
        """Read as far ahead as may be synthesised now, and let the pool have it.

        Returns:
            Whether that is done. Much text that says nothing is read in several turns, so that
            others have theirs on the event loop.

        Raises:
            SpeechError: the text is wrong, or the pool takes no more.
        """
        done = self._read()
        self._open_due()
        return done

    def next(self) -> Sentence | None:
        """Leave the current sentence behind; the next one, if there is any, becomes current."""
        self._current = self._waiting.popleft() if self._waiting else None
        return self._current

    def cancel(self) -> None:
        """Stop all syntheses and forget what waits."""
        for sentence in self._due():
            if sentence.stream is not None:
                sentence.stream.cancel()
        self._waiting.clear()

    def _due(self) -> list[Sentence]:
        """The sentences that may be synthesised now, the current one first."""
        current = [] if self._current is None else [self._current]
        count = 1 + limits.SESSION_LOOKAHEAD_SEGMENTS - len(current)
        return current + list(itertools.islice(self._waiting, count))

    # --- Reading -----------------------------------------------------------------------------

    def _read(self) -> bool:
        for _ in range(_READS_AT_ONCE):
            if self._growing is None and len(self._due()) > limits.SESSION_LOOKAHEAD_SEGMENTS:
                return True
            utterance = self._reader.read()
            if utterance is not None:
                self._take(utterance)
            elif not self._reader.unread:
                if self._mode != "never":
                    self._grow()
                return True
        return False

    def _take(self, utterance: Utterance) -> None:
        now_s = self._clock()
        if self._growing is not None:
            self._growing.write(utterance, now_s)
            self._growing = None
        else:
            self._waiting.append(Sentence(utterance, now_s, now_s))
        if utterance.spoken:
            self._tally.text_ready(now_s)

    def _grow(self) -> None:
        """Let the sentence that is being written be spoken as far as it is certain."""
        if self._growing is None and not self._may_begin():
            return
        beginning = self._reader.grow()
        if beginning is None:
            return
        if self._growing is None:
            self._growing = Sentence(beginning, self._clock())
            self._waiting.append(self._growing)
        else:
            self._growing.write(beginning)

    def _may_begin(self) -> bool:
        """Whether a sentence is to be spoken before all of it has been written."""
        if self._mode == "always":
            return True
        if self._waiting or not self._is_computed(self._current):
            return False
        dry_s = self._playback.dry_s
        return dry_s is None or dry_s - self._clock() < SOON_DRY_S

    @staticmethod
    def _is_computed(sentence: Sentence | None) -> bool:
        return sentence is None or sentence.stream is None or sentence.stream.ended

    # --- Opening -----------------------------------------------------------------------------

    def _open_due(self) -> None:
        deadline_s = self._playback.dry_s
        for sentence in self._due():
            due_s = sentence.begun_s + FIRST_AUDIO_TARGET_S if deadline_s is None else deadline_s
            if sentence.stream is not None:
                sentence.stream.reprioritize(due_s)
            elif sentence.utterance.spoken:
                sentence.stream = self._open(sentence, due_s)
            deadline_s = due_s + len(sentence.utterance.spoken) * _SPEECH_S_PER_CHARACTER

    def _open(self, sentence: Sentence, due_s: float) -> PoolStream:
        in_pieces = self._mode == "always" or not sentence.is_written
        stream = self._speaker.speak(sentence.utterance, deadline_s=due_s, in_pieces=in_pieces)
        if in_pieces and sentence.is_written:
            stream.append_text("", last=True)
        return stream
