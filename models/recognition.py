"""The interface that every speech recogniser implements, and what passes through it.

The mirror image of `models.base`: audio goes in piece by piece, text comes out while it does. A
recogniser lives in a worker process of the same pool, and each of its streams stays on one thread.
Nothing here knows a protocol or a container format, and nothing outside msgspec and numpy is
imported, because a worker may run under another Python interpreter than the front.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import msgspec

from models.base import ModelError, Samples

__all__ = [
    "ModelError",
    "RecognitionRequest",
    "RecognizerCapabilities",
    "Samples",
    "SpeechRecognizer",
    "Transcript",
]


class RecognitionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to listen for; the audio itself travels beside it, because it is a stream."""

    language: str = ""
    """BCP 47 tag of what is spoken; empty lets the recogniser choose, if it can."""
    punctuation: bool = True
    """Marks and capitals, in recognisers with `RecognizerCapabilities.punctuation`."""


class Transcript(msgspec.Struct, frozen=True, array_like=True):
    """All that has been understood of a stream so far."""

    text: str
    """From the stream's beginning."""
    stable_characters: int
    """So many characters at the beginning of `text` will not change any more."""
    audio_s: float
    """Seconds of audio that have been listened to."""


class RecognizerCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a loaded recogniser can do. A worker reports it to the pool when it is ready."""

    slots: int = 1
    """Streams that it computes at once."""
    parked: int = 16
    """Streams that may wait for audio besides those in slots: they hold memory but no slot."""
    languages: tuple[str, ...] = ()
    """BCP 47 tags that `RecognitionRequest.language` may name; `en` covers `en-GB`
    too. The first one is taken for an empty `language`, unless `detects_language`."""
    detects_language: bool = False
    punctuation: bool = False
    dictation: bool = False
    """Understands free speech so well that its text may stand unread, as a recording's transcript
    does."""


class SpeechRecognizer(ABC):
    """A loaded recogniser.

    The constructor loads it (and may take minutes); a worker calls it once, then `warm_up`, then
    reports ready. `recognize` is called from up to `slots + parked` threads; up to `slots` of them
    compute at once, the others wait for audio.
    """

    name: str
    sample_rate_hz: int
    """Of the audio that it is given."""
    capabilities: RecognizerCapabilities

    @abstractmethod
    def recognize(
        self, request: RecognitionRequest, audio: Iterator[Samples]
    ) -> Iterator[Transcript]:
        """Listen to `audio`, pieces of any length at `sample_rate_hz`, until it ends.

        Yields a transcript whenever there is something new to tell, and one at the end, all of
        which is stable; its text may be empty. The caller may close the iterator at any transcript.
        While it waits for a piece, on the thread that called for the transcript, the stream holds
        no slot.

        Raises:
            ModelError: `unsupported` for a language that it does not know, or recognition failed.
        """

    def warm_up(self) -> None:  # noqa: B027 - recognisers may have nothing to do
        """Do what would make the first request slower than the second."""

    def close(self) -> None:  # noqa: B027 - recognisers may have nothing to do
        """Free what it holds. It is not used afterwards."""
