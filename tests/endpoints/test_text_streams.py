"""Text that goes into the model while the client writes it, over a real WebSocket.

A pause in the text is a minute here, so nothing is spoken because of it.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from flowing import FlowingSocket, eventually, samples_of, speak
from piece_model import Synthesis, read_record
from server_process import ServerProcess
from sine_model import sine_samples

pytestmark = pytest.mark.anyio


class PieceServer:
    """A server whose models write down what they are given."""

    def __init__(self, process: ServerProcess, folder: Path) -> None:
        self.process = process
        self.url = process.flowing_url
        self._folder = folder

    def syntheses(self, model: str) -> list[Synthesis]:
        return read_record(self._folder / model)

    def worker(self, model: str) -> psutil.Process:
        (worker,) = (
            child
            for child in psutil.Process(self.process.pid).children()
            if f'"name":"{model}"' in " ".join(child.cmdline())
        )
        return worker


def settings_of(folder: Path, name: str, **settings: Any) -> dict[str, Any]:
    options = {"name": name, "record_path": str(folder / name), **settings.pop("options", {})}
    return {
        "name": name,
        "kind": "piece_model:PieceModel",
        "workers": 1,
        "options": options,
        **settings,
    }


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PieceServer]:
    folder = tmp_path_factory.mktemp("pieces")
    models = [
        settings_of(folder, "auto", options={"breaks_at": "坏", "stops_at": "停"}),
        settings_of(folder, "always", text_stream="always", voice_text_stream={"sine-2": "never"}),
        settings_of(folder, "never", text_stream="never", voice_text_stream={"nobody": "auto"}),
        settings_of(folder, "plain", text_stream="always", options={"text_stream": False}),
    ]
    with ServerProcess(
        folder / "log", models=json.dumps(models), linger_ms="60000", log_format="json"
    ) as process:
        yield PieceServer(process, folder)


def sentences_of(client: FlowingSocket) -> list[list[dict[str, Any]]]:
    return [
        message["payload"]["subtitles"]
        for message in client.received
        if isinstance(message, dict) and message["header"]["name"] == "SentenceEnd"
    ]


async def test_audio_comes_before_the_sentence_has_been_written(pieces: PieceServer) -> None:
    async with FlowingSocket(pieces.url) as client:
        await client.start(voice="auto/sine", sample_rate=24000, enable_subtitle=True)
        await client.run("今天")
        await client.until_audio()
        for piece in ["天气", "真的", "很好"]:
            await client.run(piece)
            await client.until_audio()
        assert "SentenceEnd" not in client.names
        await client.run("。")
        await client.until("SentenceEnd")
        await client.stop()
        await client.until("SynthesisCompleted")
    synthesis = pieces.syntheses("auto")[-1]
    assert synthesis.is_streamed
    assert synthesis.is_ended
    assert synthesis.pieces == ["今天", "天气", "真的", "很好", "。"]
    heard, expected = samples_of(client.audio), sine_samples(9)
    assert len(heard) == len(expected)
    assert np.abs(heard - expected).max() < 2 / 32768
    ((sentence, *words),) = sentences_of(client)
    assert (sentence["begin_index"], sentence["end_index"]) == (0, 9)
    assert (sentence["begin_time"], sentence["end_time"]) == (0, 900)
    assert [word["text"] for word in words] == list("今天天气真的很好")
    assert [word["begin_time"] for word in words] == [100 * n for n in range(8)]


async def test_subtitles_on_the_way_know_what_has_been_heard(pieces: PieceServer) -> None:
    async with FlowingSocket(pieces.url) as client:
        await client.start(voice="auto/sine", enable_subtitle=True)
        shown: list[str] = []
        for piece in ["今", "天", "好"]:
            await client.run(piece)
            message = await client.until("SentenceSynthesis")
            shown.append("".join(word["text"] for word in message["payload"]["subtitles"][1:]))
    assert shown == ["今", "今天", "今天好"]


async def test_auto_takes_whole_sentences_where_they_are_there(pieces: PieceServer) -> None:
    before = len(pieces.syntheses("auto"))
    await speak(pieces.url, "一二三四五六。七八九十一二。三四", voice="auto/sine")
    first, second, last = pieces.syntheses("auto")[before:]
    assert (first.is_streamed, second.is_streamed) == (False, False)
    assert [first.text, second.text, last.text] == ["一二三四五六。", "七八九十一二。", "三四"]


async def test_always_takes_every_sentence_so(pieces: PieceServer) -> None:
    before = len(pieces.syntheses("always"))
    client = await speak(
        pieces.url, *"一二三四五六。七八", "九十一二。三四五六七八。", voice="always/sine"
    )
    taken = pieces.syntheses("always")[before:]
    assert [synthesis.text for synthesis in taken] == [
        "一二三四五六。",
        "七八九十一二。",
        "三四五六七八。",
    ]
    assert all(synthesis.is_streamed and synthesis.is_ended for synthesis in taken)
    assert len(client.audio) == 2 * 16000 * 21 // 10
    assert client.names.count("SentenceEnd") == 3


@pytest.mark.parametrize("voice", ["never/sine", "always/sine-2", "plain/sine"])
async def test_others_take_whole_sentences_only(pieces: PieceServer, voice: str) -> None:
    model = voice.partition("/")[0]
    before = len(pieces.syntheses(model))
    await speak(pieces.url, *"一二三四五六。七八九十一二。", voice=voice)
    taken = pieces.syntheses(model)[before:]
    assert [synthesis.text for synthesis in taken] == ["一二三四五六。", "七八九十一二。"]
    assert not any(synthesis.is_streamed for synthesis in taken)


async def test_ssml_is_read_whole(pieces: PieceServer) -> None:
    before = len(pieces.syntheses("always"))
    await speak(
        pieces.url, *"<speak>一二三四五六。</speak>七八", voice="always/sine", enable_ssml=True
    )
    taken = pieces.syntheses("always")[before:]
    assert [synthesis.text for synthesis in taken] == ["一二三四五六。", "七八"]
    assert not any(synthesis.is_streamed for synthesis in taken)


async def test_numbers_are_put_into_words(pieces: PieceServer) -> None:
    before = len(pieces.syntheses("always"))
    text = "现在气温是零下5℃，我们坐8:30的车去iPhone 15的商店。"
    client = await speak(pieces.url, *text, voice="always/sine", enable_subtitle=True)
    said = "".join(synthesis.text for synthesis in pieces.syntheses("always")[before:])
    assert said == "现在气温是零下五摄氏度，我们坐八点三十分的车去iPhone 十五的商店。"
    spans = [(s[0]["begin_index"], s[0]["end_index"]) for s in sentences_of(client)]
    assert (spans[0][0], spans[-1][1]) == (0, len(text))


async def test_a_flush_ends_the_sentence(pieces: PieceServer) -> None:
    async with FlowingSocket(pieces.url) as client:
        await client.start(voice="auto/sine")
        for text in ["没有标点", "还是没有"]:
            await client.run(text)
            await client.until_audio()
            await client.send("FlushText")
            await client.until("SentenceEnd")
        await client.stop()
        await client.until("SynthesisCompleted")
    assert [synthesis.text for synthesis in pieces.syntheses("auto")[-2:]] == [
        "没有标点",
        "还是没有",
    ]


async def test_barge_in_ends_a_model_that_waits_for_text(pieces: PieceServer) -> None:
    async with FlowingSocket(pieces.url) as client:
        for _ in range(2):
            await client.start(voice="auto/sine")
            await client.run("今天天气")
            await client.until_audio()
            await client.stop(cancel=True)
            await client.until("SynthesisCompleted")
    await eventually(lambda: pieces.process.metric("cosystream_parked_streams") == 0)
    await speak(pieces.url, "一二三。", voice="auto/sine")


async def test_a_client_that_vanishes_leaves_nothing_behind(pieces: PieceServer) -> None:
    async with FlowingSocket(pieces.url) as client:
        await client.start(voice="auto/sine")
        await client.run("今天天气")
        await client.until_audio()
        client.socket.transport.abort()
    await eventually(lambda: pieces.process.metric("cosystream_parked_streams") == 0)
    await eventually(lambda: pieces.process.metric("cosystream_active_sessions") == 0)


@pytest.mark.parametrize("text", ["坏", "停"])
async def test_a_model_that_breaks_or_stops_amid_the_text_fails_the_task(
    pieces: PieceServer, text: str
) -> None:
    async with FlowingSocket(pieces.url) as client:
        await client.start(voice="auto/sine")
        await client.run("今天天气")
        await client.until_audio()
        await client.run(text)
        assert await client.until_closed() == 1000
    assert client.failure["status"] == 51020001
    await speak(pieces.url, "一二三。", voice="auto/sine")


async def test_a_worker_that_dies_unheard_is_told_all_the_text_again(pieces: PieceServer) -> None:
    before = len(pieces.syntheses("auto"))
    worker = pieces.worker("auto")
    worker.suspend()
    async with FlowingSocket(pieces.url) as client:
        await client.start(voice="auto/sine", sample_rate=24000)
        await client.run("今天天气")
        await client.until("SentenceBegin")
        await client.run("很好")
        worker.send_signal(signal.SIGKILL)
        await client.run("，我们")
        await client.until_audio()
        await client.stop()
        await client.until("SynthesisCompleted")
    assert "".join(s.text for s in pieces.syntheses("auto")[before:]) == "今天天气很好，我们"
    assert len(samples_of(client.audio)) == 24000 * 9 // 10


def test_wishes_that_cannot_be_fulfilled_are_logged(pieces: PieceServer) -> None:
    lines = [json.loads(line) for line in pieces.process.log.read_text().splitlines()]
    problems = [line["problem"] for line in lines if line["event"] == "setting without effect"]
    assert len(problems) == 2
    assert "'nobody'" in problems[0]
    assert "'plain'" in problems[1]
