"""`cosystream say` against a server that fails on demand."""

from __future__ import annotations

import asyncio
import http
import os
import signal
import subprocess
import threading
import time
import wave
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from command_line import Cosystream
from fake_server import FakeServer, Talk, wav_header
from processes import WAIT_S, running

from server.commands.options import rate_steps
from server.commands.speaking import Progress, Tally, describe
from server.commands.standard_input import read_pieces

TEXT = "你好，世界。"
SAMPLES = len(TEXT) * 2400


def test_a_wav_file_gets_its_true_sizes(cosystream: Cosystream, tmp_path: Path) -> None:
    with FakeServer() as server:
        outcome = cosystream("say", TEXT, "-o", "hello.wav", "--url", server.url)
    assert outcome.code == 0, outcome.err
    assert outcome.out == b""
    with wave.open(str(tmp_path / "hello.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (24000, SAMPLES)
    assert outcome.err.startswith("hello.wav: 0.60 s of speech (wav, 24000 Hz), first audio after ")
    assert "RTF 0.0" in outcome.err


def test_the_options_reach_the_server(cosystream: Cosystream) -> None:
    prosody = ["--speed", "2", "--pitch", "0.5", "--volume", "80"]
    options = ["--voice", "v", "--rate", "16000", *prosody, "--subtitles", "s.srt"]
    with FakeServer() as server:
        outcome = cosystream("say", TEXT, "-o", "a.pcm", "--url", server.address, *options)
    assert outcome.code == 0, outcome.err
    assert server.heard[0]["payload"] == {
        "voice": "v",
        "format": "pcm",
        "sample_rate": 16000,
        "volume": 80,
        "speech_rate": 500,
        "pitch_rate": -500,
        "enable_subtitle": True,
    }


@pytest.mark.parametrize(
    ("factor", "steps"), [(0.5, -500), (1.0, 0), (2.0, 500), (2**0.5, 250), (0.8, -161)]
)
def test_factors_on_the_protocols_scale(factor: float, steps: int) -> None:
    assert rate_steps(factor) == steps


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-o", "a.wav"], "wav"),
        (["-o", "a.MP3"], "mp3"),
        (["-o", "a.ogg"], "opus"),
        (["-o", "a.raw"], "pcm"),
        (["-o", "a.bin", "--format", "flac"], "flac"),
        (["-o", "-"], "wav"),
        (["-o", "-", "--format", "pcm"], "pcm"),
        ([], "wav"),
        (["--format", "mp3"], "mp3"),
    ],
)
def test_the_format_is_the_files(
    cosystream: Cosystream, arguments: list[str], expected: str
) -> None:
    with FakeServer() as server:
        cosystream("say", TEXT, "--url", server.url, *arguments)
    assert server.heard[0]["payload"]["format"] == expected


def test_without_a_player_it_goes_to_speech_wav(cosystream: Cosystream, tmp_path: Path) -> None:
    with FakeServer() as server:
        outcome = cosystream("say", TEXT, "--url", server.url)
    assert outcome.err.startswith("speech.wav: ")
    assert (tmp_path / "speech.wav").exists()


def test_with_a_player_it_is_played(
    cosystream: Cosystream, install_player: Callable[..., Path], tmp_path: Path
) -> None:
    heard = install_player("aplay")
    with FakeServer() as server:
        outcome = cosystream("say", TEXT, "--url", server.url, "--rate", "16000")
    assert outcome.err.startswith("aplay: 0.60 s of speech")
    assert heard.read_bytes() == bytes(len(TEXT) * 2 * 1600)
    assert "-r 16000" in (tmp_path / "arguments").read_text()
    assert not (tmp_path / "speech.wav").exists()


def test_a_player_hears_a_wav_file_without_its_header(
    cosystream: Cosystream, install_player: Callable[..., Path], tmp_path: Path
) -> None:
    heard = install_player("ffplay")
    with FakeServer() as server:
        outcome = cosystream("say", TEXT, "-o", "a.wav", "--play", "--url", server.url)
    assert outcome.err.startswith("a.wav, ffplay: ")
    assert heard.read_bytes() == bytes(2 * SAMPLES)
    assert (tmp_path / "a.wav").stat().st_size == 44 + 2 * SAMPLES


def test_a_player_without_standard_input_gets_a_file(
    cosystream: Cosystream, install_player: Callable[..., Path]
) -> None:
    heard = install_player("afplay", '/bin/cat "$1" > "$HOME_OF_TEST/heard"')
    with FakeServer() as server:
        assert cosystream("say", TEXT, "--url", server.url).code == 0
    with wave.open(str(heard)) as file:
        assert file.getnframes() == SAMPLES


