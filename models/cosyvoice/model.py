"""CosyVoice 1, 2 and 3 by the official package, as a model of the server."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from models.base import (
    ModelError,
    PcmChunk,
    Samples,
    SpeechModel,
    SynthesisRequest,
    Voice,
)
from models.cosyvoice.checkpoint import Checkpoint, Variant
from models.cosyvoice.engine_options import EngineOptions
from models.cosyvoice.features import VoiceFeatures
from models.cosyvoice.prompts import Prompt, make_prompt
from models.cosyvoice.rehearsal import rehearse
from models.cosyvoice.request_text import StreamedText, WholeText
from models.cosyvoice.runtime import load_official
from models.cosyvoice.stream import Report, SpeechStream
from models.cosyvoice.user_text import known_marks
from models.cosyvoice.voice_table import VoiceTable

_SEED_BITS = 63


class CosyVoiceModel(SpeechModel):
    """Speaks with the official package.

    Each stream computes in the thread that pulls it, with random numbers of its own, so the same
    request, text and seed give the same samples (on one kind of device), whatever runs beside.

    Args:
        directory: a checkpoint in the official layout.
        home: a checkout of the official package; without it, whatever `cosyvoice` can be imported.
        name: the model's name; by default `cosyvoice1`, `cosyvoice2` or `cosyvoice3`.
        variant: of version 1; see `Checkpoint.open`.
        slots: streams computed at once; by default 2 on CUDA and 1 elsewhere.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        run_ahead_s: as in `Capabilities`.
        fp16: compute in float16.
        tensorrt: run the flow's estimator by TensorRT; the first start compiles it, for minutes.
        tensorrt_contexts: streams that may be in the estimator at once.
        vllm: run the language model in vLLM (versions 2 and 3); text cannot be streamed then.
        jit: use the exported parts that come with versions 1 and 2.

    Raises:
        CheckpointError: the directory holds no whole checkpoint, or one that would run other code.
        ModelError: the checkpoint, the package or the machine cannot do what is asked.
        ValueError: an option is out of range, or contradicts another.
    """

    def __init__(
        self,
        *,
        directory: str,
        home: str | None = None,
        name: str = "",
        variant: Variant | None = None,
        slots: int | None = None,
        device: str = "auto",
        run_ahead_s: float = 3.0,
        fp16: bool = False,
        tensorrt: bool = False,
        tensorrt_contexts: int = 1,
        vllm: bool = False,
        jit: bool = False,
    ) -> None:
        options = EngineOptions(
            home=Path(home) if home else None,
            device=device,
            fp16=fp16,
            tensorrt=tensorrt,
            tensorrt_contexts=tensorrt_contexts,
            vllm=vllm,
            jit=jit,
        )
        options.check_values()
        if slots is not None and slots < 1:
            raise ValueError(f"slots {slots}: at least 1")
        checkpoint = Checkpoint.open(directory, variant=variant)
        options.show_device()
        self._checkpoint = checkpoint
        self._official = load_official(checkpoint, options)
        self._voices = VoiceTable(checkpoint.speakers, checkpoint.text_vocabulary)
        self._incidents: Counter[str] = Counter()
        self._incidents_lock = threading.Lock()
        self.name = name or checkpoint.features_format
        self.sample_rate_hz = checkpoint.sample_rate_hz
        self.capabilities = msgspec.structs.replace(
            checkpoint.capabilities(
                slots=slots or (2 if self._official.device.type == "cuda" else 1),
                text_stream=not vllm,
            ),
            run_ahead_s=run_ahead_s,
            marks=known_marks(
                checkpoint.version, checkpoint.variant, self._official.special_tokens
            ),
        )

    def voices(self) -> Sequence[Voice]:
        """The presets of spk2info.pt, and the clones that were added."""
        return self._voices.voices()

    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        """Speak; see `SpeechModel.synthesize`. A text that is streamed goes into the model as it
        comes, in versions 2 and 3.
        """  # noqa: D205
        features = self._voices.get(request.voice)
        if features is None:
            raise ModelError(
                "voice_unknown", f"the model {self.name!r} has no voice {request.voice!r}"
            )
        return self._speak(request, features, text, self._report)

    def warm_up(self) -> None:
        """Speak a little in each way that has shapes of its own.

        Raises:
            ModelError: `failed`, the model's output is no numbers.
        """
        on_cuda = self._official.device.type == "cuda"
        rehearse(self._checkpoint, self.capabilities, self._speak, all_hops=on_cuda)

    def enroll(self, samples: Samples, sample_rate_hz: int, transcript: str) -> bytes:
        """Make a voice of a recording; see `SpeechModel.enroll`."""
        self._require_cloning()
        from models.cosyvoice.enrollment import extract  # noqa: PLC0415 - imports whisper

        features = extract(self._official, samples, sample_rate_hz, transcript)
        return features.to_bytes(self._checkpoint.features_format)

    def add_voice(self, voice: Voice, features: bytes) -> None:
        """Take up a clone; see `SpeechModel.add_voice`."""
        self._require_cloning()
        taken = VoiceFeatures.from_bytes(features, self._checkpoint.features_format)
        self._voices.add(voice, taken)

    def remove_voice(self, name: str) -> None:
        """Forget a clone; presets stay."""
        self._voices.remove(name)

    def take_incidents(self) -> Mapping[str, int]:
        """What the guards met since the last call: their reasons, and `retry`."""
        with self._incidents_lock:
            incidents, self._incidents = self._incidents, Counter()
        return dict(incidents)

    def close(self) -> None:
        """Free the weights."""
        del self._official

    def _speak(
        self,
        request: SynthesisRequest,
        features: VoiceFeatures,
        text: str | Iterator[str],
        report: Report,
    ) -> Generator[PcmChunk, None, None]:
        official, marks = self._official, self.capabilities.marks
        if isinstance(text, str):
            whole = WholeText(text, marks, official.text_tokens)
            return self._open(request, features, text, report).chunks(whole)
        if not self.capabilities.text_stream:
            raise ModelError("unsupported", f"the model {self.name!r} takes no stream of text")
        self._prompt(request, features, "")  # so that what is unsupported is refused at once
        streamed = StreamedText(text, marks, official.text_tokens)
        return self._speak_streamed(request, features, streamed, report)

    def _speak_streamed(
        self,
        request: SynthesisRequest,
        features: VoiceFeatures,
        text: StreamedText,
        report: Report,
    ) -> Generator[PcmChunk, None, None]:
        # The prompt depends on the script of the text.
        yield from self._open(request, features, text.begin(), report).chunks(text)

    def _open(
        self, request: SynthesisRequest, features: VoiceFeatures, text: str, report: Report
    ) -> SpeechStream:
        prompt = self._prompt(request, features, text)
        seed = secrets.randbits(_SEED_BITS) if request.seed is None else request.seed
        return SpeechStream(
            self._official, prompt, features, seed=seed % (1 << _SEED_BITS), report=report
        )

    def _prompt(self, request: SynthesisRequest, features: VoiceFeatures, text: str) -> Prompt:
        return make_prompt(
            self._checkpoint.version,
            self._checkpoint.variant,
            features,
            instruction=request.instruction,
            text=text,
            language=request.language,
        )

    def _report(self, incident: str) -> None:
        with self._incidents_lock:
            self._incidents[incident] += 1

    def _require_cloning(self) -> None:
        if not self.capabilities.cloning:
            raise ModelError("unsupported", f"the model {self.name!r} does not clone voices")
