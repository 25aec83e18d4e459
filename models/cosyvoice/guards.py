"""Tells speech that went wrong while it is being made: endless, stuck, silent or no numbers.

A language model that misses the end of its text babbles on, stutters or falls silent until
upstream cuts it off, which it does without a word (at 20 speech tokens per text token; never, where
the text is streamed: defects 6 and 10, issue #995). The guards raise instead, so that a segment of
which nothing has been heard can be tried with another seed. Their thresholds lie well beyond
anything that people say: a segment that is spoken oddly passes, one that nobody would want to hear
to its end does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from models.base import Samples

BadSegmentReason: TypeAlias = Literal["nan", "too_long", "repeated_token", "token_cycle", "silence"]

_SPARE_S = 3.0
"""For breath, laughter and pauses around a short text; "好" may take a second with them."""
_MOST_S_PER_TEXT_TOKEN = 0.8
"""Upstream's 20 speech tokens at 25 Hz. A text token is a Han character or two, or a short word,
and takes 0.2 to 0.4 s."""
_MOST_S_PER_LETTER = 0.4
"""Four times that of letters that are spelt out."""
_MOST_S_PER_SYLLABLE = 1.2
"""Four times that of slow Mandarin; kanji may take several syllables, so may digits."""
_FIRST_SYLLABLE_SCRIPT = "\u0800"
"""From here on, scripts write about a syllable per character (Brahmic, Thai, Han, kana, Hangul)."""

_LONGEST_REPEAT_S = 2.0
"""A held vowel or a pause may repeat a token for half a second. Sampling draws again what occurred
in the last ten tokens, so even silence is varied."""
_LONGEST_CYCLE_S = 2.5
"""Laughter ("哈哈哈哈") repeats syllables, not tokens, and not exactly."""
_CYCLE_PERIODS = range(2, 9)
"""Up to a third of a second at 25 Hz, the length of a stuttered syllable."""
_LONGEST_SILENCE_S = 3.0
"""Within a segment; a longer pause is not the model's to make."""
_LONGEST_TOKEN_SILENCE_S = 4.0
"""Of tokens that are known to be silent: later than the silence that is heard, as upstream leaves
out all but five of them in a row."""

_BLOCK_S = 0.02
_SILENT_POWER = 1e-6
"""-60 dBFS: vocoders' noise in a pause lies below it, breath above."""


class BadSegmentError(Exception):
    """What was made of a text cannot be used.

    Args:
        reason: for the metrics.
    """

    def __init__(self, reason: BadSegmentReason) -> None:
        super().__init__(reason)
        self.reason: BadSegmentReason = reason


class TokenGuard:
    """Watches one stream's speech tokens; a few comparisons each.

    Args:
        token_rate_hz: 25, or 50 in version 1.
        silent_tokens: ids that are silence or breath, where the version's are known. They may
            follow each other for longer, and do not count as what repeats.
    """

    def __init__(self, *, token_rate_hz: float, silent_tokens: Collection[int] = ()) -> None:
        self._rate_hz = token_rate_hz
        self._silent = frozenset(silent_tokens)
        self._text_tokens = 0
        self._characters_s = 0.0
        self._count = 0
        self._silent_run = 0
        self._recent: deque[int] = deque(maxlen=_CYCLE_PERIODS[-1])
        self._repeats = 0
        self._cycles = dict.fromkeys(_CYCLE_PERIODS, 0)

    @property
    def max_tokens(self) -> int:
        """As many speech tokens as the text so far may take."""
        text_s = min(self._text_tokens * _MOST_S_PER_TEXT_TOKEN, self._characters_s)
        return int((_SPARE_S + text_s) * self._rate_hz)

    def add_text(self, text: str, n_tokens: int) -> None:
        """Allow for (more) text.

        Args:
            text: as the model gets it, without prompts.
            n_tokens: ids that the version's tokenizer makes of it.
        """
        self._text_tokens += n_tokens
        self._characters_s += sum(_most_s(character) for character in text)

    def check(self, token: int) -> None:
        """Take the next speech token; control ids do not belong here.

        Raises:
            BadSegmentError: `too_long`, `repeated_token`, `token_cycle` or `silence`.
        """
        self._count += 1
        if self._count > self.max_tokens:
            raise BadSegmentError("too_long")
        if token in self._silent:
            self._silent_run += 1
            if self._lasts(self._silent_run, _LONGEST_TOKEN_SILENCE_S):
                raise BadSegmentError("silence")
            return
        self._silent_run = 0
        self._check_pattern(token)

    def _check_pattern(self, token: int) -> None:
        recent = self._recent
        self._repeats = self._repeats + 1 if recent and recent[-1] == token else 0
        if self._lasts(self._repeats, _LONGEST_REPEAT_S):
            raise BadSegmentError("repeated_token")
        for period in _CYCLE_PERIODS:
            if period <= len(recent) and recent[-period] == token:
                self._cycles[period] += 1
                if self._lasts(self._cycles[period], _LONGEST_CYCLE_S):
                    raise BadSegmentError("token_cycle")
            else:
                self._cycles[period] = 0
        recent.append(token)

    def _lasts(self, n_tokens: int, limit_s: float) -> bool:
        return n_tokens >= limit_s * self._rate_hz


class AudioGuard:
    """Watches one stream's samples.

    Args:
        sample_rate_hz: of the samples.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._block_samples = round(_BLOCK_S * sample_rate_hz)
        self._most_silent_blocks = round(_LONGEST_SILENCE_S / _BLOCK_S)
        self._rest: npt.NDArray[np.float32] = np.empty(0, np.float32)
        self._silent_blocks = 0

    def check(self, samples: Samples) -> None:
        """Take the next chunk, of any length.

        Raises:
            BadSegmentError: `nan` or `silence`; the chunk is not to be played.
        """
        if not np.isfinite(samples).all():
            raise BadSegmentError("nan")
        joined = np.concatenate((self._rest, samples))
        n_blocks = len(joined) // self._block_samples
        end = n_blocks * self._block_samples
        self._rest = joined[end:]
        blocks = joined[:end].reshape(n_blocks, self._block_samples)
        loud = np.flatnonzero(np.square(blocks).mean(axis=1) > _SILENT_POWER)
        # Silences lie between loud blocks, the first of which may have begun in an earlier chunk.
        edges = np.concatenate(([-1 - self._silent_blocks], loud, [n_blocks]))
        silences = np.diff(edges) - 1
        self._silent_blocks = int(silences[-1])
        if silences.max() > self._most_silent_blocks:
            raise BadSegmentError("silence")


def _most_s(character: str) -> float:
    if character.isdecimal() or (character >= _FIRST_SYLLABLE_SCRIPT and character.isalpha()):
        return _MOST_S_PER_SYLLABLE
    return _MOST_S_PER_LETTER
