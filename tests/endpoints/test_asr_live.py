"""`WS /voice/asr` through real sockets: replies, endings, misuse, loss."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asr_client import AUDIO, AsrSocket, Reply, configuration, frame
from flowing import eventually
from server_process import ServerProcess
from websockets.exceptions import InvalidStatus
from word_recognizer import words

from server.protocols.qiniu_asr_frames import MAX_FRAME_BYTES, AsrErrorCode

pytestmark = pytest.mark.anyio

KIND = "word_recognizer:WordRecognizer"


def tone(n_words: float, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    """Sound of so many words."""
    time_s = np.arange(round(n_words * 0.1 * rate_hz)) / rate_hz
    mono = (16_000 * np.sin(2 * np.pi * 440 * time_s)).astype("<i2")
    return np.repeat(mono, channels).tobytes()


class Listening:
    """A server whose recogniser listens while `gate` is there, and dies of `fuse`."""

    def __init__(self, process: ServerProcess, folder: Path) -> None:
        self.process = process
        self.address = process.address
        self.gate = folder / "gate"
        self.fuse = folder / "fuse"

    async def idle(self) -> None:
        await eventually(lambda: self.process.get("/status").json()["sessions"] == 0)

    def ended(self, outcome: str) -> float:
        return self.process.metric(
            "cosystream_sessions_total", protocol="qiniu-asr", outcome=outcome
        )


def recognizer(folder: Path, **options: Any) -> str:
    settings = {
        "kind": KIND,
        "options": {
            "sample_rate_hz": 16_000,
            "gate": str(folder / "gate"),
            "fuse": str(folder / "fuse"),
            **options,
        },
    }
    return json.dumps(settings)


SINE = ("--model", "sine=sine_model:SineModel")


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    folder = tmp_path_factory.mktemp("listening")
    (folder / "gate").touch()
    with ServerProcess(folder / "log", *SINE, recognizer=recognizer(folder)) as process:
        yield Listening(process, folder)
    log = (folder / "log").read_text()
    assert "Traceback" not in log
    assert "broke" not in log


@pytest.mark.parametrize("path", ["/voice/asr", "/v1/voice/asr"])
async def test_one_reply_to_each_frame_and_the_whole_text_at_the_end(
    listening: Listening, path: str
) -> None:
    async with AsrSocket(listening.address, path) as client:
        replies = [await client.start()]
        replies += [await client.say(tone(1)) for _ in range(9)]
        replies.append(await client.say(tone(1), last=True))
        assert client.socket.response is not None
        reqid = client.socket.response.headers["x-reqid"]
        assert await client.close_code() == 1000
    assert [reply.sequence for reply in replies] == list(range(1, 12))
    assert [reply.last for reply in replies] == [False] * 10 + [True]
    assert {(reply.body["reqid"], reply.body["operation"]) for reply in replies} == {(reqid, "asr")}
    texts = [reply.text for reply in replies]
    assert texts[-1] == words(10)
    assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
    assert replies[-1].body["audio_info"] == {"duration": 1000}


async def test_replies_do_not_wait_for_the_recogniser(listening: Listening) -> None:
    listening.gate.unlink()
    try:
        async with AsrSocket(listening.address) as client:
            await client.start()
            for _ in range(3):
                assert (await client.say(tone(1))).text == ""
            listening.gate.touch()
            assert (await client.say(b"", last=True)).text == words(3)
    finally:
        listening.gate.touch()


@pytest.mark.parametrize(
    "last",
    [frame(AUDIO, tone(1), 3, last=True), frame(AUDIO, tone(1), -3),
     frame(AUDIO, tone(1), -3, last=True), frame(AUDIO, tone(1), last=True)],
    ids=["flag", "negative", "both", "no-sequence"],
)  # fmt: skip
async def test_every_way_to_end(listening: Listening, last: bytes) -> None:
    async with AsrSocket(listening.address) as client:
        await client.start()
        await client.say(tone(1))
        final = await client.ask(last)
        assert (final.text, final.last) == (words(2), True)
        assert abs(final.sequence) == 3
        assert await client.close_code() == 1000


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
async def test_every_rate_and_pieces_of_any_size(
    listening: Listening, rate_hz: int, channels: int
) -> None:
    pcm = tone(10, rate_hz, channels)
    async with AsrSocket(listening.address) as client:
        await client.start(sample_rate=rate_hz, channel=channels)
        for begin in range(0, len(pcm), 7001):
            reply = await client.say(pcm[begin : begin + 7001])
        reply = await client.say(b"", last=True)
    assert reply.text == words(10)
    assert reply.body["audio_info"]["duration"] == pytest.approx(1000, abs=1)


async def test_silence_is_an_empty_text(listening: Listening) -> None:
    async with AsrSocket(listening.address) as client:
        await client.start()
        assert (await client.say(bytes(32_000), last=True)).text == ""


# --- Misuse ----------------------------------------------------------------------------------

PACKED = gzip.compress(b"", mtime=0)
BOMB = frame(AUDIO, bytes(MAX_FRAME_BYTES + 1), 2)
INVALID = AsrErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["{}"], INVALID),
        ([b""], INVALID),
        ([b"\xff" * 40], INVALID),
        ([configuration()[:-1]], INVALID),
        ([configuration() + b"x"], INVALID),
        ([frame(AUDIO, tone(1), 1)], INVALID),
        ([frame(1, b"{", 1)], INVALID),
        ([frame(1, b"[" * 100_000, 1)], INVALID),
        ([frame(1, b"{}", 1)], INVALID),
        ([configuration(format="mp3")], AsrErrorCode.INVALID_AUDIO),
        ([configuration(bits=8)], AsrErrorCode.INVALID_AUDIO),
        ([configuration(sample_rate=1)], AsrErrorCode.INVALID_AUDIO),
        ([configuration(sample_rate=True)], INVALID),
        ([configuration(request={"language": "zh-CN"})], INVALID),
        ([configuration(), configuration(2)], INVALID),
        ([configuration(), BOMB], INVALID),
        ([configuration(), frame(AUDIO, b"", 2).replace(PACKED, b"\0" * 20)], INVALID),
    ],
)  # fmt: skip
async def test_misuse_is_told_and_the_connection_closed(
    listening: Listening, messages: list[str | bytes], code: AsrErrorCode
) -> None:
    async with AsrSocket(listening.address) as client:
        for message in messages[:-1]:
            assert (await client.ask(message)).code == 0
        refused = await client.ask(messages[-1])
        assert refused.code == code
        assert refused.body["error"]["code"] == code
        assert refused.body["error"]["message"]
        assert await client.close_code() == 1000
    await listening.idle()


async def test_a_language_that_is_not_understood_is_named(listening: Listening) -> None:
    async with AsrSocket(listening.address) as client:
        refused = await client.ask(configuration(request={"language": "zh-CN"}))
    assert "'zh-CN' is not understood" in refused.body["error"]["message"]


async def test_what_comes_after_the_end_is_not_answered(listening: Listening) -> None:
    async with AsrSocket(listening.address) as client:
        await client.start()
        await client.socket.send(frame(AUDIO, tone(1), 2, last=True))
        await client.socket.send(frame(AUDIO, tone(1), 3))
        assert (await client.reply()).last
        assert await client.close_code() == 1000


async def test_a_client_that_just_leaves_frees_its_place(listening: Listening) -> None:
    cancelled = listening.ended("cancelled")
    async with AsrSocket(listening.address) as client:
        await client.start()
        await client.say(tone(1))
        client.socket.transport.abort()
    await eventually(lambda: listening.ended("cancelled") == cancelled + 1)
    await listening.idle()


async def test_whoever_sends_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    with ServerProcess(
        tmp_path / "log",
        *SINE,
        recognizer=recognizer(tmp_path),
        idle_timeout_s="0.2",
        text_timeout_s="0.3",
    ) as process:
        for begin in (False, True):
            async with AsrSocket(process.address) as client:
                if begin:
                    await client.start()
                late = await client.reply()
                assert late.code == AsrErrorCode.TIMEOUT
                assert await client.close_code() == 1000


async def test_the_end_of_the_server_is_told(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    with ServerProcess(
        tmp_path / "log", *SINE, recognizer=recognizer(tmp_path), drain_timeout_s="0.2"
    ) as process:
        async with AsrSocket(process.address) as client:
            await client.start()
            process.terminate()
            assert (await client.reply()).code == AsrErrorCode.BUSY
            assert await client.close_code() == 1000


async def test_tokens_are_asked_for_at_the_handshake(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    with ServerProcess(
        tmp_path / "log",
        *SINE,
        recognizer=recognizer(tmp_path),
        tokens="right",
        max_sessions_per_token="1",
    ) as process:
        wrong = AsrSocket(process.address, additional_headers={"Authorization": "Bearer wrong"})
        with pytest.raises(InvalidStatus) as refused:
            await wrong.__aenter__()
        assert refused.value.response.status_code == 401
        right = {"Authorization": "Bearer right"}
        async with AsrSocket(process.address, additional_headers=right) as client:
            assert (await client.start()).code == 0
            async with AsrSocket(process.address, additional_headers=right) as second:
                assert (await second.start()).code == AsrErrorCode.BUSY


# --- Loss ------------------------------------------------------------------------------------


async def test_a_worker_that_dies_before_a_word_costs_nothing(listening: Listening) -> None:
    listening.fuse.write_text("1")
    async with AsrSocket(listening.address) as client:
        await client.start()
        for _ in range(5):
            await client.say(bytes(3200))
        await client.say(tone(2))
        assert (await client.say(b"", last=True)).text == words(2)
    assert not listening.fuse.exists()


async def test_a_worker_that_dies_later_is_told(listening: Listening) -> None:
    listening.fuse.write_text("4")
    async with AsrSocket(listening.address) as client:
        await client.start()
        reply = await client.say(tone(3))
        while reply.text != words(3):
            reply = await client.say(b"")
        await client.socket.send(frame(AUDIO, tone(1), 99))
        while (reply := await client.reply()).code == 0:
            pass
        assert reply.code == AsrErrorCode.INTERNAL
        assert await client.close_code() == 1000
    async with AsrSocket(listening.address) as client:
        await client.start()
        assert (await client.say(tone(1), last=True)).text == words(1)


async def test_a_worker_that_is_killed_is_replaced(listening: Listening) -> None:
    async with AsrSocket(listening.address) as client:
        await client.start()
        await client.say(bytes(3200))
        for pid in _children(listening.process.pid, KIND):
            os.kill(pid, signal.SIGKILL)
        await client.say(tone(1))
        assert (await client.say(tone(1), last=True)).text == words(2)


def _children(pid: int, what: str) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = [int(child) for child in children if what in _command(child)]
    assert found
    return found


def _command(pid: str) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


async def test_many_streams_at_once(listening: Listening) -> None:
    async def stream(n_words: int) -> Reply:
        async with AsrSocket(listening.address) as client:
            await client.start()
            for _ in range(n_words):
                await client.say(tone(1))
            return await client.say(b"", last=True)

    finals = await asyncio.gather(*(stream(number % 7) for number in range(30)))
    assert [final.text for final in finals] == [words(number % 7) for number in range(30)]
    await listening.idle()
