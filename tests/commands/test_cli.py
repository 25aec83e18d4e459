"""The program as a whole: names, exit codes, and a real server on the embedded model."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from chat_server import END, ChatServer, chunk
from command_line import Cosystream
from processes import WAIT_S, running
from server_process import ServerProcess

from server.version import __version__

TEXT = "你好，很高兴认识你。今天天气很好。"


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("guarded") / "log", tokens="secret") as process:
        yield process


COMMANDS = ("serve", "say", "pipe", "voices", "doctor", "bench", "keys", "setup", "download")


def test_help_names_every_command(cosystream: Cosystream) -> None:
    outcome = cosystream("--help")
    assert outcome.code == 0
    for command in COMMANDS:
        assert f" {command} " in outcome.out.decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cosystream: Cosystream, command: str) -> None:
    outcome = cosystream(command, "--help")
    assert outcome.code == 0
    assert outcome.out.decode().startswith(f"Usage: cosystream {command}")


def test_version(cosystream: Cosystream) -> None:
    assert cosystream("--version").out.decode().strip() == __version__


def test_an_unknown_command_is_wrong_usage(cosystream: Cosystream) -> None:
    assert cosystream("sing").code == 2


def test_saying_it_to_a_file_with_subtitles(
    cosystream: Cosystream, server_url: str, tmp_path: Path
) -> None:
    outcome = cosystream(
        "say", TEXT, "-o", "a.wav", "--subtitles", "a.srt", "--url", server_url, "--rate", "16000"
    )
    assert outcome.code == 0, outcome.err
    with wave.open(str(tmp_path / "a.wav")) as file:
        length_s = file.getnframes() / file.getframerate()
        assert file.getframerate() == 16000
    assert 2 < length_s < 8
    assert f"a.wav: {length_s:.2f} s of speech (wav, 16000 Hz)" in outcome.err
    subtitles = (tmp_path / "a.srt").read_text(encoding="utf-8")
    assert "你好，很高兴认识你。\n" in subtitles
    assert subtitles.count(" --> ") == 2


@pytest.mark.parametrize("ending", ["mp3", "opus", "aac", "flac"])
def test_compressed_files_are_what_their_ending_says(
    cosystream: Cosystream, server_url: str, tmp_path: Path, ending: str
) -> None:
    outcome = cosystream("say", TEXT, "-o", f"a.{ending}", "--url", server_url)
    assert outcome.code == 0, outcome.err
    assert f"s of speech ({ending}, 24000 Hz), first audio after " in outcome.err
    with av.open(str(tmp_path / f"a.{ending}")) as container:
        codec = container.streams.audio[0].codec_context.name
    assert codec.removesuffix("float") == ending


def test_speed_halves_the_duration(cosystream: Cosystream, server_url: str) -> None:
    sizes = []
    for speed in ("1", "2"):
        arguments = ["-o", "-", "--format", "pcm", "--speed", speed]
        sizes.append(len(cosystream("say", TEXT, *arguments, "--url", server_url).out))
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=0.05)


def test_audio_comes_before_standard_input_is_closed(server_url: str) -> None:
    with running(
        *("say", "-", "-o", "-", "--format", "pcm", "--url", server_url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("你好，很高兴认识你。".encode())
        process.stdin.flush()
        assert len(process.stdout.read(24000)) == 24000
        process.stdin.write("再见。".encode())
        process.stdin.close()
        assert len(process.stdout.read()) > 24000
        assert process.wait(WAIT_S) == 0


def test_an_llms_answer_is_spoken_by_the_real_server(
    cosystream: Cosystream, server_url: str
) -> None:
    with ChatServer(*map(chunk, TEXT)) as llm:
        llm.feed(END)
        arguments = ["--llm-url", llm.url, "--model", "m", "--url", server_url]
        outcome = cosystream("pipe", "x", *arguments, "-o", "a.wav")
    assert outcome.code == 0, outcome.err
    assert outcome.out.decode() == f"{TEXT}\n"
    assert "a.wav: " in outcome.err


def test_an_unknown_voice_is_told_with_its_status(cosystream: Cosystream, server_url: str) -> None:
    outcome = cosystream("say", TEXT, "-o", "a.wav", "--voice", "nobody", "--url", server_url)
    assert outcome.code == 1
    assert "nobody" in outcome.err
    assert "status 40000003" in outcome.err


def test_a_missing_token_says_what_to_do(
    cosystream: Cosystream, guarded_server: ServerProcess
) -> None:
    for command in (["say", TEXT, "-o", "a.wav"], ["voices"]):
        outcome = cosystream(*command, "--url", guarded_server.address)
        assert outcome.code == 1
        assert "give a token with --token" in outcome.err or "give one with --token" in outcome.err


def test_a_token_opens_the_door(
    cosystream: Cosystream, guarded_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_option = cosystream(
        "say", TEXT, "-o", "a.wav", "--token", "secret", "--url", guarded_server.address
    )
    monkeypatch.setenv("COSYSTREAM_TOKEN", "secret")
    monkeypatch.setenv("COSYSTREAM_URL", guarded_server.address)
    by_environment = cosystream("voices", "--json")
    assert (by_option.code, by_environment.code) == (0, 0)
    assert json.loads(by_environment.out)["voices"]


def test_ctrl_c_stops_the_real_servers_task(server: ServerProcess) -> None:
    def cancelled() -> float:
        return server.metric("cosystream_sessions_total", outcome="cancelled")

    before = cancelled()
    with (
        ChatServer(chunk("你好，很高兴认识你。")) as llm,
        running(
            *("pipe", "x", "--llm-url", llm.url, "--model", "m", "--url", server.address),
            *("-o", "-", "--format", "pcm"),
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.read(24000)
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
        assert llm.left.wait(WAIT_S)
    deadline_s = time.monotonic() + WAIT_S
    while cancelled() == before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert cancelled() == before + 1


LONG = "你好，很高兴认识你。" * 40
"""More audio than a pipe holds."""


def test_a_reader_that_leaves_ends_it_quietly(server_url: str) -> None:
    arguments = ("say", LONG, "--url", server_url, "-o", "-", "--format", "pcm")
    with running(*arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1000)
        process.stdout.close()
        assert process.wait(WAIT_S) == 1
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_ctrl_c_is_obeyed_while_the_reader_takes_nothing(server_url: str) -> None:
    arguments = ("say", LONG, "--url", server_url, "-o", "-", "--format", "pcm")
    with running(*arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1000)
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
