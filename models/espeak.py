"""The embedded model: espeak-ng, which speaks a hundred languages faster than anyone listens.

It needs no weights and no GPU. It sounds like a machine, but it is there from the first minute:
every part of the server can be tried, measured and tested with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from models.base import (
    Capabilities,
    ModelError,
    PcmChunk,
    SpeechModel,
    SynthesisRequest,
    Voice,
)
from models.espeak_audio import SpeechAssembler
from models.espeak_library import EspeakError, Utterance
from models.espeak_process import EspeakProcess
from models.espeak_text import Passage, passages
from models.espeak_voices import EspeakVoices, Language, Speaker

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
            self._process = EspeakProcess()
        except EspeakError as error:
            raise ModelError("failed", str(error)) from error
        self.sample_rate_hz = self._process.sample_rate_hz
        # A text is computed hundreds of times as fast as it is heard: it is better to have done
        # with it than to keep it waiting in the middle.
        self.capabilities = Capabilities(slots=1, run_ahead_s=600.0, word_times=True)
        self._espeak_voices = EspeakVoices.of_library(self._process.voices)

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
        """End the library's process."""
        self._process.close()

    def _speak(self, text: str, speaker: Speaker, language: Language) -> Iterator[PcmChunk]:
        assembler = SpeechAssembler(self.sample_rate_hz, text)
        for passage in passages(text, language, self._espeak_voices.reader):
            assembler.begin(passage.text, passage.indices)
            try:
                with closing(self._process.speak(_utterance(passage, speaker))) as blocks:
                    for block, events in blocks:
                        yield from assembler.take(block, events)
            except EspeakError as error:
                raise ModelError("failed", str(error)) from error
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
