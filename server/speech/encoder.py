"""From the model's samples to the bytes of the task's one audio file."""

from __future__ import annotations

from models.base import Samples
from server.errors import ErrorCode, SpeechError
from server.limits import SAMPLE_RATES_HZ
from server.speech.codec import CodecFile, codec_rate
from server.speech.containers import AudioFile, PcmFile, wav_header
from server.speech.prosody import Shaper
from server.speech.types import AudioFormat, Prosody

_UNCOMPRESSED = frozenset({AudioFormat.PCM, AudioFormat.WAV})


class Encoder:
    """Encodes one task, from the first sentence to the last: one header, one stream of samples.

    It is synchronous and belongs to one task at a time. What it returns are frames of 1 to 65536
    bytes, about `limits.FRAME_S` of audio each; the first of the file, and the first after
    `drain`, holds what there is, so that nobody waits for a full one. An encoder that is not
    finished may simply be dropped.

    Args:
        audio_format: of the file.
        model_rate_hz: of the samples that `encode` takes.
        sample_rate_hz: of the file: one of `limits.SAMPLE_RATES_HZ`, or the model's own.
        prosody: speed, pitch and gain.
        bit_rate: bits per second, None for a choice that suits speech; pcm, wav and flac have no
            bit rate to choose.

    Attributes:
        sample_rate_hz: the real rate of the file: a codec that lacks the one asked for gets the
            next one above (`codec.codec_rate`).

    Raises:
        SpeechError: FORMAT_UNSUPPORTED, SAMPLE_RATE_UNSUPPORTED or PARAMETER_INVALID.
    """

    def __init__(
        self,
        audio_format: AudioFormat,
        *,
        model_rate_hz: int,
        sample_rate_hz: int,
        prosody: Prosody,
        bit_rate: int | None = None,
    ) -> None:
        if sample_rate_hz not in SAMPLE_RATES_HZ and sample_rate_hz != model_rate_hz:
            raise SpeechError(
                ErrorCode.SAMPLE_RATE_UNSUPPORTED,
                f"sample_rate must be one of {', '.join(map(str, SAMPLE_RATES_HZ))}, "
                f"not {sample_rate_hz}",
            )
        self.sample_rate_hz = codec_rate(audio_format, sample_rate_hz)
        self._shaper = Shaper(
            prosody, model_rate_hz=model_rate_hz, sample_rate_hz=self.sample_rate_hz
        )
        self._file = _open(audio_format, self.sample_rate_hz, bit_rate)
        self._compressed = audio_format not in _UNCOMPRESSED
        self._model_rate_hz = model_rate_hz
        self._begin_s = 0.0
        self._n_samples = 0

    @property
    def content_type(self) -> str:
        """MIME type of the file."""
        return self._file.content_type

    @property
    def inline(self) -> bool:
        """Cheap enough for the event loop (at most 0.1 ms per 100 ms chunk); else use a thread."""
        return not (self._compressed or self._shaper.changes_tempo)

    @property
    def position_s(self) -> float:
        """Where, in seconds of the file, the next sample given to `encode` will be heard.

        It counts samples, so it is exact over a task of any length. The silence that mp3 and
        ADTS decoders without gapless playback put in front (46 and 43 ms at 24 kHz) is not in it.
        """
        return self._begin_s + self._n_samples / self._model_rate_hz * self.time_scale

    @property
    def time_scale(self) -> float:
        """Seconds of the file for one second of the model's speech; pitch does not change it."""
        return 1.0 / self._shaper.prosody.speed

    def encode(self, samples: Samples) -> list[bytes]:
        """Take mono samples, shape (n_samples,); return the frames that are due."""
        self._n_samples += len(samples)
        self._file.write(self._shaper.process(samples))
        return self._file.take()

    def set_prosody(self, prosody: Prosody) -> None:
        """Change the prosody of the samples to come, between two sentences.

        Raises:
            SpeechError: PARAMETER_INVALID; the old prosody is then still in force.
        """
        begin_s = self.position_s
        self._file.write(self._shaper.set_prosody(prosody))
        self._begin_s, self._n_samples = begin_s, 0

    def drain(self) -> list[bytes]:
        """Hand out all that can leave at the end of a sentence without ending the file.

        What a codec, the resampler or the tempo filter needs the next samples for stays.
        """
        return self._file.drain()

    def finish(self) -> list[bytes]:
        """End the file and hand out the rest; of a task without any sample there is no file."""
        self._file.write(self._shaper.finish())
        self._file.close()
        return self._file.drain()


def _open(audio_format: AudioFormat, sample_rate_hz: int, bit_rate: int | None) -> AudioFile:
    match audio_format:
        case AudioFormat.PCM:
            return PcmFile(sample_rate_hz)
        case AudioFormat.WAV:
            return PcmFile(sample_rate_hz, wav_header(sample_rate_hz), "audio/wav")
        case _:
            return CodecFile(audio_format, sample_rate_hz, bit_rate)
