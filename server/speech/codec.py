"""Compressed formats, by the FFmpeg inside the PyAV wheel, streamed from memory to memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.codec.codec import UnknownCodecError

from models.base import Samples
from server.errors import ErrorCode, SpeechError
from server.limits import FRAME_S
from server.speech.containers import AudioFile, quantise
from server.speech.types import AudioFormat

_MUXER_BUFFER_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How FFmpeg makes one of our formats."""

    encoder: str
    muxer: str
    content_type: str
    sample_format: str
    rates_hz: tuple[int, ...] | None = None
    """Rates that the codec has; None if it has all of `limits.SAMPLE_RATES_HZ`."""
    bit_rates: tuple[int, int] | None = None
    """Bits per second that may be asked for; None if it has no bit rate to choose."""
    speech_bit_rates: tuple[int, int, int] = (0, 0, 0)
    """The choice for rates up to 12 kHz, up to 24 kHz and above, where none was asked for."""
    most_bit_rate: int = 512_000
    """A higher wish is reduced to this, because the codec has no more for one channel."""
    encoder_options: dict[str, str] = field(default_factory=dict)
    muxer_options: dict[str, str] = field(default_factory=dict)


CODECS = {
    # Without the bit reservoir the first bytes come after 50 ms of input in place of 80 (24 kHz);
    # level 7 takes half the time of the default.
    AudioFormat.MP3: Codec(
        encoder="libmp3lame",
        muxer="mp3",
        content_type="audio/mpeg",
        sample_format="fltp",
        bit_rates=(8_000, 320_000),
        speech_bit_rates=(32_000, 64_000, 96_000),
        encoder_options={"reservoir": "0", "compression_level": "7"},
        muxer_options={"write_xing": "0", "id3v2_version": "0"},
    ),
    # The muxer's own choice is one page a second.
    AudioFormat.OPUS: Codec(
        encoder="libopus",
        muxer="ogg",
        content_type="audio/ogg",
        sample_format="flt",
        rates_hz=(8_000, 12_000, 16_000, 24_000, 48_000),
        bit_rates=(6_000, 510_000),
        speech_bit_rates=(32_000, 32_000, 32_000),
        most_bit_rate=256_000,
        encoder_options={"application": "audio", "compression_level": "5"},
        muxer_options={"page_duration": "20000"},
    ),
    AudioFormat.AAC: Codec(
        encoder="aac",
        muxer="adts",
        content_type="audio/aac",
        sample_format="fltp",
        bit_rates=(8_000, 288_000),
        speech_bit_rates=(32_000, 64_000, 96_000),
        encoder_options={"aac_coder": "fast"},
    ),
    # Level 2 has blocks of 24 ms, higher levels of 100 ms; its files are 5 % larger. FFmpeg's
    # encoder takes 7 MiB per file at any level (the others under 1 MiB) and 4 ms to open.
    AudioFormat.FLAC: Codec(
        encoder="flac",
        muxer="flac",
        content_type="audio/flac",
        sample_format="s16",
        encoder_options={"compression_level": "2"},
        muxer_options={"metadata_header_padding": "0"},
    ),
}


def codec_rate(audio_format: AudioFormat, sample_rate_hz: int) -> int:
    """Return the rate of the file: the one asked for, or the next one above that the codec has.

    Opus has 8, 12, 16, 24 and 48 kHz, so 11025 becomes 12000, 22050 becomes 24000, and 32000 and
    44100 become 48000. Players see 48 kHz in any case.
    """
    codec = CODECS.get(audio_format)
    if codec is None or codec.rates_hz is None:
        return sample_rate_hz
    return min(
        (rate for rate in codec.rates_hz if rate >= sample_rate_hz), default=codec.rates_hz[-1]
    )


def _bit_rate(codec: Codec, sample_rate_hz: int, wish: int | None) -> int:
    if codec.bit_rates is None:
        return 0
    if wish is None:
        low, middle, high = codec.speech_bit_rates
        return low if sample_rate_hz <= 12_000 else middle if sample_rate_hz <= 24_000 else high  # noqa: PLR2004
    least, most = codec.bit_rates
    if not least <= wish <= most:
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID, f"bit_rate must be {least} to {most}, not {wish}"
        )
    return min(wish, codec.most_bit_rate)


