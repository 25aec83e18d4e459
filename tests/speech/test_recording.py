"""What people send as recordings: every format they have, and everything that is none."""

from __future__ import annotations

import contextlib
import io
import itertools
import pickle
import random
import struct
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clone_model import pitch_of, syllables, wav_file

from models.base import Samples
from server import limits
from server.errors import ErrorCode, SpeechError
from server.speech import recording

PITCH_HZ = 300.0
SPEECH = syllables(PITCH_HZ, 4.0, rate_hz=48_000)


def encoded(
    container: str, codec: str, samples: Samples = SPEECH, *, rate_hz: int = 48_000
) -> bytes:
    """Samples of 48 kHz as a file."""
    file = io.BytesIO()
    frame = av.AudioFrame.from_ndarray(samples[None, :], format="flt", layout="mono")
    frame.sample_rate = 48_000
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate_hz, layout="mono")
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout="mono", rate=rate_hz
        )
        for part in (frame, None):
            for piece in resampler.resample(part):
                output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return file.getvalue()


def film() -> bytes:
    """A moving picture with sound, as a phone records it."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        pictures = output.add_stream("mjpeg", rate=5)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuvj420p"
        sound = output.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for _ in range(20):
            output.mux(pictures.encode(av.VideoFrame(64, 48, "yuvj420p")))
        whole = np.round(SPEECH * 32767).astype(np.int16)[None, :]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.sample_rate = 48_000
        output.mux(sound.encode(frame))
        output.mux(pictures.encode(None))
        output.mux(sound.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "rate_hz"),
    [
        ("wav", "pcm_s16le", 24_000),
        ("wav", "pcm_s24le", 48_000),
        ("wav", "pcm_f32le", 44_100),
        ("wav", "pcm_alaw", 8_000),
        ("mp3", "libmp3lame", 44_100),
        ("ipod", "aac", 44_100),
        ("adts", "aac", 48_000),
        ("ogg", "libopus", 48_000),
        ("webm", "libopus", 48_000),
        ("flac", "flac", 44_100),
    ],
)
def test_what_people_record_in(container: str, codec: str, rate_hz: int) -> None:
    heard = recording.decode(encoded(container, codec, rate_hz=rate_hz))
    assert (heard.sample_rate_hz, heard.source_rate_hz) == (rate_hz, rate_hz)
    assert heard.samples.dtype == np.float32
    assert heard.seconds == pytest.approx(4.0, abs=0.1)
    assert pitch_of(heard.samples, rate_hz) == pytest.approx(PITCH_HZ, abs=2)


def test_the_sound_of_a_film() -> None:
    assert recording.decode(film()).seconds == pytest.approx(4.0, abs=0.05)


def test_channels_are_averaged() -> None:
    whole = np.zeros((2, 48_000), np.float32)
    whole[0] = 0.5
    file = io.BytesIO()
    frame = av.AudioFrame.from_ndarray(whole.T.reshape(1, -1).copy(), format="flt", layout="stereo")
    frame.sample_rate = 48_000
    with av.open(file, "w", format="wav") as output:
        stream = output.add_stream("pcm_f32le", rate=48_000, layout="stereo")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert recording.decode(file.getvalue()).samples == pytest.approx(0.25)


def test_high_rates_are_brought_down() -> None:
    heard = recording.decode(encoded("wav", "pcm_s16le", rate_hz=96_000))
    assert (heard.sample_rate_hz, heard.source_rate_hz) == (48_000, 96_000)
    assert pitch_of(heard.samples, 48_000) == pytest.approx(PITCH_HZ, abs=2)


def test_what_is_kept_is_what_was_decoded() -> None:
    once = recording.wav_samples(wav_file(SPEECH, 48_000))
    kept = recording.wav_bytes(once, 48_000)
    assert np.array_equal(recording.wav_samples(kept), once)
    assert recording.wav_bytes(np.float32([2, -2]), 8000)[-4:] == struct.pack("<hh", 32767, -32768)


def test_a_file_may_claim_what_it_wants() -> None:
    """A size of hours in the header; what counts is what comes."""
    data = bytearray(wav_file(SPEECH, 48_000))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert recording.decode(bytes(data)).seconds == pytest.approx(4.0)


def refusal(data: bytes) -> str:
    with pytest.raises(SpeechError) as refused:
        recording.decode(data)
    assert refused.value.code is ErrorCode.PARAMETER_INVALID
    return refused.value.message


def zip_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("speech.wav", wav_file(SPEECH))
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        zip_file(),
        pickle.dumps({"speech": [1.0] * 1000}),
        "我的声音。\n".encode() * 1000,
        bytes(100_000),
        random.Random(1).randbytes(100_000),
        encoded("ipod", "aac")[:-4000],
        encoded("flac", "flac")[:30_000],
        encoded("ogg", "libopus")[:500],
        wav_file(SPEECH)[:44],
    ],
    ids=["zip", "pickle", "text", "zeros", "noise", "cut m4a", "cut flac", "cut ogg", "no samples"],
)
def test_what_is_no_recording(data: bytes) -> None:
    assert refusal(data).startswith("The recording ")


def test_no_bytes() -> None:
    assert refusal(b"") == "The recording is empty!"


def test_a_playlist_reads_no_file_of_the_server(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav_file(SPEECH))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    assert "cannot be read" in refusal(playlist.encode())
    assert "cannot be read" in refusal(f"ffconcat version 1.0\nfile '{secret}'\n".encode())


def test_other_containers_are_not_even_tried() -> None:
    """Among them are those that name files and addresses."""
    assert "cannot be read" in refusal(encoded("aiff", "pcm_s16be"))


def test_too_many_bytes() -> None:
    assert "larger than 20 MiB" in refusal(bytes(limits.MAX_RECORDING_BYTES + 1))


def test_too_many_seconds_in_few_bytes() -> None:
    silence = encoded("flac", "flac", np.zeros(61 * 48_000, np.float32))
    assert len(silence) < 100_000
    assert "longer than 60 s" in refusal(silence)


def test_decoding_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_DECODING_S", -1.0)
    assert "too long to decode" in refusal(wav_file(SPEECH))


def element(identifier: str, *content: bytes) -> bytes:
    """Of a matroska file."""
    whole = b"".join(content)
    return bytes.fromhex(identifier) + b"\x01" + len(whole).to_bytes(7, "big") + whole


def film_with_deflated_subtitles(packets: int) -> bytes:
    """0.1 s of sound, and packets that are a thousand times as long as they look."""
    sound = element("E1", element("B5", struct.pack(">d", 24_000)), element("6264", b"\x10"))
    deflated = element("5034", element("4254", b"\x00"))
    encodings = element("6D80", element("6240", element("5033", b"\x00"), deflated))
    tracks = element(
        "1654AE6B",
        element("AE", element("D7", b"\x01"), element("83", b"\x02"),
                element("86", b"A_PCM/INT/LIT"), sound),
        element("AE", element("D7", b"\x02"), element("83", b"\x11"),
                element("86", b"S_TEXT/UTF8"), encodings),
    )  # fmt: skip
    bomb = element("A3", b"\x82\x00\x00\x80", zlib.compress(bytes(100_000), 9))
    blocks = element("A3", b"\x81\x00\x00\x80", bytes(4800)) + packets * bomb
    cluster = element("1F43B675", element("E7", b"\x00"), blocks)
    return element("1A45DFA3", element("4282", b"matroska")) + element("18538067", tracks, cluster)


def test_other_tracks_are_not_inflated_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes to us from FFmpeg meanwhile: the clock is looked at where it reads."""
    times_s = itertools.count(0, 2)
    clock = SimpleNamespace(monotonic=lambda: next(times_s))
    monkeypatch.setattr(recording, "time", clock)
    assert recording.decode(film_with_deflated_subtitles(1)).seconds == pytest.approx(0.1)
    assert "too long to decode" in refusal(film_with_deflated_subtitles(3000))


