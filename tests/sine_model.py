"""A model with known output, for tests that need exact audio.

Use it as `ModelSpec(name="sine", factory="sine_model:SineModel", options={...})`. Workers find it
because a worker under the front's own interpreter is given the front's sys.path, and pytest puts
`tests/` on that (`pythonpath` in pyproject.toml). A front that is started without pytest needs
`tests/` on its PYTHONPATH.

A text of n characters becomes n * `seconds_per_character` of a sine of FREQUENCY_HZ (voice `sine`)
or twice that (voice `sine-2`), rounded to whole periods, one at least. It begins at a zero crossing
and ends one sample before the next, so segments that are joined without loss are one continuous
sine; `sine_samples` computes it. Each character is a word of `seconds_per_character`.

Texts that begin with `!` misbehave as follows, and are otherwise spoken like any other, with all
their characters; of a text that comes in pieces the first piece counts, and all of a text that
begins with SPEAKABLE_MARK:

    !raise          raises an exception of no special kind instead of the first chunk
    !raise-after:N  the same after N chunks
    !unspeakable  !unsupported  !fail    raises a ModelError of that kind
    !die            the process exits instead of the first chunk
    !die-after:N    the process exits after N chunks
    !hang           the first chunk is never computed
    !stop           the process stops (SIGSTOP) instead, so that nothing in it answers
    !nan            the second chunk is not a number
    !see:EXPR       raises ModelError("failed", value of the Python expression): a look inside
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.base import (
    Capabilities,
    ModelError,
    PcmChunk,
    Samples,
    SpeechModel,
    SynthesisRequest,
    Voice,
    WordTime,
)

SAMPLE_RATE_HZ = 24_000
FREQUENCY_HZ = 480.0
"""A period is 50 samples at 24 kHz, so 0.1 s is a whole number of them."""
AMPLITUDE = 0.5
SECONDS_PER_CHARACTER = 0.1
SPEAKABLE_MARK = "please "
"""May stand for the `!` of a misbehaving text, where a normaliser would drop that."""

_FREQUENCY_FACTORS = {"sine": 1, "sine-2": 2}


def sine_samples(
    n_characters: int,
    *,
    voice: str = "sine",
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    seconds_per_character: float = SECONDS_PER_CHARACTER,
) -> Samples:
    """What the model makes of a text of so many characters, in one array."""
    tone = _Tone(voice, sample_rate_hz)
    return tone.samples(0, tone.length(n_characters * seconds_per_character))


def computed_chunks(counter_path: str | Path) -> int:
    """How many chunks all models with this `counter_path` have computed so far."""
    path = Path(counter_path)
    return path.stat().st_size if path.exists() else 0


class _Tone:
    def __init__(self, voice: str, sample_rate_hz: int) -> None:
        self._frequency_hz = FREQUENCY_HZ * _FREQUENCY_FACTORS[voice]
        self._sample_rate_hz = sample_rate_hz

    def length(self, duration_s: float) -> int:
        periods = max(1, round(duration_s * self._frequency_hz))
        return round(periods * self._sample_rate_hz / self._frequency_hz)

    def samples(self, begin: int, end: int) -> Samples:
        time_s = np.arange(begin, end) / self._sample_rate_hz
        wave = AMPLITUDE * np.sin(2 * np.pi * self._frequency_hz * time_s)
        return wave.astype(np.float32)


class SineModel(SpeechModel):
    """Speaks sines.

    Args:
        name: the model's name.
        sample_rate_hz: where 480 Hz has whole periods, joins are exact (8000, 24000, 48000).
        slots: as in `Capabilities`.
        parked: as in `Capabilities`.
        run_ahead_s: as in `Capabilities`.
        text_stream: as in `Capabilities`.
        word_times: as in `Capabilities`.
        chunk_s: audio per chunk; the last one of a text, or of a piece, is shorter.
        seconds_per_character: how long a character lasts.
        compute_delay_s: time that computing a chunk takes.
        load_delay_s: time that loading takes.
        load: `ok`, or how loading goes wrong: `raise`, `exit`, `hang`.
        counter_path: a file that grows by a byte with each chunk computed; see `computed_chunks`.
    """

    def __init__(
        self,
        *,
        name: str = "sine",
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        slots: int = 1,
        parked: int = 16,
        run_ahead_s: float = 3.0,
        text_stream: bool = True,
        word_times: bool = True,
        chunk_s: float = 0.1,
        seconds_per_character: float = SECONDS_PER_CHARACTER,
        compute_delay_s: float = 0.0,
        load_delay_s: float = 0.0,
        load: str = "ok",
        counter_path: str | None = None,
    ) -> None:
        self.name = name
        self.sample_rate_hz = sample_rate_hz
        self.capabilities = Capabilities(
            slots=slots,
            parked=parked,
            run_ahead_s=run_ahead_s,
            text_stream=text_stream,
            word_times=word_times,
        )
        self._chunk_samples = max(1, round(chunk_s * sample_rate_hz))
        self._seconds_per_character = seconds_per_character
        self._compute_delay_s = compute_delay_s
        self._counter_path = counter_path
        time.sleep(load_delay_s)
        if load == "raise":
            raise RuntimeError("the sine cannot be loaded")
        if load == "exit":
            sys.stderr.write("the sine leaves while it is loaded\n")
            sys.stderr.flush()
            os._exit(3)
        if load == "hang":
            threading.Event().wait()

    def voices(self) -> Sequence[Voice]:
        """The tone, and its octave."""
        return [
            Voice(name="sine", language="en", gender="neutral"),
            Voice(name="sine-2", language="zh", gender="female"),
        ]

    def synthesize(
        self, request: SynthesisRequest, text: str | Iterator[str]
    ) -> Iterator[PcmChunk]:
        """Speak, as the module's docstring says."""
        if request.voice not in _FREQUENCY_FACTORS:
            raise ModelError("voice_unknown", f"there is no voice {request.voice!r}")
        tone = _Tone(request.voice, self.sample_rate_hz)
        pieces = iter((text,)) if isinstance(text, str) else _whole_commands(text)
        return self._speak(tone, pieces)

    def _speak(self, tone: _Tone, pieces: Iterator[str]) -> Iterator[PcmChunk]:
        n_characters = 0
        position = 0
        fault = None
        thread = threading.get_ident()
        for piece in pieces:
            if fault is None:
                fault = _Fault(piece)
                fault.strike(0)
            n_characters += len(piece)
            end = tone.length(n_characters * self._seconds_per_character)
            for begin in range(position, end, self._chunk_samples):
                samples = tone.samples(begin, min(begin + self._chunk_samples, end))
                if self._compute_delay_s:
                    time.sleep(self._compute_delay_s)
                self._count()
                yield PcmChunk(fault.spoil(samples), self._words(begin, begin + samples.size))
                if threading.get_ident() != thread:
                    raise RuntimeError("the sine went on in another thread than it began in")
                fault.strike(fault.chunks)
            position = end

    def _words(self, begin: int, end: int) -> tuple[WordTime, ...]:
        """The characters that end within (begin, end]."""
        if not self.capabilities.word_times:
            return ()
        per_s = self._seconds_per_character
        first, after = (
            int(round(samples / self.sample_rate_hz / per_s, 6)) for samples in (begin, end)
        )
        return tuple(
            WordTime(index, index + 1, index * per_s, (index + 1) * per_s)
            for index in range(first, after)
        )

    def _count(self) -> None:
        if self._counter_path is not None:
            with open(self._counter_path, "ab", buffering=0) as counter:  # noqa: PTH123
                counter.write(b".")