def test_a_player_that_fails_is_told(
    cosystream: Cosystream, install_player: Callable[..., Path]
) -> None:
    install_player("aplay", "echo 'cannot find card 0' >&2; exit 1")
    with FakeServer() as server:
        outcome = cosystream("say", TEXT * 1000, "--url", server.url)
    assert outcome.code == 1
    assert outcome.err == (
        "cosystream: aplay cannot play: cannot find card 0; write a file with -o instead\n"
    )


def test_standard_output_is_the_audio_alone(cosystream: Cosystream) -> None:
    with FakeServer() as server:
        outcome = cosystream("say", TEXT, "-o", "-", "--url", server.url)
    assert outcome.out == wav_header(24000) + bytes(2 * SAMPLES)
    assert outcome.err.startswith("standard output: 0.60 s")


@pytest.mark.parametrize(("ending", "separator"), [("srt", ","), ("vtt", ".")])
def test_subtitles_are_written(
    cosystream: Cosystream, tmp_path: Path, ending: str, separator: str
) -> None:
    with FakeServer() as server:
        arguments = ["-o", "a.wav", "--subtitles", f"a.{ending}", "--url", server.url]
        outcome = cosystream("say", TEXT, *arguments)
    assert outcome.code == 0, outcome.err
    cue = f"1\n00:00:00{separator}000 --> 00:00:00{separator}600\n{TEXT}\n"
    assert (tmp_path / f"a.{ending}").read_text(encoding="utf-8").endswith(cue)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-o", "a.xyz"], "the ending says no format"),
        (["-o", "a.wav", "--subtitles", "a.txt"], "neither .srt nor .vtt"),
        (["--url", "ftp://x"], "not of the form"),
        (["--speed", "3"], "speed"),
        (["--volume", "101"], "volume"),
        (["--format", "ogg"], "format"),
        (["--bogus"], "bogus"),
        (["-o", "a.wav", "more"], "more"),
    ],
)
def test_wrong_usage(cosystream: Cosystream, arguments: list[str], complaint: str) -> None:
    outcome = cosystream("say", TEXT, *arguments)
    assert outcome.code == 2
    assert complaint in outcome.err


def test_an_option_is_not_spoken(cosystream: Cosystream) -> None:
    outcome = cosystream("say", "--bogus")
    assert (outcome.code, outcome.err) == (2, "cosystream: unknown option --bogus\n")


def test_compressed_audio_is_not_played(
    cosystream: Cosystream, install_player: Callable[..., Path]
) -> None:
    install_player("aplay")
    outcome = cosystream("say", TEXT, "--format", "mp3", "--play")
    assert (outcome.code, "cannot be played directly" in outcome.err) == (2, True)


def test_play_needs_a_player(cosystream: Cosystream) -> None:
    outcome = cosystream("say", TEXT, "--play")
    assert outcome.code == 1
    assert "no player found" in outcome.err


def test_a_folder_that_does_not_exist(cosystream: Cosystream) -> None:
    outcome = cosystream("say", TEXT, "-o", "nowhere/a.wav")
    assert outcome.code == 1
    assert "the directory nowhere does not exist" in outcome.err


def test_a_server_that_is_not_there(cosystream: Cosystream) -> None:
    with FakeServer() as server:
        url = server.url
    outcome = cosystream("say", TEXT, "-o", "a.wav", "--url", url)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert (
        "Connection refused; is the server running? Start it with `cosystream serve`" in outcome.err
    )
    assert not Path("a.wav").exists()


def test_a_refused_token_says_what_to_do(cosystream: Cosystream) -> None:
    with FakeServer(refuse=http.HTTPStatus.FORBIDDEN) as server:
        outcome = cosystream("say", TEXT, "-o", "a.wav", "--url", server.url)
    assert outcome.code == 1
    assert "The token 'x' is invalid!" in outcome.err
    assert "--token" in outcome.err


def _fails_after_audio(talk: Talk) -> None:
    talk.hear()
    talk.tell("SynthesisStarted")
    talk.hear()
    talk.send(wav_header(24000) + bytes(4800))
    talk.tell("TaskFailed", 50000000, "GATEWAY|SERVER_ERROR!")


def test_what_came_before_a_failure_is_kept_and_readable(cosystream: Cosystream) -> None:
    with FakeServer(_fails_after_audio) as server:
        outcome = cosystream("say", TEXT, "-o", "a.wav", "--url", server.url)
    assert outcome.code == 1
    assert "GATEWAY|SERVER_ERROR! (status 50000000)" in outcome.err
    with wave.open("a.wav") as file:
        assert file.getnframes() == 2400