@pytest.mark.parametrize("rate_hz", [1, 7_999, 192_001, 2**31 - 1])
def test_odd_sample_rates(rate_hz: int) -> None:
    data = bytearray(wav_file(SPEECH))
    data[24:28] = struct.pack("<I", rate_hz)
    assert f"sample rate of {rate_hz} Hz" in refusal(bytes(data))


@pytest.mark.parametrize("channels", [9, 255])
def test_odd_channels(channels: int) -> None:
    data = bytearray(wav_file(SPEECH))
    data[22:24], data[32:34] = struct.pack("<H", channels), struct.pack("<H", 2 * channels)
    assert f"{channels} channels" in refusal(bytes(data))


def test_samples_that_are_no_numbers() -> None:
    data = bytearray(encoded("wav", "pcm_f32le"))
    data[-4:] = struct.pack("<f", float("nan"))
    assert "no numbers" in refusal(bytes(data))


def test_damage_anywhere_is_a_recording_or_a_refusal() -> None:
    chance = random.Random(5)
    for data in (encoded("ogg", "libopus"), encoded("ipod", "aac"), encoded("flac", "flac")):
        for _ in range(20):
            broken = bytearray(data)
            for _ in range(5):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            with contextlib.suppress(SpeechError):
                assert np.abs(recording.decode(bytes(broken)).samples).max() <= 1
