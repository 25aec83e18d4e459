"""The embedded recogniser: CMU PocketSphinx with the US English model that its wheel carries.

It needs no download and no GPU and hears a clear voice's simple English in less than real time on
one core. Its word error rate on free speech is far from that of a neural recogniser: it is here so
that everything works out of the box. `phrases` narrows it to what may be said, which it hears well.
"""

from __future__ import annotations

import queue
import re
from collections.abc import Iterator, Sequence

from pocketsphinx import Decoder

from models.base import ModelError, Samples
from models.recognition import (
    RecognitionRequest,
    RecognizerCapabilities,
    SpeechRecognizer,
    Transcript,
)
from models.utterances import AgreedWords, UtteranceDetector

_SAMPLE_RATE_HZ = 16_000
_LANGUAGE = "en"
_HYPOTHESIS_EVERY_BYTES = _SAMPLE_RATE_HZ * 2 // 4
"""A quarter of a second: a hypothesis costs a walk through the lattice."""
_PORTION_BYTES = _SAMPLE_RATE_HZ * 2 * 30 // 1000
_WORD = re.compile(r"[A-Za-z']+")
_SEARCH = "phrases"


class SphinxRecognizer(SpeechRecognizer):
    """Decoders are made as they are needed, up to `slots + parked`, at about 90 MB each.

    Args:
        phrases: the only phrases that are listened for, each an utterance; empty for free speech.
        slots: streams that compute at once.
        parked: streams that may wait for audio besides.

    Raises:
        ValueError: a word of `phrases` is not in the model's dictionary.
    """

    name = "sphinx"
    sample_rate_hz = _SAMPLE_RATE_HZ

    def __init__(self, phrases: Sequence[str] = (), slots: int = 1, parked: int = 7) -> None:
        self.capabilities = RecognizerCapabilities(
            slots=slots, parked=parked, languages=(_LANGUAGE,)
        )
        self._grammar = ""
        self._idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        first = self._make_decoder()
        self._fresh_cmn: str = first.get_cmn(False)
        if phrases:
            self._grammar = _grammar(phrases, first)
            _narrow(first, self._grammar)
        self._idle.put(first)

    def recognize(
        self, request: RecognitionRequest, audio: Iterator[Samples]
    ) -> Iterator[Transcript]:
        """See the base class; punctuation is not within this recogniser's power."""
        language = request.language.lower()
        if language and language.split("-")[0] != _LANGUAGE:
            raise ModelError(
                "unsupported",
                f"the embedded recogniser hears English only, not {request.language!r}",
            )
        return self._listen(audio)

    def _listen(self, audio: Iterator[Samples]) -> Iterator[Transcript]:
        decoder = self._take_decoder()
        # A decoder adapts to whom it hears; the next one shall not be heard as the last.
        decoder.set_cmn(self._fresh_cmn)
        try:
            yield from _Listener(decoder).listen(audio)
        finally:
            self._idle.put(decoder)

    def _take_decoder(self) -> Decoder:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._make_decoder()

    def _make_decoder(self) -> Decoder:
        decoder = Decoder(samprate=_SAMPLE_RATE_HZ, loglevel="FATAL")
        if self._grammar:
            _narrow(decoder, self._grammar)
        return decoder


def _grammar(phrases: Sequence[str], decoder: Decoder) -> str:
    """A JSGF grammar of these phrases.

    Raises:
        ValueError: a word is unknown to the decoder.
    """
    for word in " ".join(phrases).lower().split():
        if not _WORD.fullmatch(word) or decoder.lookup_word(word) is None:
            raise ValueError(f"phrases: {word!r} is not in the recogniser's dictionary")
    choice = " | ".join(" ".join(phrase.lower().split()) for phrase in phrases)
    return f"#JSGF V1.0; grammar {_SEARCH}; public <phrase> = {choice};"


def _narrow(decoder: Decoder, grammar: str) -> None:
    decoder.add_jsgf_string(_SEARCH, grammar)
    decoder.activate_search(_SEARCH)


class _Listener:
    """One stream: its utterances, and the words of those that have ended."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._done: list[str] = []
        self._words = AgreedWords()
        self._in_utterance = False
        self._unheard_bytes = 0

    def listen(self, audio: Iterator[Samples]) -> Iterator[Transcript]:
        told: Transcript | None = None
        try:
            for heard in UtteranceDetector(_SAMPLE_RATE_HZ).hear(audio):
                words = self._hear(heard.speech, ended=heard.ended)
                if words is not None:
                    told = self._transcript(words, heard.audio_s)
                    yield told
            # The last item ends whatever is under way, so `_words` is empty now.
            if told is None or told.audio_s < heard.audio_s:
                yield self._transcript([], heard.audio_s)
        finally:
            if self._in_utterance:
                self._decoder.end_utt()

    def _hear(self, speech: bytes, *, ended: bool) -> list[str] | None:
        """The words of the utterance under way, None if there is nothing new to tell."""
        if speech:
            if not self._in_utterance:
                self._decoder.start_utt()
                self._in_utterance = True
            # Always the same portions, so that the size of a client's pieces changes nothing.
            for begin in range(0, len(speech), _PORTION_BYTES):
                self._decoder.process_raw(speech[begin : begin + _PORTION_BYTES])
            self._unheard_bytes += len(speech)
        if ended:
            return self._end_utterance()
        if self._unheard_bytes < _HYPOTHESIS_EVERY_BYTES:
            return None
        self._unheard_bytes = 0
        return self._words.update(self._hypothesis())

    def _end_utterance(self) -> list[str] | None:
        if not self._in_utterance:
            return None
        self._decoder.end_utt()
        self._in_utterance = False
        self._unheard_bytes = 0
        self._done += self._words.finish(self._hypothesis())
        self._words = AgreedWords()
        return []

    def _hypothesis(self) -> list[str]:
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr.split() if hypothesis is not None else []

    def _transcript(self, words: list[str], audio_s: float) -> Transcript:
        stable = " ".join(self._done + self._words.agreed)
        return Transcript(" ".join(self._done + words), len(stable), audio_s)
