"""`cosystream voices add`, `show`, `preview` and `remove` against a real server."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from clone_model import pitch_of, recording, syllables, wav_file
from command_line import Cosystream
from fake_server import FakeServer
from server_process import ServerProcess

from server import limits

TEXT = "One two three four five six seven eight nine ten, and so on."


@pytest.fixture
def url(clone_server: ServerProcess, tmp_path: Path) -> Iterator[str]:
    """Of a server that has no clones yet, with a recording in the working directory."""
    (tmp_path / "me.wav").write_bytes(recording(300))
    yield clone_server.address
    for voice in clone_server.get("/v1/voices").json()["voices"]:
        if voice["kind"] == "clone":
            httpx.delete(f"http://{clone_server.address}/v1/voices/{voice['id']}")


def test_a_voice_is_added_shown_heard_and_removed(
    cosystream: Cosystream, url: str, tmp_path: Path
) -> None:
    made = cosystream("voices", "add", "我的声音", "me.wav", "--text", TEXT, "--url", url)
    assert made.code == 0, made.err
    assert made.err.startswith("recording: 6.0 s used of 6.0 s, 24000 Hz, 98% speech")
    assert made.out.decode().startswith("我的声音 is ready (clone-")

    shown = cosystream("voices", "show", "我的声音", "--url", url)
    assert shown.code == 0
    for fact in ("clone-", TEXT, "6.0 s used", "made at"):
        assert fact in shown.out.decode()
    raw = cosystream("voices", "show", "我的声音", "--json", "--url", url)
    assert json.loads(raw.out)["report"]["verdict"] == "ok"

    said = cosystream("voices", "preview", "我的声音", "-o", "a.wav", "--text", "Hi.", "--url", url)
    assert said.code == 0, said.err
    assert said.err.startswith("a.wav: 0.30 s of speech (wav, 24000 Hz), first audio after ")
    with wave.open(str(tmp_path / "a.wav")) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32)
    assert pitch_of(heard, 24_000) == pytest.approx(300, abs=3)

    listed = cosystream("voices", "list", "--url", url)
    assert "我的声音" in listed.out.decode()
    gone = cosystream("voices", "remove", "我的声音", "--url", url)
    assert (gone.code, gone.out) == (0, b"")
    assert "deleted" in gone.err
    listed = cosystream("voices", "--url", url)
    assert "我的声音" not in listed.out.decode()


def test_a_recording_without_a_text_needs_a_recogniser_that_takes_dictation(
    cosystream: Cosystream, url: str
) -> None:
    made = cosystream("voices", "add", "me", "me.wav", "--url", url)
    assert made.code == 1
    assert "The text of the recording is missing" in made.err


def test_a_player_plays_the_preview(
    cosystream: Cosystream, url: str, install_player: Callable[[str], Path]
) -> None:
    heard = install_player("aplay")
    outcome = cosystream("voices", "preview", "tone", "--text", "Hi.", "--url", url)
    assert outcome.code == 0, outcome.err
    assert heard.stat().st_size == 3 * 2400 * 2


def test_a_recording_with_advice(cosystream: Cosystream, url: str, tmp_path: Path) -> None:
    (tmp_path / "short.wav").write_bytes(wav_file(syllables(300, 4.0)))
    outcome = cosystream("voices", "add", "new", "short.wav", "--text", TEXT, "--url", url)
    assert outcome.code == 0
    assert "advice: It is short" in outcome.err


def test_a_recording_that_is_refused(cosystream: Cosystream, url: str, tmp_path: Path) -> None:
    (tmp_path / "shorter.wav").write_bytes(wav_file(syllables(300, 2.0)))
    outcome = cosystream("voices", "add", "new", "shorter.wav", "--text", TEXT, "--url", url)
    assert (outcome.code, outcome.out) == (1, b"")
    figures, reason = outcome.err.splitlines()
    assert figures.startswith("recording: ")
    assert reason.startswith("cosystream: the server refuses: The recording has ")


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        (["add", "new", "none.wav", "--text", "x"], (2, "none.wav: No such file")),
        (["add", "new", ".", "--text", "x"], (2, "Is a directory")),
        (["add", "new", "huge.wav", "--text", "x"], (2, "larger than 20 MiB")),
        (["add", "new", "me.wav", "--text", ""], (1, "word for word")),
        (["add", "tone", "me.wav", "--text", TEXT], (1, "no clone, or an alias")),
        (["add", "new", "me.wav", "--text", TEXT, "--model", "espeak"], (1, "does not clone")),
        (["add", "new", "me.wav", "--text", "!refuse"], (1, "the recording is flat")),
        (["show", "nobody"], (1, "Invalid voice name 'nobody'!")),
        (["remove", "nobody"], (1, "Invalid voice name 'nobody'!")),
        (["remove", "tone"], (1, "no cloned voice")),
        (["preview", "nobody", "-o", "a.wav"], (1, "Invalid voice name 'nobody'!")),
        (["preview", "tone", "-o", "a.wav", "--text", "..."], (1, "can be spoken")),
        (["preview", "tone", "-o", "a.nothing"], (2, "the ending says no format")),
    ],
)
def test_what_does_not_work(
    cosystream: Cosystream, url: str, tmp_path: Path, arguments: list[str], end: tuple[int, str]
) -> None:
    with (tmp_path / "huge.wav").open("wb") as huge:
        huge.truncate(limits.MAX_RECORDING_BYTES + 1)
    outcome = cosystream("voices", *arguments, "--url", url)
    code, reason = end
    assert outcome.code == code
    assert reason in outcome.err
    assert outcome.err.startswith("cosystream: ")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "new", "me.wav", "--text", TEXT],
        ["show", "new"],
        ["remove", "new"],
        ["preview", "new", "-o", "a.wav"],
    ],
)
def test_no_server(cosystream: Cosystream, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "me.wav").write_bytes(recording(300))
    with FakeServer() as server:
        url = server.url
    outcome = cosystream("voices", *arguments, "--url", url)
    assert outcome.code == 1
    assert "is the server running?" in outcome.err


def test_a_token_is_wanted(cosystream: Cosystream, tmp_path: Path) -> None:
    with ServerProcess(
        tmp_path / "log", "--model", "clone=clone_model:CloneModel", "--token", "口令"
    ) as server:
        outcome = cosystream("voices", "show", "tone", "--url", server.address)
        assert (outcome.code, "--token" in outcome.err) == (1, True)
        outcome = cosystream("voices", "show", "tone", "--url", server.address, "--token", "口令")
        assert outcome.code == 0
