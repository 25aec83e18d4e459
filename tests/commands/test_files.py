"""What is written into files: WAV headers and subtitles."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import pytest
from fake_server import RATE_HZ, wav_header

from server.client import Subtitle
from server.commands.failure import UsageError
from server.commands.subtitle_file import Cue, check_ending, render, sentence_cue
from server.commands.wav import HeaderSplitter, WavError, patch_sizes, samples_begin

HEADER = wav_header(RATE_HZ)
LIST_CHUNK = b"LIST\x05\x00\x00\x00INFOx\x00"
"""5 bytes and the one that makes them even."""


def test_the_samples_begin_after_the_data_chunks_header() -> None:
    assert samples_begin(HEADER) == 44
    with_list = HEADER[:36] + LIST_CHUNK + HEADER[36:]
    assert samples_begin(with_list) == 44 + len(LIST_CHUNK)


def test_a_header_is_split_off_however_it_arrives() -> None:
    samples = bytes(range(20))
    for cut in range(1, len(HEADER) + 3):
        splitter = HeaderSplitter()
        stream = HEADER + samples
        assert splitter.feed(stream[:cut]) + splitter.feed(stream[cut:]) == samples
        assert splitter.header == HEADER


@pytest.mark.parametrize("head", [b"ID3\x04", b"RIFF\x00\x00\x00\x00AVI LIST", b"fLaC"])
def test_what_is_no_wav_is_refused(head: bytes) -> None:
    with pytest.raises(WavError):
        samples_begin(head)


def test_patched_sizes_are_the_files() -> None:
    file = io.BytesIO(HEADER + bytes(4800))
    patch_sizes(file, 44)
    file.seek(0)
    with wave.open(file) as patched:
        assert patched.getnframes() == 2400
    assert int.from_bytes(file.getvalue()[4:8], "little") == 44 + 4800 - 8


CUES = [Cue("一 & 二 <b>", 0, 1234), Cue("three", 3_600_000, 3_725_006)]


def test_srt() -> None:
    assert render(CUES, ".srt") == (
        "1\n00:00:00,000 --> 00:00:01,234\n一 & 二 <b>\n\n2\n01:00:00,000 --> 01:02:05,006\nthree\n"
    )


def test_webvtt_has_a_head_and_escapes() -> None:
    assert render(CUES, ".vtt") == (
        "WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.234\n一 &amp; 二 &lt;b&gt;\n\n"
        "2\n01:00:00.000 --> 01:02:05.006\nthree\n"
    )


TEXT = "你好。再见，朋友。"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        pytest.param([], None, id="no subtitles"),
        pytest.param(
            [Subtitle("再见，朋友。", 500, 1500, 3, 9, sentence=True)],
            Cue("再见，朋友。", 500, 1500),
            id="a sentence with its text",
        ),
        pytest.param(
            [
                Subtitle("", 0, 0, 3, 9, sentence=True),
                Subtitle("再", 500, 700, 3, 4),
                Subtitle("友", 1300, 1500, 7, 8),
            ],
            Cue("再见，朋友。", 500, 1500),
            id="an empty sentence: the task's text, the words' times",
        ),
        pytest.param(
            [Subtitle("再", 500, 700, 3, 4), Subtitle("见", 700, 900, 4, 5)],
            Cue("再见", 500, 900),
            id="words only",
        ),
        pytest.param([Subtitle("", 0, 9, 20, 30, sentence=True)], None, id="no text at all"),
    ],
)
def test_a_sentence_end_gives_a_cue(items: list[Subtitle], expected: Cue | None) -> None:
    assert sentence_cue(items, TEXT) == expected


def test_subtitle_files_end_with_srt_or_vtt() -> None:
    check_ending(Path("a.SRT"))
    with pytest.raises(UsageError):
        check_ending(Path("a.txt"))