class _Sink:
    """What the muxer writes to. It cannot seek, so no muxer comes back to its header."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def write(self, data: bytes) -> int:
        self.waiting += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self.waiting)
        self.waiting.clear()
        return data


class CodecFile(AudioFile):
    """A compressed file.

    Args:
        audio_format: one of `CODECS`.
        sample_rate_hz: of the samples; a rate that the codec has.
        bit_rate: bits per second, None for a choice that suits speech. MP3 takes the nearest of
            its steps, Opus gives at most 256000 to one channel.

    Raises:
        SpeechError: FORMAT_UNSUPPORTED if this FFmpeg lacks the codec, PARAMETER_INVALID for a
            bit rate that the format does not have.
    """

    def __init__(
        self, audio_format: AudioFormat, sample_rate_hz: int, bit_rate: int | None = None
    ) -> None:
        super().__init__()
        codec = CODECS[audio_format]
        self.content_type = codec.content_type
        self._codec = codec
        self._rate_hz = sample_rate_hz
        self._time_base = Fraction(1, sample_rate_hz)
        self._sink = _Sink()
        try:
            self._open(_bit_rate(codec, sample_rate_hz, bit_rate))
        except UnknownCodecError as error:
            raise SpeechError(
                ErrorCode.FORMAT_UNSUPPORTED, f"this server cannot write {audio_format.value!r}"
            ) from error
        self._header_bytes = len(self._sink.waiting)
        self._waiting = np.empty(0, np.int16 if codec.sample_format == "s16" else np.float32)
        self._n_encoded = 0
        self._n_cut = 0
        self._frames: list[bytes] = []

    def _open(self, bit_rate: int) -> None:
        codec = self._codec
        self._container = av.open(
            self._sink,
            "w",
            format=codec.muxer,
            options={"fflags": "+bitexact", "flush_packets": "1", **codec.muxer_options},
            buffer_size=_MUXER_BUFFER_BYTES,
        )
        stream = self._container.add_stream(
            codec.encoder,
            rate=self._rate_hz,
            options=codec.encoder_options,
            format=codec.sample_format,
            layout="mono",
        )
        assert isinstance(stream, av.AudioStream)  # noqa: S101 - CODECS holds nothing else
        stream.codec_context.thread_count = 1
        if bit_rate:
            stream.codec_context.bit_rate = bit_rate
        self._container.start_encoding()
        # PyAV's container and stream refer to each other, and closing parts them; without this a
        # dropped file would keep its codec until the next run of the cyclic garbage collector.
        weakref.finalize(self, self._container.close).atexit = False
        self._stream = stream
        self._packet_samples = stream.codec_context.frame_size

    def write(self, samples: Samples) -> None:  # noqa: D102 - see AudioFile
        whole = self._codec.sample_format == "s16"
        prepared: npt.NDArray[Any] = quantise(samples) if whole else np.clip(samples, -1.0, 1.0)
        waiting = np.concatenate((self._waiting, prepared))
        n_ready = len(waiting) - len(waiting) % self._packet_samples
        for begin in range(0, n_ready, self._packet_samples):
            self._encode(waiting[begin : begin + self._packet_samples])
        self._waiting = waiting[n_ready:]

    def close(self) -> None:  # noqa: D102 - see AudioFile
        if len(self._waiting):
            self._encode(self._waiting)
        if self._n_encoded:
            self._send(None)
        self._container.close()
        rest = self._sink.take()
        if self._n_encoded and rest:
            self._frames.append(rest)

    def _encode(self, samples: npt.NDArray[Any]) -> None:
        frame = av.AudioFrame(self._codec.sample_format, "mono", len(samples))
        frame.planes[0].update(samples.tobytes())
        frame.sample_rate = self._rate_hz
        frame.time_base = self._time_base
        frame.pts = self._n_encoded
        self._n_encoded += len(samples)
        self._send(frame)

    def _send(self, frame: av.AudioFrame | None) -> None:
        # `encode` would first pass the frame through a filter graph that starts a thread for each
        # core of the machine, per encoder; our frames have the codec's size and format already.
        send = self._stream.codec_context._send_frame_and_recv  # type: ignore[attr-defined]  # noqa: SLF001
        packets: Iterable[av.Packet[av.AudioStream]] = send(frame)
        for packet in packets:
            packet.stream = self._stream
            packet.time_base = self._time_base
            self._container.mux_one(packet)
            self._n_cut += self._packet_samples
            if self._n_cut >= self._rate_hz * FRAME_S:
                self._frames.append(self._take())

    def _take(self) -> bytes:
        self._n_cut = 0
        self._header_bytes = 0
        return self._sink.take()

    def _cut(self, *, partial: bool) -> list[bytes]:
        frames, self._frames = self._frames, []
        if partial and len(self._sink.waiting) > self._header_bytes:
            frames.append(self._take())
        return frames
