"""A job's recording, and the file that becomes of it."""

from __future__ import annotations

import io
import os
import threading
import time
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from job_orders import RATE_HZ, order, segment
from sine_model import sine_samples

from server.speech.containers import quantise
from server.speech.jobs.recording import JobRecording, remove_strays
from server.speech.jobs.rendering import Rendering, RenderingStoppedError
from server.speech.jobs.types import Segment, SentenceTimes
from server.speech.spoken_files import SpokenFiles
from server.speech.types import AudioFormat, Prosody, SpeechOptions


def take(folder: Path) -> JobRecording:
    recording = JobRecording.open(folder, "a")
    assert recording is not None
    return recording


def test_only_one_has_it(tmp_path: Path) -> None:
    first = take(tmp_path)
    assert JobRecording.open(tmp_path, "a") is None
    first.close()
    take(tmp_path).close()


def test_it_is_longer_with_each_piece_and_may_be_cut(tmp_path: Path) -> None:
    recording = take(tmp_path)
    sine = sine_samples(5)
    assert recording.append(sine) == sine.size
    recording.close()
    again = take(tmp_path)
    assert again.append(sine) == 2 * sine.size
    again.cut(sine.size)
    assert again.n_samples == sine.size
    blocks = list(again.read(100, sine.size, 1000))
    assert len(blocks[0]) == 1000
    assert np.array_equal(quantise(np.concatenate(blocks)), quantise(sine[100:]))
    again.discard()
    assert list(tmp_path.iterdir()) == []


def test_strays_go(tmp_path: Path) -> None:
    for name in ("old", "new", "known"):
        (tmp_path / f"{name}.s16").touch()
    an_hour_ago_s = time.time() - 3601
    for name in ("old", "known"):
        os.utime(tmp_path / f"{name}.s16", (an_hour_ago_s, an_hour_ago_s))
    remove_strays(tmp_path, {"known"})
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["known", "new"]


def render(
    tmp_path: Path, options: SpeechOptions, segments: list[Segment]
) -> tuple[bytes, list[SentenceTimes]]:
    """The file of segments, each with its text spoken as a sine."""
    recording = take(tmp_path)
    spoken = []
    for one in segments:
        sine = sine_samples(len(one.spoken))[: None if one.spoken else 0]
        end = recording.append(sine)
        spoken.append(
            segment(one.number, text=one.text, pause_s=one.pause_s, prosody=one.prosody,
                    end_samples=end)
        )  # fmt: skip
    files = SpokenFiles(tmp_path / "files")
    file = files.create(options.audio_format.value)
    stopped = threading.Event()
    sentences = Rendering(
        order(options=options), recording, file, stopped=stopped, max_bytes=1 << 30
    ).run(spoken)
    file.finish()
    recording.discard()
    path = files.find(file.name)
    assert path is not None
    return path.read_bytes(), sentences


def test_joins_are_exact(tmp_path: Path) -> None:
    data, sentences = render(
        tmp_path, SpeechOptions(voice="sine"), [segment(0), segment(1), segment(2)]
    )
    assert np.array_equal(np.frombuffer(data, "<i2"), quantise(sine_samples(18)))
    assert [(one.begin_ms, one.end_ms) for one in sentences] == [
        (0, 600),
        (600, 1200),
        (1200, 1800),
    ]


def test_pauses_and_prosody(tmp_path: Path) -> None:
    segments = [
        segment(0, pause_s=0.5),
        segment(1, text="", spoken="", pause_s=0.25),
        segment(2, prosody=Prosody(speed=2.0)),
    ]
    options = SpeechOptions(voice="sine", prosody=Prosody(speed=0.5))
    data, sentences = render(tmp_path, options, segments)
    times = [(one.text, one.begin_ms, one.end_ms) for one in sentences]
    assert times == [("Text 0.", 0, 1200), ("Text 2.", 1950, 2550)]
    assert len(data) / 2 / RATE_HZ == pytest.approx(2.55, abs=0.03)


@pytest.mark.parametrize("audio_format", list(AudioFormat))
def test_each_format_is_one_whole_file(tmp_path: Path, audio_format: AudioFormat) -> None:
    options = SpeechOptions(voice="sine", audio_format=audio_format, sample_rate_hz=16_000)
    data, _ = render(tmp_path, options, [segment(number) for number in range(5)])
    if audio_format is AudioFormat.PCM:
        assert len(data) / 2 / 16_000 == pytest.approx(3.0, abs=0.01)
        return
    if audio_format is AudioFormat.WAV:
        with wave.open(io.BytesIO(data)) as file:
            assert file.getnframes() / file.getframerate() == pytest.approx(3.0, abs=0.01)
    with av.open(io.BytesIO(data)) as container:
        n_samples = sum(frame.samples for frame in container.decode(audio=0))
        rate_hz = container.streams.audio[0].rate
    assert n_samples / rate_hz == pytest.approx(3.0, abs=0.15)


def test_a_server_that_stops_gives_it_up(tmp_path: Path) -> None:
    recording = take(tmp_path)
    end = recording.append(sine_samples(6))
    file = SpokenFiles(tmp_path / "files").create("pcm")
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(RenderingStoppedError):
        Rendering(order(), recording, file, stopped=stopped, max_bytes=1 << 30).run(
            [segment(0, end_samples=end)]
        )
    file.discard()
    recording.close()