def test_a_text_without_anything_to_say(cosystream: Cosystream) -> None:
    def completes(talk: Talk) -> None:
        talk.hear()
        talk.tell("SynthesisStarted")
        while talk.hear()["header"]["name"] != "StopSynthesis":
            pass
        talk.tell("SynthesisCompleted")

    with FakeServer(completes) as server:
        outcome = cosystream("say", "。", "-o", "a.wav", "--url", server.url)
    assert outcome.code == 1
    assert "nothing to speak" in outcome.err
    assert not Path("a.wav").exists()


def test_a_long_text_is_sent_in_pieces_that_the_protocol_allows(cosystream: Cosystream) -> None:
    text = "长" * 12_000
    with FakeServer() as server:
        assert cosystream("say", text, "-o", "a.pcm", "--url", server.url).code == 0
    pieces = [m["payload"]["text"] for m in server.heard if m["header"]["name"] == "RunSynthesis"]
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 5000


def test_standard_input_is_spoken_before_it_ends() -> None:
    with (
        FakeServer() as server,
        running(
            *("say", "-", "-o", "-", "--format", "pcm", "--url", server.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("你好".encode()[:4])
        process.stdin.flush()
        assert process.stdout.read(4800) == bytes(4800)  # 你 alone: the rest is half a character
        process.stdin.write("你好".encode()[4:])
        process.stdin.flush()
        assert process.stdout.read(4800) == bytes(4800)
        process.stdin.close()
        assert process.wait(WAIT_S) == 0
    spoken = [m["payload"]["text"] for m in server.heard if m["header"]["name"] == "RunSynthesis"]
    assert spoken == ["你", "好"]


@pytest.mark.anyio
async def test_standard_input_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text(TEXT, encoding="utf-8")
    with path.open("rb") as file:
        assert "".join([piece async for piece in read_pieces(file.fileno())]) == TEXT


@pytest.mark.anyio
async def test_standard_input_that_is_not_utf8(cosystream: Cosystream) -> None:
    from server.commands.failure import CommandError

    read, write = os.pipe()
    try:
        os.write(write, b"\xff\xfe")
        with pytest.raises(CommandError, match="not UTF-8"):
            await anext(read_pieces(read))
    finally:
        os.close(read)
        os.close(write)


def test_ctrl_c_ends_at_once_with_130_and_leaves_a_whole_file(tmp_path: Path) -> None:
    spoken = threading.Event()

    def speaks_on(talk: Talk) -> None:
        talk.hear()
        talk.tell("SynthesisStarted")
        talk.hear()
        talk.send(wav_header(24000) + bytes(4800))
        spoken.set()
        talk.hear()
        talk.hear()

    path = tmp_path / "a.wav"
    with (
        FakeServer(speaks_on) as server,
        running("say", TEXT, "-o", str(path), "--url", server.url) as process,
    ):
        assert spoken.wait(WAIT_S)
        deadline_s = time.monotonic() + WAIT_S
        while not path.exists() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
        assert server.left.wait(WAIT_S)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    with wave.open(str(path)) as file:
        assert file.getnframes() == 2400


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def _tally() -> Tally:
    tally = Tally("wav", 24000)
    tally.first_text_s, tally.first_audio_s, tally.last_audio_s = 10.0, 10.043, 10.5
    tally.audio_bytes, tally.header_bytes = 48_044, 44
    return tally


def test_the_summary_has_latency_and_real_time_factor() -> None:
    tally = _tally()
    assert describe(tally, tally.audio_s) == (
        "1.00 s of speech (wav, 24000 Hz), first audio after 43 ms, RTF 0.500"
    )


def test_compressed_audio_of_unknown_length_is_told_in_bytes() -> None:
    tally = Tally("mp3", 24000, audio_bytes=1234)
    assert tally.audio_s is None
    assert describe(tally, None) == "1234 bytes (mp3, 24000 Hz)"


def test_progress_is_redrawn_on_a_terminal_and_cleared() -> None:
    terminal = _Terminal()
    progress = Progress(terminal)
    progress.show(_tally())
    progress.clear()
    drawn = terminal.getvalue()
    assert "1.00 s of speech" in drawn
    assert drawn.endswith("\r\x1b[K")


def test_progress_is_not_drawn_into_files() -> None:
    file = StringIO()
    progress = Progress(file)
    progress.show(_tally())
    progress.clear()
    assert file.getvalue() == ""


def test_the_first_failure_ends_the_other_work() -> None:
    from server.commands.speaking import together

    ended = []

    async def fails() -> None:
        raise ValueError("first")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(ValueError, match="first"):
        asyncio.run(together(waits(), fails()))
    assert ended
