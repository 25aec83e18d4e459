"""Files of speech that are kept for a while."""

from __future__ import annotations

import os
import resource
import wave
from pathlib import Path

import pytest

from server.speech.containers import wav_header
from server.speech.spoken_files import SpokenFiles


def keep(files: SpokenFiles, data: bytes, extension: str = "pcm", age_s: float = 0) -> str:
    file = files.create(extension)
    file.write(data)
    file.finish()
    if age_s:
        path = files.find(file.name)
        assert path is not None
        stamp = path.stat().st_mtime - age_s
        os.utime(path, (stamp, stamp))
    return file.name


def test_a_finished_file_is_found_and_only_ours_to_read(tmp_path: Path) -> None:
    files = SpokenFiles(tmp_path / "new")
    path = files.find(keep(files, b"abc"))
    assert path is not None
    assert path.read_bytes() == b"abc"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_durable_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[list[str]] = []
    monkeypatch.setattr(
        os, "fsync", lambda _: synced.append([path.suffix for path in tmp_path.iterdir()])
    )
    keep(SpokenFiles(tmp_path), b"abc")
    assert synced == []
    keep(SpokenFiles(tmp_path, durable=True), b"abc", "mp3")
    assert sorted(synced[0]) == [".part", ".pcm"]
    assert sorted(synced[1]) == [".mp3", ".pcm"]


def test_an_unfinished_file_is_not_found_and_leaves_nothing(tmp_path: Path) -> None:
    files = SpokenFiles(tmp_path)
    file = files.create("mp3")
    file.write(b"abc")
    assert files.find(file.name) is None
    file.discard()
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    files = SpokenFiles(tmp_path)
    file = files.create("pcm")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        file.write(b"longer than ten bytes")
        with pytest.raises(OSError, match="too large"):
            file.finish()
        file.discard()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_discarding_what_is_finished_does_nothing(tmp_path: Path) -> None:
    files = SpokenFiles(tmp_path)
    file = files.create("mp3")
    file.finish()
    file.discard()
    assert files.find(file.name) is not None


@pytest.mark.parametrize("name", ["", "../voices", "0" * 32, "0" * 32 + ".mp3/", "x.mp3"])
def test_no_other_file_is_reached(tmp_path: Path, name: str) -> None:
    assert SpokenFiles(tmp_path).find(name) is None


def test_old_files_go(tmp_path: Path) -> None:
    files = SpokenFiles(tmp_path, lifetime_s=60)
    old, new = keep(files, b"a", age_s=61), keep(files, b"b")
    assert files.find(old) is None
    assert not (tmp_path / old).exists()
    assert files.find(new) is not None


def test_the_oldest_goes_when_there_is_too_much(tmp_path: Path) -> None:
    files = SpokenFiles(tmp_path, max_bytes=5)
    first, second = keep(files, b"abc", age_s=20), keep(files, b"def", age_s=10)
    keep(files, b"g")
    assert files.find(first) is None
    assert files.find(second) is not None


def test_a_wav_file_has_its_sizes(tmp_path: Path) -> None:
    files = SpokenFiles(tmp_path)
    path = files.find(keep(files, wav_header(24_000) + b"\0" * 480, "wav"))
    assert path is not None
    with wave.open(str(path)) as file:
        assert file.getnframes() == 240


def test_sweeps_that_take_long_are_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, sweeps = 1000.0, 0

    def sweep() -> None:
        nonlocal now_s, sweeps
        now_s += 0.5
        sweeps += 1

    files = SpokenFiles(tmp_path)
    monkeypatch.setattr(files, "sweep", sweep)
    monkeypatch.setattr("server.speech.spoken_files.time.monotonic", lambda: now_s)
    for step_s, total in ((0.0, 1), (49.0, 1), (2.0, 2), (10.0, 2)):
        now_s += step_s
        keep(files, b"a")
        assert sweeps == total
