"""From the library's blocks to a model's chunks: float samples, word times, quiet trimmed.

Each utterance loses the quiet before it, and gets a pause after it as long as it deserves, so that
utterances can be put end to end.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.base import PcmChunk, Samples, WordTime
from models.espeak_library import WordEvent
from models.espeak_process import Int16Samples

CHUNK_S = 0.2
"""Audio in a chunk after the first, at least; the first is as short as the library allows."""
LEAD_S = 0.01
"""Quiet kept before an utterance."""
JOIN_S = 0.02
"""Quiet kept between two utterances of one sentence."""
MIN_PAUSE_S = 0.1
MAX_PAUSE_S = 0.25
"""Quiet kept after a clause or sentence, within these bounds."""
FADE_S = 0.003
_QUIET = 60
"""Amplitude, of 32768, that is not heard beside speech: -55 dB."""
_FULL_SCALE = np.float32(1 / 32768)


@dataclass(slots=True)
class _OpenWord:
    """A word that is being heard."""

    text_begin: int
    """In the stream's text."""
    spoken_end: int
    """In the utterance's."""
    begin_sample: int


class SpeechAssembler:
    """Makes one continuous stream of chunks of the utterances of one text.

    Positions count samples: local ones from the utterance's first sample, as the library counts;
    all others from the first sample of the stream.

    Args:
        sample_rate_hz: of all blocks.
        text: what word times refer to.
    """

    def __init__(self, sample_rate_hz: int, text: str) -> None:
        self._rate_hz = sample_rate_hz
        self._text = text
        self._appended = 0
        self._pending: list[Samples] = []
        self._pending_samples = 0
        self._words: list[WordTime] = []
        self._text_end = 0  # of the last word, in the stream's text
        self.has_spoken = False
        self.begin("", ())

    def begin(self, spoken: str, indices: tuple[int, ...]) -> None:
        """Begin an utterance.

        Args:
            spoken: its text, as the library gets it.
            indices: for each character of it, the index in the stream's text of what it stands for.
        """
        self._spoken = spoken
        self._indices = indices
        self._local = 0  # of the next block
        self._cut = 0  # the first local position that is kept
        self._shift = 0  # from local positions to those in the stream
        self._quiet = np.zeros(0, np.int16)  # since the last sound, or before the first
        self._sound_end: int | None = None  # local; None before the first sound
        self._word: _OpenWord | None = None

    def take(self, block: Int16Samples, events: list[WordEvent]) -> Iterator[PcmChunk]:
        """Add what the library gave; yields a chunk when there is enough for one."""
        heard = np.concatenate((self._quiet, block))
        sounds = np.flatnonzero((block > _QUIET) | (block < -_QUIET)) + self._local
        begins = self._sound_end is None and sounds.size > 0
        if begins:
            heard_begin = self._local - self._quiet.size
            self._cut = max(int(sounds[0]) - int(LEAD_S * self._rate_hz), heard_begin)
            self._shift = self._appended - self._cut
            heard = heard[self._cut - heard_begin :]
        for event in events:
            n_before = int(np.searchsorted(sounds, event.sample))
            self._take_word(event, int(sounds[n_before - 1]) + 1 if n_before else self._sound_end)
        self._local += block.size
        self._quiet = heard
        if sounds.size:
            self._sound_end = int(sounds[-1]) + 1
            n_sound = heard.size - (self._local - self._sound_end)
            self._quiet = heard[n_sound:]
            self._append(heard[:n_sound], fade_in=begins)
        if self._pending_samples >= (CHUNK_S * self._rate_hz if self.has_spoken else 1):
            yield self._chunk()

    def end(self, *, pause: bool, followed: bool) -> Iterator[PcmChunk]:
        """End the utterance with the quiet that belongs after it.

        Args:
            pause: a clause or a sentence ends here.
            followed: another utterance of the same text follows.
        """
        if self._sound_end is None:
            return
        self._end_word(self._local, self._sound_end, len(self._indices))
        least, most = (MIN_PAUSE_S, MAX_PAUSE_S) if pause or not followed else (JOIN_S, JOIN_S)
        tail = self._quiet[: int(most * self._rate_hz)]
        self._append(tail, fade_out=True)
        missing = int(least * self._rate_hz) - tail.size
        self._append(np.zeros(max(missing, 0), np.int16))
        yield self._chunk()

    def _append(
        self, block: Int16Samples, *, fade_in: bool = False, fade_out: bool = False
    ) -> None:
        samples = np.multiply(block, _FULL_SCALE, dtype=np.float32)
        n_fade = min(samples.size, int(FADE_S * self._rate_hz))
        if fade_in:
            samples[:n_fade] *= np.linspace(0, 1, n_fade, dtype=np.float32)
        if fade_out:
            samples[samples.size - n_fade :] *= np.linspace(1, 0, n_fade, dtype=np.float32)
        self._pending.append(samples)
        self._pending_samples += samples.size
        self._appended += samples.size

    def _chunk(self) -> PcmChunk:
        """Hand out what is pending, and the words that have ended."""
        chunk = PcmChunk(np.concatenate(self._pending), tuple(self._words))
        self._pending.clear()
        self._pending_samples = 0
        self._words.clear()
        self.has_spoken = True
        return chunk

    def _take_word(self, event: WordEvent, sound_end: int | None) -> None:
        """Begin a word, which ends the one before it.

        The library reports some words (numbers above all) in parts with overlapping places: a part
        that adds no text belongs to the word before it.
        """
        begin = event.text_index
        end = min(begin + event.length, len(self._indices))
        while begin < end and not (
            self._is_of_word(begin) and self._indices[begin] >= self._text_end
        ):
            begin += 1
        while end > begin and not self._is_of_word(end - 1):
            end -= 1
        if begin >= end:
            return
        self._end_word(event.sample, sound_end, begin)
        self._word = _OpenWord(self._indices[begin], end, event.sample)
        self._text_end = self._indices[end - 1] + 1

    def _is_of_word(self, i: int) -> bool:
        return not self._spoken[i].isspace() and self._text[self._indices[i]].isalnum()

    def _end_word(self, end_sample: int, sound_end: int | None, next_begin: int) -> None:
        """End a word where the next begins, without the quiet between them."""
        word, self._word = self._word, None
        if word is None or sound_end is None:
            return
        begin_sample = max(word.begin_sample, self._cut)
        end_sample = min(end_sample, sound_end)
        if end_sample > begin_sample:
            self._words.append(
                WordTime(
                    word.text_begin,
                    self._end_in_text(word.spoken_end, next_begin),
                    (begin_sample + self._shift) / self._rate_hz,
                    (end_sample + self._shift) / self._rate_hz,
                )
            )

    def _end_in_text(self, end: int, next_begin: int) -> int:
        """Where a word ends in the text, by where the library says it ends in the spoken one.

        The library leaves out the rest of some words (after an apostrophe, a thousands comma, the
        dots of an abbreviation), and never saw the accents that were composed with a letter.
        """
        limit = self._indices[next_begin] if next_begin < len(self._indices) else len(self._text)
        for i in range(end, next_begin):
            if self._spoken[i].isspace() or self._indices[i] >= limit:
                break
            if self._is_of_word(i):
                end = i + 1
        text_end = self._indices[end - 1] + 1
        while text_end < limit and unicodedata.combining(self._text[text_end]):
            text_end += 1
        return text_end
