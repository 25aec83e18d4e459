"""One-shot and long synthesis over real sockets, on the sine model: 0.1 s per character."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flowing import FlowingSocket, eventually, samples_of
from server_process import ServerProcess
from sine_model import sine_samples
from slow_sine import SlowSine

from server.keys import FILE_NAME, KeyStore

pytestmark = pytest.mark.anyio

SHORT, LONG, FLOWING = "SpeechSynthesizer", "SpeechLongSynthesizer", "FlowingSpeechSynthesizer"
BOTH = pytest.mark.parametrize("namespace", [SHORT, LONG])
TEXT = "一二三四五六七八。九十一二三四五六。七八九十一二三四。"


async def start(client: FlowingSocket, namespace: str, text: str, **payload: Any) -> None:
    client.task_id = uuid.uuid4().hex
    payload = {"voice": "sine", "text": text, **payload}
    await client.send("StartSynthesis", payload, namespace=namespace)


async def speak(url: str, namespace: str, text: str, **payload: Any) -> FlowingSocket:
    """A whole task on a connection of its own."""
    async with FlowingSocket(url) as client:
        await start(client, namespace, text, **payload)
        await client.until("SynthesisCompleted")
        return client


def payloads(client: FlowingSocket, name: str) -> list[dict[str, Any]]:
    messages = [one for one in client.received if isinstance(one, dict)]
    return [one["payload"] for one in messages if one["header"]["name"] == name]


@BOTH
@pytest.mark.parametrize("path", ["/ws/v1/tts", "/ws/v1"])
async def test_all_of_the_text_is_one_file(
    sine_server: ServerProcess, path: str, namespace: str
) -> None:
    url = f"ws://{sine_server.address}{path}"
    client = await speak(url, namespace, TEXT, sample_rate=24000)
    heard, expected = samples_of(client.audio), sine_samples(len(TEXT))
    assert len(heard) == len(expected)
    assert np.abs(heard - expected).max() < 2 / 32768
    assert client.names == ["SynthesisStarted", "SynthesisCompleted"]
    for message in client.received:
        if isinstance(message, dict):
            assert message["header"]["namespace"] == namespace, "the Go SDK exits"
            assert message["header"]["task_id"] == client.task_id
    assert all(0 < len(one) <= 65536 for one in client.received if isinstance(one, bytes))


@BOTH
async def test_the_gateways_300_characters_are_no_limit(
    sine_server: ServerProcess, namespace: str
) -> None:
    text = "一二三四五六七八九。" * 40
    client = await speak(sine_server.flowing_url, namespace, text, sample_rate=8000)
    assert len(client.audio) / 2 / 8000 == pytest.approx(40.0, abs=0.01)


async def test_wav_has_one_header(sine_server: ServerProcess) -> None:
    client = await speak(sine_server.flowing_url, SHORT, TEXT, format="wav")
    assert client.audio.startswith(b"RIFF")
    assert client.audio.count(b"RIFF") == 1
    assert len(client.audio) == pytest.approx(44 + 2 * 2.7 * 16000, abs=4)


@BOTH
async def test_timestamps_come_by_the_sentence(sine_server: ServerProcess, namespace: str) -> None:
    client = await speak(sine_server.flowing_url, namespace, TEXT, enable_subtitle=True)
    assert client.names == ["SynthesisStarted", *["MetaInfo"] * 3, "SynthesisCompleted"]
    groups = [payload["subtitles"] for payload in payloads(client, "MetaInfo")]
    sentences = [one for group in groups for one in group if one.get("sentence")]
    words = [one for group in groups for one in group if not one.get("sentence")]
    assert "".join(word["text"] for word in words) == TEXT.replace("。", "")
    assert all(TEXT[one["begin_index"] : one["end_index"]] == one["text"] for one in words)
    for word in words:
        assert word["begin_time"] == pytest.approx(100 * word["begin_index"], abs=1)
        assert word["phoneme"] == "null"
    if namespace == SHORT:
        assert all("sentence" not in word for word in words)
        return
    assert all(word["sentence"] is False for word in words)
    assert [(one["begin_time"], one["end_time"]) for one in sentences] == [
        (0, 900),
        (900, 1800),
        (1800, 2700),
    ]
    assert all(group[0]["sentence"] for group in groups)


async def test_timestamps_of_a_sentence_follow_its_audio(sine_server: ServerProcess) -> None:
    client = await speak(sine_server.flowing_url, LONG, TEXT, enable_subtitle=True)
    heard_bytes = 0
    for message in client.received:
        if isinstance(message, bytes):
            heard_bytes += len(message)
        elif message["header"]["name"] == "MetaInfo":
            end_ms = message["payload"]["subtitles"][-1]["end_time"]
            assert heard_bytes / 32 >= end_ms - 100, "less than a frame is held back"


async def test_documents_and_plain_text_follow_each_other(sine_server: ServerProcess) -> None:
    """In long texts several `<speak>` are allowed, and text between them."""
    text = (
        "一二三四五。<speak>六七八九十。<break time='500ms'/>一二三四五。</speak>"
        "\n六七八九十。<speak rate='500'>一二三四五六七八九十。</speak>十。"
    )
    client = await speak(sine_server.flowing_url, LONG, text, enable_subtitle=True)
    words = [
        one["text"]
        for payload in payloads(client, "MetaInfo")
        for one in payload["subtitles"]
        if not one["sentence"]
    ]
    assert "".join(words) == "一二三四五六七八九十一二三四五六七八九十一二三四五六七八九十十"
    seconds = len(client.audio) / 2 / 16000
    assert seconds == pytest.approx(0.6 + 0.6 + 0.5 + 0.6 + 0.6 + 0.55 + 0.2, abs=0.2)


async def test_ssml_is_read_without_being_asked_for(sine_server: ServerProcess) -> None:
    document = "<speak>一二三。</speak>"
    spoken = await speak(sine_server.flowing_url, SHORT, document)
    assert len(spoken.audio) / 2 / 16000 == pytest.approx(0.4, abs=0.01)
    plain = await speak(
        sine_server.flowing_url, SHORT, document, enable_ssml=False, enable_markdown_filter=False
    )
    assert len(plain.audio) > len(spoken.audio)


@BOTH
@pytest.mark.parametrize("text", ["。。。", "😀", "```\n", "<speak></speak>"])
async def test_nothing_to_say_completes(
    sine_server: ServerProcess, namespace: str, text: str
) -> None:
    client = await speak(sine_server.flowing_url, namespace, text)
    assert client.audio == b""
    assert client.names == ["SynthesisStarted", "SynthesisCompleted"]


async def test_namespaces_take_turns_on_one_connection(sine_server: ServerProcess) -> None:
    async with FlowingSocket(sine_server.flowing_url) as client:
        for namespace in [SHORT, FLOWING, LONG, SHORT, FLOWING]:
            client.received.clear()
            if namespace == FLOWING:
                await client.start(voice="sine")
                await client.run(TEXT)
                await client.stop()
            else:
                await start(client, namespace, TEXT)
            completed = await client.until("SynthesisCompleted")
            assert completed["header"]["namespace"] == namespace
            assert len(client.audio) == pytest.approx(2 * 2.7 * 16000, abs=4)
            assert ("SentenceBegin" in client.names) == (namespace == FLOWING)


@BOTH
async def test_audio_comes_while_the_rest_is_synthesised(
    slow_sine: SlowSine, namespace: str
) -> None:
    before = slow_sine.computed_chunks
    async with FlowingSocket(slow_sine.server.flowing_url) as client:
        await start(client, namespace, TEXT * 10)
        await client.until_audio()
        assert slow_sine.computed_chunks - before < len(TEXT), "not even a tenth of it"
        await client.send("StopSynthesis", {"cancel": True}, namespace=namespace)
        await client.until("SynthesisCompleted")
        await slow_sine.stands_still()
        await start(client, namespace, "一二三。")
        await client.until("SynthesisCompleted")


@BOTH
async def test_a_client_that_vanishes_frees_its_place(slow_sine: SlowSine, namespace: str) -> None:
    async with FlowingSocket(slow_sine.server.flowing_url) as client:
        await start(client, namespace, TEXT * 10)
        await client.until_audio()
        client.socket.transport.abort()
    await eventually(lambda: slow_sine.server.metric("cosystream_active_sessions") == 0)
    await slow_sine.stands_still()


async def test_own_work_is_no_idleness(tmp_path: Path) -> None:
    """The client has said all that it has to say."""
    sine = {"name": "sine", "kind": "sine_model:SineModel", "options": {"compute_delay_s": 0.1}}
    with ServerProcess(
        tmp_path / "log",
        models=json.dumps([sine]),
        idle_timeout_s="0.3",
        text_timeout_s="0.3",
    ) as process:
        client = await speak(process.flowing_url, SHORT, "一二三四五六七八九十。")
    assert "TaskFailed" not in client.names


async def test_idleness_begins_when_the_client_has_its_audio(tmp_path: Path) -> None:
    """Java, C++ and xiaozhi come again on the connection; waiting for us is no time of theirs."""
    sine = {"name": "sine", "kind": "sine_model:SineModel", "options": {"compute_delay_s": 0.1}}
    idle_timeout_s = 0.9
    with ServerProcess(
        tmp_path / "log", models=json.dumps([sine]), idle_timeout_s=str(idle_timeout_s)
    ) as process:
        async with FlowingSocket(process.flowing_url) as client:
            await start(client, SHORT, "一二三四。")
            await client.until("SynthesisCompleted")
            completed_s = time.monotonic()
            assert await client.until_closed() == 1000
        assert time.monotonic() - completed_s > idle_timeout_s - 0.05
    assert "TaskFailed" not in client.names


# --- Misuse ----------------------------------------------------------------------------------


def started(**payload: Any) -> tuple[str, dict[str, Any]]:
    return "StartSynthesis", {"voice": "sine", "text": TEXT, **payload}


@BOTH
@pytest.mark.parametrize(
    ("message", "status"),
    [
        (("StartSynthesis", None), 40010003),
        (started(text=" "), 40010003),
        (started(text=[]), 40010003),
        (started(text="字" * 100_001), 40000003),
        (started(voice="nobody"), 40000003),
        (started(format="ogg"), 40010003),
        (started(sample_rate=12345), 41010101),
        (started(speech_rate=501), 40000003),
        (started(text="please raise"), 51020001),
        (started(text="<speak>a<b></speak>"), 41020001),
        (("Dance", {}), 40010002),
        (("RunSynthesis", {"text": "a"}), 40010002),
        (("StopSynthesis", None), 40010005),
    ],
)
async def test_a_wrong_first_message_is_told_and_the_server_stays_healthy(
    sine_server: ServerProcess, namespace: str, message: tuple[str, Any], status: int
) -> None:
    async with FlowingSocket(sine_server.flowing_url) as client:
        client.task_id = "a" * 32
        await client.send(*message, namespace=namespace)
        assert await client.until_closed() == 1000
    assert client.failure["status"] == status
    assert client.failure["namespace"] == "Default"
    assert client.failure["task_id"] == "a" * 32
    assert sine_server.metric("cosystream_active_sessions") == 0
    assert (await speak(sine_server.flowing_url, namespace, "一二三。")).audio


@pytest.mark.parametrize(
    ("message", "status", "reason"),
    [
        (started(), 40010005, "Got start directive while task is stopping!"),
        (("StopSynthesis", None), 40010005, "Got stop directive while task is stopping!"),
        (("FlushText", None), 40010002, "Unsupported directive 'FlushText' in SpeechSynthesizer!"),
        ("nonsense", 40000002, "Message is not JSON!"),
        (b"\x00", 40000002, "Binary messages"),
    ],
)
async def test_a_wrong_message_ends_the_running_task(
    slow_sine: SlowSine, message: Any, status: int, reason: str
) -> None:
    async with FlowingSocket(slow_sine.server.flowing_url) as client:
        await start(client, SHORT, TEXT)
        await client.until_audio()
        if isinstance(message, tuple):
            await client.send(*message, namespace=SHORT)
        else:
            await client.socket.send(message)
        assert await client.until_closed() == 1000
    assert client.failure["status"] == status
    assert client.failure["task_id"] == client.task_id
    assert reason in client.failure["status_text"]


async def test_a_task_is_stopped_in_its_own_namespace(slow_sine: SlowSine) -> None:
    async with FlowingSocket(slow_sine.server.flowing_url) as client:
        await start(client, SHORT, TEXT)
        await client.until_audio()
        await client.send("StopSynthesis", {"cancel": True}, namespace=LONG)
        assert await client.until_closed() == 1000
    assert client.failure["status"] == 40000002
    assert "Namespace not match" in client.failure["status_text"]


async def test_a_text_that_the_key_does_not_cover(tmp_path: Path) -> None:
    """It is charged whole, before anything of it is spoken."""
    with KeyStore(tmp_path / "data" / FILE_NAME, create=True) as store:
        key = store.add("small", characters_per_day=len(TEXT) + 1)
        with ServerProcess(tmp_path / "log", "--model", "sine=sine_model:SineModel") as process:
            url = f"{process.flowing_url}?token={key}"
            assert (await speak(url, SHORT, TEXT)).audio
            async with FlowingSocket(url) as client:
                await start(client, SHORT, TEXT)
                assert await client.until_closed() == 1000
            assert client.names == ["TaskFailed"]
            assert client.failure["status"] == 40000010
            assert process.metric("cosystream_active_sessions") == 0
