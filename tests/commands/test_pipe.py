"""`cosystream pipe` between a chat server and a speech server."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_server import END, ChatServer, chunk
from command_line import Cosystream
from fake_server import FakeServer, Talk, wav_header
from processes import WAIT_S, running

from server.commands.chat import completions_url, token_of
from server.commands.failure import CommandError


def _spoken(server: FakeServer) -> str:
    said = [m["payload"]["text"] for m in server.heard if m["header"]["name"] == "RunSynthesis"]
    return "".join(said)


def test_an_answer_is_printed_and_spoken(cosystream: Cosystream) -> None:
    with FakeServer() as server, ChatServer(chunk("你好"), chunk("，世界。"), END) as llm:
        llm.feed(END)
        arguments = ["--llm-url", llm.url, "--model", "m", "--url", server.url, "-o", "a.wav"]
        outcome = cosystream("pipe", "打个招呼", "--system", "简短", *arguments)
    assert outcome.code == 0, outcome.err
    assert outcome.out.decode() == "你好，世界。\n"
    assert "first token after " in outcome.err
    assert "a.wav: 0.60 s of speech (wav, 24000 Hz), first audio after " in outcome.err
    assert _spoken(server) == "你好，世界。"
    headers, body = llm.requests[0]
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "简短"},
            {"role": "user", "content": "打个招呼"},
        ],
        "stream": True,
    }
    assert "authorization" not in headers


def test_the_key_comes_from_the_environment(
    cosystream: Cosystream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    with FakeServer() as server, ChatServer(chunk("好"), END) as llm:
        llm.feed(END)
        arguments = ["--llm-url", llm.url, "--model", "m", "--url", server.url, "-o", "a.wav"]
        assert cosystream("pipe", "x", *arguments).code == 0
    assert llm.requests[0][0]["authorization"] == "Bearer sk-1"


ROBUST_STREAM = [
    ": keep-alive\n\n",
    chunk(role="assistant"),
    chunk(role="assistant", content=""),
    chunk(reasoning_content="let me think"),
    'data: {"choices":[{"delta":{"content":null}}]}\n\n',
    chunk("好"),
    'data: {"choices":[{"finish_reason":"stop"}]}\n\n',
    'data: {"choices":[],"usage":{"total_tokens":9}}\n\n',
]


def test_what_real_servers_add_to_the_stream_is_passed_over(cosystream: Cosystream) -> None:
    with FakeServer() as server, ChatServer(*ROBUST_STREAM) as llm:
        llm.feed(END)
        arguments = ["--llm-url", llm.url, "--model", "m", "--url", server.url, "-o", "a.wav"]
        outcome = cosystream("pipe", "x", *arguments)
    assert outcome.code == 0, outcome.err
    assert (outcome.out.decode(), _spoken(server)) == ("好\n", "好")


def test_on_standard_output_the_text_makes_way_for_the_audio(cosystream: Cosystream) -> None:
    with FakeServer() as server, ChatServer(chunk("好")) as llm:
        llm.feed(END)
        arguments = ["--llm-url", llm.url, "--model", "m", "--url", server.url]
        outcome = cosystream("pipe", "x", *arguments, "-o", "-", "--format", "pcm")
    assert outcome.out == bytes(4800)
    assert outcome.err.startswith("好\n")


@pytest.mark.parametrize(
    ("llm", "complaint"),
    [
        (
            lambda: ChatServer(refusal=(401, {"error": {"message": "Incorrect API key"}})),
            "HTTP 401 Incorrect API key",
        ),
        (
            lambda: ChatServer(refusal=(404, {"error": "model 'm' not found"})),
            "HTTP 404 model 'm' not found",
        ),
        (lambda: ChatServer(refusal=(500, {"detail": "x"})), 'HTTP 500 {"detail":"x"}'),
        (
            lambda: ChatServer('data: {"error":{"message":"overloaded"}}\n\n'),
            "the LLM failed: overloaded",
        ),
        (lambda: ChatServer("data: <html>\n\n"), "no chunk of a chat"),
        (lambda: ChatServer(media_type="text/html"), "does not stream"),
    ],
)
def test_a_failing_llm_is_told_in_one_line(
    cosystream: Cosystream, llm: Callable[[], ChatServer], complaint: str
) -> None:
    with FakeServer() as server, llm() as chat:
        arguments = ["--llm-url", chat.url, "--model", "m", "--url", server.url, "-o", "a.wav"]
        outcome = cosystream("pipe", "x", *arguments)
    assert outcome.code == 1
    assert complaint in outcome.err
    assert outcome.err.count("\n") == 1


def test_no_llm_at_all(cosystream: Cosystream) -> None:
    with ChatServer() as llm:
        url = llm.url
    with FakeServer() as server:
        arguments = ["--llm-url", url, "--model", "m", "--url", server.url, "-o", "a.wav"]
        outcome = cosystream("pipe", "x", *arguments)
    assert outcome.code == 1
    assert f"no stream from the LLM at {url}/chat/completions" in outcome.err


def test_no_speech_server_stops_the_llm(cosystream: Cosystream) -> None:
    with FakeServer() as server:
        url = server.url
    with ChatServer(chunk("好")) as llm:
        arguments = ["--llm-url", llm.url, "--model", "m", "--url", url, "-o", "a.wav"]
        outcome = cosystream("pipe", "x", *arguments)
        assert not llm.requests or llm.left.wait(WAIT_S)
    assert outcome.code == 1
    assert "is the server running?" in outcome.err


def test_tokens_are_spoken_while_the_llm_still_writes() -> None:
    with (
        FakeServer() as server,
        ChatServer(chunk("你好")) as llm,
        running(
            *("pipe", "x", "--llm-url", llm.url, "--model", "m"),
            *("--url", server.url, "-o", "-", "--format", "pcm"),
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout is not None
        assert len(process.stdout.read(2 * 4800)) == 2 * 4800
        llm.feed(chunk("世界"))
        assert len(process.stdout.read(2 * 4800)) == 2 * 4800
        llm.feed(END)
        assert process.wait(WAIT_S) == 0


def test_ctrl_c_is_barge_in(tmp_path: Path, install_player: Callable[..., Path]) -> None:
    """The LLM, the speech server and the player stop at once; the file holds what was heard."""
    said_goodbye = threading.Event()

    def speaks_on(talk: Talk) -> None:
        talk.hear()
        talk.tell("SynthesisStarted")
        talk.hear()
        talk.send(wav_header(24000) + bytes(4800))
        try:
            talk.hear()
        finally:
            said_goodbye.set()

    install_player("aplay", 'echo $$ > "$HOME_OF_TEST/playing"; exec /bin/sleep 1000')
    os.mkfifo(tmp_path / "playing")
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:/bin:/usr/bin"}
    with (
        FakeServer(speaks_on) as server,
        ChatServer(chunk("你好")) as llm,
        running(
            *("pipe", "x", "--llm-url", llm.url, "--model", "m", "--url", server.url),
            *("-o", str(tmp_path / "a.wav"), "--play"),
            stdout=subprocess.PIPE,
            environment=environment,
        ) as process,
    ):
        player = int((tmp_path / "playing").read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
        assert said_goodbye.wait(WAIT_S)
        assert llm.left.wait(WAIT_S)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        with pytest.raises(ProcessLookupError):
            os.kill(player, 0)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() == 2400


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://h/v1", "http://h/v1/chat/completions"),
        ("http://h/v1/", "http://h/v1/chat/completions"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions"),
    ],
)
def test_the_url_may_be_the_base_or_the_whole(given: str, expected: str) -> None:
    assert completions_url(given) == expected


@pytest.mark.parametrize("data", ["", " ", "{}", '{"choices":null}', '{"choices":[{}]}'])
def test_events_without_text(data: str) -> None:
    assert token_of(data) == ""


def test_an_error_of_unknown_form_is_shown_as_it_is() -> None:
    with pytest.raises(CommandError, match=r"\[1,2\]"):
        token_of('{"error":[1,2]}')
