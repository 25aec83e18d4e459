"""What a speech session is asked for and what it tells: the vocabulary of all protocols.

Text indices count Python characters (Unicode code points) of the task's text, that is, of all
pieces joined. Times are seconds in the task's audio, as it is played back by the client.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class AudioFormat(StrEnum):
    """Container and codec of the bytes that a session yields."""

    PCM = "pcm"
    """Signed 16 bit little endian, mono, no header."""
    WAV = "wav"
    MP3 = "mp3"
    OPUS = "opus"
    """Opus in Ogg."""
    AAC = "aac"
    """AAC in ADTS."""
    FLAC = "flac"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prosody:
    """How the model's speech is changed; every vendor's scale is mapped to these three numbers."""

    speed: float = 1.0
    """Factor on the tempo: 2.0 halves the duration. 0.25 to 4."""
    pitch: float = 1.0
    """Factor on the fundamental frequency. 0.25 to 4."""
    gain: float = 1.0
    """Factor on the amplitude, before limiting. 0 to 10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechOptions:
    """One task's settings, validated by the protocol module that made them."""

    voice: str
    """A voice's name or an alias, as the client wrote it."""
    audio_format: AudioFormat = AudioFormat.PCM
    sample_rate_hz: int | None = None
    """None: the model's own rate."""
    prosody: Prosody = field(default_factory=Prosody)
    bit_rate: int | None = None
    """Bits per second, for formats that have one."""
    subtitles: bool = False
    ssml: bool = False
    """The text may be SSML; plain text stays plain text."""
    clean_markup: bool = True
    """Leave out markdown, emoji, code and links of LLM output."""
    expand_text: bool = True
    """Put numbers, symbols, dates and units into words."""
    instruction: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WordSubtitle:
    """A word (a character in Chinese) with its place in the text and in the audio."""

    text: str
    text_begin: int
    text_end: int
    begin_s: float
    end_s: float
    estimated: bool
    """The model gave no word times; these were divided up by length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceSubtitle:
    """A sentence with its place in the text and in the audio, and its words."""

    text: str
    text_begin: int
    text_end: int
    begin_s: float
    end_s: float
    words: tuple[WordSubtitle, ...] = ()


@dataclass(frozen=True, slots=True)
class SentenceStarted:
    """A sentence is about to be heard; its audio follows."""

    index: int
    """1, 2, 3 ... within the task."""
    text: str
    """As much of it as is certain: not all, while it is still being written."""


@dataclass(frozen=True, slots=True)
class AudioProduced:
    """Bytes of the task's one audio file, 1 to 65536 of them."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SubtitleProduced:
    """What is known so far of the sentence that is being sent."""

    index: int
    subtitle: SentenceSubtitle


@dataclass(frozen=True, slots=True)
class SentenceFinished:
    """The sentence's audio has left; `subtitle` is None unless subtitles were asked for."""

    index: int
    subtitle: SentenceSubtitle | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """What a finished, failed or cancelled task came to; for the log line, metrics and clients."""

    sentences: int
    characters: int
    """Characters of text taken, as they are."""
    audio_s: float
    audio_bytes: int
    first_audio_s: float | None
    """From the first text to the first audio bytes, None if nothing was spoken."""
    text_wait_s: float
    """The part of it that passed until the text held something to speak: a whole sentence or
    clause, or else what was spoken before its end had been written."""
    model_first_chunk_s: float | None
    """The part of it that the model needed for its first chunk."""
    queue_wait_s: float
    """Time that the task's segments waited for a worker."""
    synthesis_s: float
    """Wall time in which a worker computed for this task."""
    underruns: int
    """How often a player without any buffer would have run dry."""

    @property
    def added_latency_s(self) -> float | None:
        """What the server itself added to the first audio: not the text, not the model."""
        if self.first_audio_s is None or self.model_first_chunk_s is None:
            return None
        return max(0.0, self.first_audio_s - self.text_wait_s - self.model_first_chunk_s)


@dataclass(frozen=True, slots=True)
class SessionFinished:
    """Nothing comes after this."""

    summary: SessionSummary


SessionEvent = (
    SentenceStarted | AudioProduced | SubtitleProduced | SentenceFinished | SessionFinished
)