def _whole_commands(pieces: Iterator[str]) -> Iterator[str]:
    """Join the pieces of a text that asks for something to go wrong."""
    for piece in pieces:
        if SPEAKABLE_MARK.startswith(piece) or piece.startswith(SPEAKABLE_MARK):
            yield piece + "".join(pieces)
        else:
            yield piece
            yield from pieces


class _Fault:
    """What the text asks to go wrong."""

    def __init__(self, text: str) -> None:
        if text.startswith(SPEAKABLE_MARK):
            text = "!" + text.removeprefix(SPEAKABLE_MARK)
        command, _, argument = text.partition(":")
        self.chunks = 0
        self._command = command.removesuffix("-after") if command.startswith("!") else ""
        self._argument = argument
        self._after = int(argument) if command.endswith("-after") else 0

    def spoil(self, samples: Samples) -> Samples:
        """Count the chunk, and break it if asked to."""
        self.chunks += 1
        return (
            samples * np.float32("nan") if self._command == "!nan" and self.chunks == 2 else samples
        )

    def strike(self, chunks: int) -> None:
        """Go wrong if the time has come, after that many chunks."""
        if chunks != self._after:
            return
        match self._command:
            case "!raise":
                raise RuntimeError("the sine was told to raise")
            case "!unspeakable":
                raise ModelError("text_unspeakable", "a sine has nothing to say to this")
            case "!unsupported":
                raise ModelError("unsupported", "a sine cannot do this")
            case "!fail":
                raise ModelError("failed", "the sine is flat")
            case "!see":
                raise ModelError("failed", str(eval(self._argument)))
            case "!die":
                os._exit(7)
            case "!hang":
                threading.Event().wait()
            case "!stop":
                os.kill(os.getpid(), signal.SIGSTOP)
                # The signal stops this thread a moment later than it returns.
                threading.Event().wait()
