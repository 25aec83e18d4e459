"""The interface that every speech model implements, and what passes through it.

A model lives in a worker process. It may serve several streams at once; `Capabilities.slots` says
how many compute at most and `SpeechModel.capacity` how many now, `Capabilities.parked` how many
more may stand still between two chunks. Each stream stays on one thread from the call of
`synthesize` to the end of its iterator, so a model may keep state of a stream in the thread;
threads are used again for later streams.

Nothing here knows a protocol, a socket or a container format, and nothing outside msgspec and numpy
is imported, because a worker may run under another Python interpreter than the front.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.float32]
"""Mono PCM, shape (n_samples,), values in [-1, 1]."""

ModelErrorCode = Literal["voice_unknown", "text_unspeakable", "unsupported", "failed"]


class ModelError(Exception):
    """A model refuses a request, or fails at it.

    Args:
        code: `voice_unknown`, `text_unspeakable` (nothing in the text can be spoken),
            `unsupported` (the model lacks the ability) or `failed` (anything else).
        message: may be shown to a client.
    """

    def __init__(self, code: ModelErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ModelErrorCode = code
        self.message = message


class Voice(msgspec.Struct, frozen=True, kw_only=True):
    """A voice that a model offers."""

    name: str
    """Unique within the model; what `SynthesisRequest.voice` names."""
    language: str
    """BCP 47 tag of the language that the voice was made for, for example `cmn` or `en-US`."""
    gender: Literal["female", "male", "neutral"] = "neutral"
    description: str = ""
    kind: Literal["preset", "clone"] = "preset"


class WordTime(msgspec.Struct, frozen=True, array_like=True):
    """When a word of the request's text is heard."""

    text_begin: int
    """Index of the word's first character in the text given to `synthesize`."""
    text_end: int
    """Index after its last character."""
    begin_s: float
    """Seconds from the first sample of this synthesis."""
    end_s: float


class SynthesisRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to say it with; the text itself travels beside it, because it may be a stream."""

    voice: str
    language: str = ""
    """BCP 47 tag of the text, empty for the voice's own language."""
    instruction: str = ""
    """How to say it, in words, for models with `Capabilities.instruction`."""
    seed: int | None = None
    """Makes sampling repeatable in models that sample."""
    tenant: str = ""
    """Whose it is, for models in which tenants take turns: equal for all requests of one, and
    otherwise without meaning."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a loaded model can do. A worker reports it to the pool when it is ready."""

    slots: int = 1
    """Streams that it computes at once, if `SpeechModel.capacity` does not say fewer. A stream that
    is computed but not yet delivered holds no slot."""
    parked: int = 16
    """Streams that may stand still half computed, for slow listeners or until more text comes,
    besides those in slots: they hold memory but no slot."""
    run_ahead_s: float = 3.0
    """Audio that a worker lets the model compute beyond what the front has taken, in seconds. Then
    the stream is parked until half of it has been taken."""
    text_stream: bool = False
    """`synthesize` accepts an iterator of text pieces and speaks before it has ended."""
    word_times: bool = False
    instruction: bool = False
    marks: tuple[str, ...] = ()
    """What may stand in a text besides words, as it stands there: `[laughter]`, `<strong>`,
    `</strong>`. Marks that a model does not name are cleaned away as markup is."""
    sampling: bool = False
    """Says a text differently each time unless `SynthesisRequest.seed` is given."""
    cloning: bool = False
    """`enroll` and `add_voice` work."""
    clone_format: str = ""
    """With `cloning`: names what `enroll` makes and `add_voice` takes, such as `cosyvoice2`. Models
    of one format may speak each other's clones."""


@dataclass(frozen=True, slots=True)
class PcmChunk:
    """A piece of speech: samples, and the words that end in it (or end up to it)."""

    samples: Samples
    words: tuple[WordTime, ...] = ()


class SpeechModel(ABC):
    """A loaded model.

    The constructor loads it (and may take minutes); a worker calls it once, then `warm_up`, then
    reports ready. `synthesize` is called from up to `slots + parked` threads; up to `slots` of them
    compute at once, the others stand still between two chunks or wait for text. A stream that is
    cancelled while it stands still is closed at once, that is, beside those that compute.
    """

    name: str
    sample_rate_hz: int
    capabilities: Capabilities

    @abstractmethod
    def voices(self) -> Sequence[Voice]:
        """All voices that the model can speak with now."""

    @abstractmethod
    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        """Speak `text`, chunk by chunk, at `sample_rate_hz`.

        The caller may close the iterator at any chunk; the model then stops computing within one
        chunk. An iterator of pieces is only given to a model with `Capabilities.text_stream`. While
        it waits for a piece on the thread that called for the chunk, the stream holds no slot; a
        model that reads the text in a thread of its own keeps its slot.

        Raises:
            ModelError: the voice is unknown, the text cannot be spoken, or synthesis failed.
        """

    def warm_up(self) -> None:  # noqa: B027 - models may have nothing to do
        """Do what would make the first request slower than the second."""

    def enroll(self, samples: Samples, sample_rate_hz: int, transcript: str) -> bytes:  # noqa: ARG002
        """Make a voice's features from a recording of shape (n_samples,), in models with
        `Capabilities.cloning`. They are kept by the front and come back by `add_voice`, here and in
        other workers. May be called beside streams, from a thread of its own.

        Raises:
            ModelError: `unsupported` here; `failed` if the recording is of no use.
        """  # noqa: D205
        raise ModelError("unsupported", f"model {self.name!r} does not clone voices")

    def add_voice(self, voice: Voice, features: bytes) -> None:  # noqa: ARG002
        """Take up a clone, made by `enroll` of a model with the same `Capabilities.clone_format`.
        A voice of that name is replaced. Called before the first request that names it, beside
        streams, from the thread that answers the heartbeat: quick.

        Raises:
            ModelError: `unsupported` here; `failed` if the features are damaged or another's.
        """  # noqa: D205
        raise ModelError("unsupported", f"model {self.name!r} does not clone voices")

    def remove_voice(self, name: str) -> None:  # noqa: B027
        """Forget a clone; streams that speak with it go on. An unknown name is ignored."""

    def take_incidents(self) -> Mapping[str, int]:
        """What the model's own guards met since the last call, by name (`silence`,
        `repeated_token` ...), for the metrics.
        """  # noqa: D205
        return {}

    def capacity(self) -> int:
        """How many streams may compute at once now, from 1 to `Capabilities.slots`, so that each is
        computed in time. Beyond that none begins; those that are under way go on. Asked about once
        a second, beside streams, by the thread that answers the heartbeat: quick.
        """  # noqa: D205
        return self.capabilities.slots

    def holdings(self) -> Mapping[str, int]:
        """What the model holds now, by name (`sessions`, `lm_slots` ...), for the metrics: what
        does not go back to none when nobody is spoken for is a leak. Called beside streams, from
        the thread that answers the heartbeat: quick.
        """  # noqa: D205
        return {}

    def close(self) -> None:  # noqa: B027 - models may have nothing to do
        """Free what the model holds. It is not used afterwards."""
