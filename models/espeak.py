"""The embedded model: espeak-ng, which speaks a hundred languages faster than anyone listens.

It needs no weights and no GPU. It sounds like a machine, but it is there from the first minute:
every part of the server can be tried, measured and tested with it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

from models.base import (
    Capabilities,
    ModelError,
    PcmChunk,
    SpeechModel,
    SynthesisRequest,
    Voice,
)
from models.espeak_audio import SpeechAssembler
from models.espeak_library import (
    EspeakError,
    Int16Samples,
    Utterance,
    WordEvent,
    describe_library,
    speak,
)
from models.espeak_text import Passage, passages
from models.espeak_voices import EspeakVoices, Language, Speaker

_Block = tuple[Int16Samples, list[WordEvent]]
_PITCH_MAX = 99


class EspeakModel(SpeechModel):
    """Speaks with libespeak-ng.

    The same request and text give the same samples. A text in several scripts is spoken by one
    timbre in several languages. A request's `instruction` and `seed` say nothing to this model,
    which has no moods and does not sample.

    Raises:
        ModelError: `failed`, the library or its data cannot be loaded.
    """

    name = "espeak"

    def __init__(self) -> None:
        try:
            self.sample_rate_hz, library_voices = describe_library()
        except EspeakError as error:
            raise ModelError("failed", str(error)) from error
        # One utterance takes the library for some ten milliseconds, and its blocks are bounded by
        # the length of a passage; a stream that is not read costs memory for that much alone.
        self.capabilities = Capabilities(slots=1, run_ahead_s=600.0, word_times=True)
        self._espeak_voices = EspeakVoices.of_library(library_voices)
        self._thread = _SpeakingThread()

    def voices(self) -> Sequence[Voice]:
        """The presets, then a voice for each language, named by its BCP 47 tag."""
        return self._espeak_voices.voices()

    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        """Speak; see `SpeechModel.synthesize`.

        `request.language` makes the voice's timbre speak that language.
        """
        if not isinstance(text, str):
            raise ModelError("unsupported", "the model 'espeak' does not take a stream of text")
        speaker = self._espeak_voices.speaker(request.voice)
        if speaker is None:
            raise ModelError("voice_unknown", f"the model 'espeak' has no voice {request.voice!r}")
        language = self._espeak_voices.language(request.language or speaker.language)
        if language is None:
            raise ModelError(
                "unsupported", f"the model 'espeak' does not speak {request.language!r}"
            )
        return self._speak(text, speaker, language)

    def warm_up(self) -> None:
        """Speak a word in each of the two languages that are asked for most."""
        for voice in ("cmn", "en-US"):
            for _ in self.synthesize(SynthesisRequest(voice=voice), "OK"):
                pass

    def close(self) -> None:
        """End the thread that speaks."""
        self._thread.close()

    def _speak(self, text: str, speaker: Speaker, language: Language) -> Iterator[PcmChunk]:
        assembler = SpeechAssembler(self.sample_rate_hz, text)
        for passage in passages(text, language, self._espeak_voices.reader):
            recital = self._thread.begin(_utterance(passage, speaker))
            assembler.begin(passage.text, passage.indices)
            try:
                for block, events in recital:
                    yield from assembler.take(block, events)
            except EspeakError as error:
                raise ModelError("failed", str(error)) from error
            finally:
                recital.stop()
            yield from assembler.end(pause=passage.pause, followed=passage.followed)
        if not assembler.has_spoken:
            raise ModelError("text_unspeakable", "there is nothing in the text that can be spoken")


def _utterance(passage: Passage, speaker: Speaker) -> Utterance:
    language = passage.language
    return Utterance(
        text=passage.text,
        voice=language.library_voice,
        variant=speaker.variant,
        rate=language.rate,
        pitch=min(max(speaker.pitch + language.pitch_shift, 0), _PITCH_MAX),
        pitch_range=speaker.pitch_range,
        volume=speaker.volume,
        phonemes=passage.phonemes,
    )


class _Recital:
    """An utterance on its way through the speaking thread: iterate over its blocks.

    Raises:
        EspeakError: from the iteration, the library failed.
    """

    def __init__(self, utterance: Utterance) -> None:
        self._utterance = utterance
        self._blocks: SimpleQueue[_Block | EspeakError | None] = SimpleQueue()
        self._stopped = False

    def run(self) -> None:
        """Speak, in the speaking thread, which never waits for whoever iterates."""
        try:
            if not self._stopped:
                speak(self._utterance, self._receive)
        except EspeakError as error:
            self._blocks.put(error)
        finally:
            self._blocks.put(None)

    def stop(self) -> None:
        """Make the library stop after the block that it is making."""
        self._stopped = True

    def __iter__(self) -> Iterator[_Block]:
        while (block := self._blocks.get()) is not None:
            if isinstance(block, EspeakError):
                raise block
            yield block

    def _receive(self, samples: Int16Samples, events: list[WordEvent]) -> bool:
        self._blocks.put((samples, events))
        return not self._stopped


class _SpeakingThread:
    """The thread that the library runs in; utterances take their turns in the order of asking."""

    def __init__(self) -> None:
        self._recitals: SimpleQueue[_Recital | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="espeak", daemon=True)
        self._thread.start()

    def begin(self, utterance: Utterance) -> _Recital:
        recital = _Recital(utterance)
        self._recitals.put(recital)
        return recital

    def close(self) -> None:
        self._recitals.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (recital := self._recitals.get()) is not None:
            recital.run()
