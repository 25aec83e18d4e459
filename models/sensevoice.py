"""SenseVoice by FunASR: Chinese, English, Cantonese, Japanese and Korean, with punctuation.

The model hears whole utterances only. So the audio is cut into utterances by voice activity, the
open one is heard again from its beginning whenever enough has been added, and once more when it has
ended. Sources: `funasr.AutoModel` and `funasr/models/sense_voice/model.py` of FunASR 1.4.

This module needs the package `funasr`, with torch and torchaudio.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from funasr import AutoModel

from models.base import ModelError, Samples
from models.recognition import (
    RecognitionRequest,
    RecognizerCapabilities,
    SpeechRecognizer,
    Transcript,
)
from models.utterances import AgreedWords, UtteranceDetector

_SAMPLE_RATE_HZ = 16_000
_BYTES_PER_S = 2 * _SAMPLE_RATE_HZ
_AGAIN_EVERY_BYTES = int(0.6 * _BYTES_PER_S)
_SHORTEST_BYTES = int(0.1 * _BYTES_PER_S)
"""Less holds no word, and too few frames for the model's front end."""
_MAX_UTTERANCE_S = 15.0
"""An utterance is heard about twice per second of it, so a long one costs its length squared."""
_SCALE = np.float32(1 / 32_768)
_LANGUAGES = ("zh", "en", "yue", "ja", "ko")
_AUTO = "auto"
_TAG = re.compile(r"<\|[^|<>]*\|>")
"""`<|zh|><|NEUTRAL|><|Speech|><|withitn|>`: language, emotion, event, normalisation."""
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f"
_WORD = re.compile(rf"\s*(?:[{_CJK}]|[^\s{_CJK}]+)")
"""With the blanks before it; a character of Chinese or Japanese is one by itself."""


class SenseVoiceRecognizer(SpeechRecognizer):
    """One model, which hears one utterance at a time.

    Args:
        model: a directory, or a name on the hub, from which it is downloaded if it is not there.
        hub: `ms` (ModelScope) or `hf` (Hugging Face).
        device: `cuda:0`, `cpu`; empty for a GPU if there is one.
        language: what is heard when a request names none: `auto` or one of its languages.
        parked: streams that may wait for audio.

    Raises:
        ValueError: the language is unknown, or the device is not there.
    """

    name = "sensevoice"
    sample_rate_hz = _SAMPLE_RATE_HZ

    def __init__(
        self,
        model: str = "iic/SenseVoiceSmall",
        hub: str = "ms",
        device: str = "",
        language: str = _AUTO,
        parked: int = 31,
    ) -> None:
        if language not in (_AUTO, *_LANGUAGES):
            raise ValueError(f"language: {language!r} is none of {_AUTO}, {', '.join(_LANGUAGES)}")
        self.capabilities = RecognizerCapabilities(
            slots=1,
            parked=parked,
            languages=_LANGUAGES,
            detects_language=language == _AUTO,
            punctuation=True,
            dictation=True,
        )
        self._language = language
        chosen = {"device": device} if device else {}
        self._model: Any = AutoModel(
            model=model, hub=hub, disable_update=True, disable_pbar=True, **chosen
        )
        # FunASR goes on with the CPU, and a GPU's owner would wonder for long.
        if device and self._model.kwargs["device"] != device:
            raise ValueError(f"device: {device!r} is not there")
        # A call rewrites the object's settings, and so must be alone.
        self._calling = threading.Lock()

    def recognize(
        self, request: RecognitionRequest, audio: Iterator[Samples]
    ) -> Iterator[Transcript]:
        """See the base class; without `punctuation`, numbers stay words as well."""
        language = request.language.lower().partition("-")[0] or self._language
        if language == "cmn":
            language = "zh"
        if language not in (_AUTO, *_LANGUAGES):
            raise ModelError(
                "unsupported", f"SenseVoice hears {', '.join(_LANGUAGES)}, not {request.language!r}"
            )
        return _listen(
            lambda pcm: self._hear(pcm, language, punctuation=request.punctuation), audio
        )

    def warm_up(self) -> None:
        """Hear a second of silence."""
        self._hear(bytes(_BYTES_PER_S), self._language, punctuation=True)

    def _hear(self, pcm: bytes, language: str, *, punctuation: bool) -> str:
        """The text of an utterance."""
        if len(pcm) < _SHORTEST_BYTES:
            return ""
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) * _SCALE
        with self._calling:
            results = self._model.generate(input=samples, language=language, use_itn=punctuation)
        return _TAG.sub("", " ".join(result["text"] for result in results)).strip()


def _listen(hear: Callable[[bytes], str], audio: Iterator[Samples]) -> Iterator[Transcript]:
    """Transcripts of a stream, with `hear` for the text of an utterance."""
    done = ""
    utterance = b""
    unheard_bytes = 0
    words = AgreedWords()
    audio_s = 0.0
    detector = UtteranceDetector(_SAMPLE_RATE_HZ, max_utterance_s=_MAX_UTTERANCE_S)
    for heard in detector.hear(audio):
        utterance += heard.speech
        unheard_bytes += len(heard.speech)
        audio_s = heard.audio_s
        if heard.ended and utterance:
            done = _joined(done, "".join(words.finish(_WORD.findall(hear(utterance)))))
            utterance, unheard_bytes, words = b"", 0, AgreedWords()
            yield Transcript(done, len(done), audio_s)
        elif unheard_bytes >= _AGAIN_EVERY_BYTES:
            unheard_bytes = 0
            text = _joined(done, "".join(words.update(_WORD.findall(hear(utterance)))))
            yield Transcript(text, len(_joined(done, "".join(words.agreed))), audio_s)
    yield Transcript(done, len(done), audio_s)


def _joined(before: str, after: str) -> str:
    """Two utterances in one text; a blank between them unless the script has none."""
    after = after.strip()
    if not before or not after or re.match(f"[{_CJK}]", after) or re.search(f"[{_CJK}]$", before):
        return before + after
    return f"{before} {after}"
