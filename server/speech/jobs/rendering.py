"""From a job's recording to its file: one header, one resampler, one encoder."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from models.base import Samples
from server.errors import ErrorCode, SpeechError
from server.speech.encoder import Encoder
from server.speech.jobs.plan import make_encoder
from server.speech.jobs.recording import JobRecording
from server.speech.jobs.types import JobOrder, Segment, SentenceTimes
from server.speech.prosody import combined
from server.speech.spoken_files import SpokenFile

_BLOCK_S = 1.0


class RenderingStoppedError(Exception):
    """The file was given up, because the server stops."""


class Rendering:
    """Makes one file; blocks.

    Args:
        order: the job's.
        recording: of all its segments.
        file: takes the bytes; whoever opened it ends it.
        stopped: when set, the file is given up.
        max_bytes: more would go again as soon as it is there.
    """

    def __init__(
        self,
        order: JobOrder,
        recording: JobRecording,
        file: SpokenFile,
        *,
        stopped: threading.Event,
        max_bytes: int,
    ) -> None:
        self._order = order
        self._recording = recording
        self._file = file
        self._stopped = stopped
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._encoder: Encoder = make_encoder(order.options, order.sample_rate_hz)
        self._begin_samples = 0

    @property
    def duration_s(self) -> float:
        """Of what is written."""
        return self._encoder.position_s

    def run(self, segments: Sequence[Segment]) -> list[SentenceTimes]:
        """Write everything; the sentences' times are those of the file as it is played.

        Raises:
            RenderingStoppedError: see `stopped`.
            SpeechError: TEXT_TOO_LONG, see `max_bytes`.
            OSError: the disk is full, for example.
        """
        sentences: list[SentenceTimes] = []
        prosody = self._order.options.prosody
        for segment in segments:
            wanted = combined(self._order.options.prosody, segment.prosody)
            if wanted != prosody:
                prosody = wanted
                self._encoder.set_prosody(wanted)
            begin_s = self.duration_s
            self._encode(self._speech(segment))
            if segment.text:
                begin_ms, end_ms = round(begin_s * 1000), round(self.duration_s * 1000)
                sentences.append(SentenceTimes(segment.text, begin_ms, end_ms))
            self._encode(self._silence(segment.pause_s))
        self._write(self._encoder.finish())
        return sentences

    def _speech(self, segment: Segment) -> Iterator[Samples]:
        if segment.end_samples is None:
            raise ValueError(f"segment {segment.number} is not spoken")
        begin, self._begin_samples = self._begin_samples, segment.end_samples
        block_samples = round(self._order.sample_rate_hz * _BLOCK_S)
        return self._recording.read(begin, segment.end_samples, block_samples)

    def _silence(self, seconds: float) -> Iterator[Samples]:
        """As long in the file at any tempo."""
        n_samples = round(seconds * self._order.sample_rate_hz / self._encoder.time_scale)
        if n_samples:
            yield np.zeros(n_samples, dtype=np.float32)

    def _encode(self, blocks: Iterator[Samples]) -> None:
        for samples in blocks:
            if self._stopped.is_set():
                raise RenderingStoppedError
            self._write(self._encoder.encode(samples))

    def _write(self, frames: list[bytes]) -> None:
        for data in frames:
            self._n_bytes += len(data)
            if self._n_bytes > self._max_bytes:
                message = f"Its audio would be larger than {self._max_bytes} bytes!"
                raise SpeechError(ErrorCode.TEXT_TOO_LONG, message)
            self._file.write(data)
