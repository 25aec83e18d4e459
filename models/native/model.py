"""CosyVoice 2 and 3 by this project's own engine, as a model of the server."""

from __future__ import annotations

import os
import secrets
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NoReturn

import msgspec
import numpy as np
import torch

from models.base import ModelError, PcmChunk, Samples, SpeechModel, SynthesisRequest, Voice
from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.features import MEL_BANDS, VoiceFeatures
from models.cosyvoice.prompts import Prompt, make_prompt
from models.cosyvoice.rehearsal import rehearse
from models.cosyvoice.request_text import StreamedText, WholeText
from models.cosyvoice.voice_table import VoiceTable
from models.native.engine import Engine
from models.native.enrollment import VoiceAnalyser
from models.native.inbox import VoicePrompt
from models.native.lm.sequence import LmPrompt
from models.native.options import Admission, FinalChunk, Hops, NativeOptions
from models.native.session import policy_of
from models.native.stages import Stages
from models.native.stream import Report, SpeechStream
from models.native.tokenizer import TextTokenizer

_SEED_BITS = 63
_SLOTS = {"cuda": 32, "cpu": 4}
_LEAST_PARKED = 8
_ADMISSION: dict[str, Admission] = {"cuda": "real_time", "cpu": "slots"}


class NativeModel(SpeechModel):
    """Speaks with the native engine: many streams in one batch, on one device.

    The same request, text and seed give the same speech tokens, whatever runs beside. The sound of
    version 3 follows from them, but for rounding; that of version 2 also from where its chunks end.

    Args:
        directory: a checkpoint of version 2 or 3 in the official layout.
        name: the model's name; by default `cosyvoice2` or `cosyvoice3`.
        slots: streams computed at once; by default 32 on CUDA and 4 elsewhere.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        run_ahead_s: as in `Capabilities`; and so far the engine goes ahead of each stream.
        bf16: compute the flow's estimator in bfloat16.
        final_chunk: what the last chunk of a stream sees; see `FinalChunk`.
        hops: `slack`, or `growing` as the official runtime's.
        max_length: positions of a stream in the language model: prompt, text and speech.
        graphs: on CUDA, capture at warm-up what is computed all the time; without, every kernel is
            asked for by itself, which takes longer and is easier to search for errors.
        admission: streams taken at once: `real_time`, as many as are computed in time, by what the
            device is measured to take, and at least one; or `slots`, all. By default real time on
            CUDA, and slots elsewhere, where few devices compute even one in time.
        flow_memory_gib: memory in which the flow keeps what it has computed of streams and of
            voices' recordings, so that it need not compute it again; 0 for none. By default a
            quarter of the machine's on a CPU, taken as it is used and no more than `slots` can
            use, and none on CUDA.

    Raises:
        CheckpointError: the directory holds no whole checkpoint, or one that does not fit.
        ModelError: the checkpoint or the machine cannot do what is asked.
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        *,
        directory: str,
        name: str = "",
        slots: int | None = None,
        device: str = "auto",
        run_ahead_s: float = 3.0,
        bf16: bool = False,
        final_chunk: FinalChunk = "exact",
        hops: Hops = "slack",
        max_length: int = 4096,
        graphs: bool = True,
        admission: Admission | None = None,
        flow_memory_gib: float | None = None,
    ) -> None:
        options = NativeOptions(
            device=device,
            bf16=bf16,
            final_chunk=final_chunk,
            hops=hops,
            max_length=max_length,
            graphs=graphs,
            admission=admission,
            flow_memory_gib=flow_memory_gib,
        )
        options.check_values()
        if slots is not None and slots < 1:
            raise ValueError(f"slots {slots}: at least 1")
        checkpoint = Checkpoint.open(directory)
        check_version(checkpoint)
        options.device_options.show_device()
        found = _find_device(options, checkpoint)
        slots = slots or _SLOTS[found.type]
        self._real_time = (admission or _ADMISSION[found.type]) == "real_time"
        n_parked = max(_LEAST_PARKED, slots // 2)
        self._checkpoint = checkpoint
        self._tokenizer = TextTokenizer(checkpoint)
        self._analyser = VoiceAnalyser(checkpoint, self._tokenizer)
        self._voices = VoiceTable(checkpoint.speakers, checkpoint.text_vocabulary)
        self._incidents: Counter[str] = Counter()
        self._incidents_lock = threading.Lock()
        self._told: Counter[str] = Counter()
        self.name = name or checkpoint.features_format
        self.sample_rate_hz = checkpoint.sample_rate_hz
        self.capabilities = msgspec.structs.replace(
            checkpoint.capabilities(slots=slots), parked=n_parked, run_ahead_s=run_ahead_s
        )
        self._engine = Engine(
            Stages.open(checkpoint, options, found, n_sessions=slots + n_parked),
            policy=policy_of(run_ahead_s),
            hops=hops,
            on_broken=_leave,
        )

    def voices(self) -> Sequence[Voice]:
        """The presets of spk2info.pt, and the clones that were added."""
        return self._voices.voices()

    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        """Speak; see `SpeechModel.synthesize`. A text that is streamed is read in a thread of its
        own, and goes into the language model as it comes.
        """  # noqa: D205
        features = self._voices.get(request.voice)
        if features is None:
            raise ModelError(
                "voice_unknown", f"the model {self.name!r} has no voice {request.voice!r}"
            )
        return self._speak(request, features, text, self._report)

    def warm_up(self) -> None:
        """Capture what can be, and speak a little in each way that has shapes of its own.

        Raises:
            ModelError: `failed`, the model's output is no numbers.
        """
        captured = self._engine.prepare()
        if captured.n_graphs:
            print(f"{self.name}: {captured}", file=sys.stderr, flush=True)
        on_cuda = self._engine.device.type == "cuda"
        slots = self.capabilities.slots
        rehearse(
            self._checkpoint,
            self.capabilities,
            self._speak,
            all_hops=on_cuda,
            crowd=slots if self._real_time else 1,
        )

    def enroll(self, samples: Samples, sample_rate_hz: int, transcript: str) -> bytes:
        """Make a voice of a recording; see `SpeechModel.enroll`."""
        features = self._analyser.extract(samples, sample_rate_hz, transcript)
        return features.to_bytes(self._checkpoint.features_format)

    def add_voice(self, voice: Voice, features: bytes) -> None:
        """Take up a clone; see `SpeechModel.add_voice`."""
        taken = VoiceFeatures.from_bytes(features, self._checkpoint.features_format)
        self._voices.add(voice, taken)

    def remove_voice(self, name: str) -> None:
        """Forget a clone; presets stay."""
        self._voices.remove(name)

    def take_incidents(self) -> Mapping[str, int]:
        """What happened since the last call: the guards' reasons, `retry`, `no_graph` and
        `page_evicted`.

        `no_graph` is a batch of chunks for which there was no graph: everybody's tokens wait while
        the device is asked for each of its thousands of kernels. `page_evicted` is a second of a
        stream that the flow computes again, because others' had to be kept.
        """  # noqa: D205
        with self._incidents_lock:
            incidents, self._incidents = self._incidents, Counter()
            totals = Counter(
                no_graph=self._engine.n_missed_flows, page_evicted=self._engine.n_evicted_pages
            )
            incidents += totals - self._told
            self._told = totals
        return dict(incidents)

    def capacity(self) -> int:
        """As many streams as the device computes in real time, one at least, or all slots."""
        slots = self.capabilities.slots
        return max(1, self._engine.sessions_held(slots)) if self._real_time else slots

    def holdings(self) -> Mapping[str, int]:
        """Sessions, slots of the language model, and pages of the flow: those of streams, and those
        that are kept for voices on purpose; see `SpeechModel.holdings`.
        """  # noqa: D205
        engine = self._engine
        return {
            "sessions": engine.n_sessions,
            "lm_slots": engine.n_taken_slots,
            "flow_pages": engine.n_stream_pages,
            "flow_pages_kept": engine.n_prompt_pages,
        }

    def close(self) -> None:
        """End the engine, and free the weights."""
        self._engine.close()
        del self._engine

    def _speak(
        self,
        request: SynthesisRequest,
        features: VoiceFeatures,
        text: str | Iterator[str],
        report: Report,
    ) -> Generator[PcmChunk, None, None]:
        marks, encode = self.capabilities.marks, self._tokenizer.encode
        if isinstance(text, str):
            whole = WholeText(text, marks, encode)
            return self._open(request, features, text, report).chunks(whole)
        self._prompt(request, features, "")  # so that what is unsupported is refused at once
        streamed = StreamedText(text, marks, encode)
        return self._speak_streamed(request, features, streamed, report)

    def _speak_streamed(
        self,
        request: SynthesisRequest,
        features: VoiceFeatures,
        text: StreamedText,
        report: Report,
    ) -> Generator[PcmChunk, None, None]:
        # The prompt depends on the script of the text. Until that is known, the stream has not
        # begun, and waits in the thread that pulls it.
        yield from self._open(request, features, text.begin(), report).chunks(text)

    def _open(
        self, request: SynthesisRequest, features: VoiceFeatures, text: str, report: Report
    ) -> SpeechStream:
        prompt = self._voice_prompt(self._prompt(request, features, text), features)
        seed = secrets.randbits(_SEED_BITS) if request.seed is None else request.seed
        return SpeechStream(
            self._engine,
            prompt,
            seed=seed % (1 << _SEED_BITS),
            tenant=request.tenant,
            report=report,
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

    def _voice_prompt(self, prompt: Prompt, features: VoiceFeatures) -> VoicePrompt:
        text = self._tokenizer.encode(prompt.text) if prompt.text else []
        if prompt.tokens is not None:
            text += prompt.tokens.tolist()
        tokens, mel = features.speech_tokens, features.mel
        if not prompt.has_recording or tokens is None or mel is None:
            tokens, mel = np.empty(0, np.int32), np.empty((0, MEL_BANDS), np.float32)
        return VoicePrompt(
            lm=LmPrompt(text=text, speech=tokens.tolist() if prompt.has_spoken_prompt else ()),
            tokens=tokens,
            mel=mel,
            embedding=features.embedding,
        )

    def _report(self, incident: str) -> None:
        with self._incidents_lock:
            self._incidents[incident] += 1


def check_version(checkpoint: Checkpoint) -> None:
    """See that a checkpoint is one of those that the engine computes.

    Raises:
        ModelError: `unsupported`, it is not.
    """
    if checkpoint.version == 1:
        raise ModelError(
            "unsupported",
            f"{checkpoint.directory}: the native engine computes versions 2 and 3; "
            "version 1 needs the official package",
        )


def _find_device(options: NativeOptions, checkpoint: Checkpoint) -> torch.device:
    cuda = torch.cuda.is_available()
    options.device_options.check_machine(checkpoint, cuda=cuda)
    if not cuda:
        return torch.device("cpu")
    # By default convolutions would round to TF32, which changes the sound; products would not,
    # but for an environment that asks for it.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda", torch.cuda.current_device())


def _leave(error: BaseException) -> NoReturn:
    """End the process: whoever started it starts another, and says again what was not heard."""
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)
