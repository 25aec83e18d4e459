"""The Aliyun endpoint over real sockets, on the embedded model and on the sine model."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import numpy as np
import pytest
from flowing import FlowingSocket, eventually, samples_of, speak
from server_process import ServerProcess
from sine_model import sine_samples
from slow_sine import SlowSine
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = pytest.mark.anyio

TEXT = ["今天天气", "很好，我们", "一起去公园散步吧。", "公园里有很多花，", "也有很多人。"]


async def test_speech_comes_before_the_last_piece_of_text(server: ServerProcess) -> None:
    async with FlowingSocket(server.flowing_url) as client:
        await client.start(voice="中文女", sample_rate=22050)
        await client.until("SynthesisStarted")
        for piece in TEXT[:-1]:
            await client.run(piece)
        first = await client.until_audio()
        assert first
        await client.run(TEXT[-1])
        await client.stop()
        await client.until("SynthesisCompleted")
    seconds = len(client.audio) / 2 / 22050
    assert 4 < seconds < 16
    assert np.abs(samples_of(client.audio)).max() > 0.05


async def test_messages_come_in_the_protocols_order(sine_server: ServerProcess) -> None:
    client = await speak(sine_server.flowing_url, "一二三四五六。", "七八九十一二。", voice="sine")
    order = [m["header"]["name"] if isinstance(m, dict) else "audio" for m in client.received]
    squeezed = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    assert squeezed == [
        "SynthesisStarted",
        *["SentenceBegin", "audio", "SentenceEnd"] * 2,
        "SynthesisCompleted",
    ]
    assert {m["header"]["task_id"] for m in client.received if isinstance(m, dict)} == {
        client.task_id
    }
    begins = [
        m["payload"]["index"]
        for m in client.received
        if isinstance(m, dict) and m["header"]["name"] == "SentenceBegin"
    ]
    assert begins == [1, 2]


async def test_sentences_join_without_a_jump(sine_server: ServerProcess) -> None:
    text = "一二三四五六七八。九十一二三四五六。七八九十一二三四。"
    client = await speak(
        sine_server.flowing_url, text, voice="sine", sample_rate=24000, enable_markdown_filter=False
    )
    expected = sine_samples(len(text))
    heard = samples_of(client.audio)
    assert len(heard) == len(expected)
    assert np.abs(heard - expected).max() < 2 / 32768


@pytest.mark.parametrize("path", ["/ws/v1/tts", "/ws/v1"])
async def test_both_paths(sine_server: ServerProcess, path: str) -> None:
    client = await speak(f"ws://{sine_server.address}{path}", "一二三。", voice="sine")
    assert client.audio


async def test_frames_fit_every_sdk(sine_server: ServerProcess) -> None:
    client = await speak(sine_server.flowing_url, "一二三四五六。" * 6, voice="sine")
    sizes = [len(m) for m in client.received if isinstance(m, bytes)]
    assert all(0 < size <= 65536 and size % 2 == 0 for size in sizes)
    assert sum(size == 3200 for size in sizes) > len(sizes) / 2


async def test_run_may_come_before_started(sine_server: ServerProcess) -> None:
    async with FlowingSocket(sine_server.flowing_url) as client:
        await client.start(voice="sine")
        await client.run("一二三。")
        await client.stop()
        await client.until("SynthesisCompleted")
    assert client.names[0] == "SynthesisStarted"


async def test_a_pause_speaks_what_is_there(sine_server: ServerProcess) -> None:
    async with FlowingSocket(sine_server.flowing_url) as client:
        await client.start(voice="sine")
        for piece in ["没有标点", "hello", "还是没有"]:
            await client.run(piece)
            await client.until("SentenceEnd")
        await client.stop()
        await client.until("SynthesisCompleted")


@pytest.mark.parametrize("piece", ["！", "……", "😀", "3.", "```\nx = 1\n", "<think>好。</think>\n"])
async def test_every_piece_gets_its_sentence_end(sine_server: ServerProcess, piece: str) -> None:
    async with FlowingSocket(sine_server.flowing_url) as client:
        await client.start(voice="sine")
        await client.run(piece)
        await client.until("SentenceEnd")
        await client.run("一二三。")
        await client.until("SentenceEnd")


async def test_what_says_nothing_is_no_sentence(sine_server: ServerProcess) -> None:
    text = "```python\nx = 1\ny = 2\n```\n一二三四五六。😀\n\n---\n七八九十一二。"
    client = await speak(sine_server.flowing_url, text, voice="sine")
    assert client.names.count("SentenceBegin") == client.names.count("SentenceEnd") == 2


async def test_flush_text_speaks_at_once(tmp_path: Any) -> None:
    """The linger is a minute here, so only FlushText can be the reason."""
    with ServerProcess(tmp_path / "log", models=SINE, linger_ms="60000") as process:
        async with FlowingSocket(process.flowing_url) as client:
            await client.start(voice="sine")
            await client.run("没有标点")
            await client.send("FlushText")
            await client.until("SentenceEnd")
            assert client.audio


async def test_many_tasks_on_one_connection(sine_server: ServerProcess) -> None:
    async with FlowingSocket(sine_server.flowing_url) as client:
        for _ in range(3):
            await client.start(voice="sine")
            await client.run("一二三。")
            await client.stop()
            await client.until("SynthesisCompleted")
    assert client.names.count("SynthesisStarted") == 3


@pytest.mark.parametrize("text", ["", "   ", "。。。", "😀🎉", "\n\t", "—", "```\n"])
async def test_nothing_to_say_completes(sine_server: ServerProcess, text: str) -> None:
    client = await speak(sine_server.flowing_url, text, voice="sine")
    assert client.audio == b""
    assert client.names == ["SynthesisStarted", "SynthesisCompleted"]


async def test_subtitles_follow_the_text(sine_server: ServerProcess) -> None:
    text = "一二三四五六。七八九十一二。"
    client = await speak(sine_server.flowing_url, text, voice="sine", enable_subtitle=True)
    ends = [
        m["payload"]["subtitles"]
        for m in client.received
        if isinstance(m, dict) and m["header"]["name"] == "SentenceEnd"
    ]
    assert all(item[0]["sentence"] and item[0]["text"] == "" for item in ends)
    assert [(item[0]["begin_index"], item[0]["end_index"]) for item in ends] == [(0, 7), (7, 14)]
    assert ends[0][0]["begin_time"] == 0
    assert ends[0][0]["end_time"] == ends[1][0]["begin_time"] == 700
    assert ends[1][0]["end_time"] == 1400
    words = ends[1][1:]
    assert [word["text"] for word in words] == list("七八九十一二")
    assert [word["begin_time"] for word in words] == [700, 800, 900, 1000, 1100, 1200]
    assert "SentenceSynthesis" in client.names


async def test_speech_rate_moves_subtitles_and_duration(sine_server: ServerProcess) -> None:
    client = await speak(
        sine_server.flowing_url,
        "一二三四五六七八九十。",
        voice="sine",
        enable_subtitle=True,
        speech_rate=500,
    )
    seconds = len(client.audio) / 2 / 16000
    assert seconds == pytest.approx(0.55, abs=0.03)
    last = [m for m in client.received if isinstance(m, dict)][-2]["payload"]["subtitles"]
    assert last[0]["end_time"] == pytest.approx(550, abs=1)


async def test_barge_in_by_stop(slow_sine: SlowSine) -> None:
    async with FlowingSocket(slow_sine.server.flowing_url) as client:
        await client.start(voice="sine")
        await client.run("一二三四五六七八九十" * 10 + "。")
        await client.until_audio()
        await client.stop(cancel=True)
        await client.until("SynthesisCompleted")
        await slow_sine.stands_still()
        await client.start(voice="sine")
        await client.run("一二三。")
        await client.until_audio()


async def test_barge_in_after_stop(slow_sine: SlowSine) -> None:
    async with FlowingSocket(slow_sine.server.flowing_url) as client:
        await client.start(voice="sine")
        await client.run("一二三四五六七八九十" * 10 + "。")
        await client.stop()
        await client.until_audio()
        await client.stop(cancel=True)
        await client.until("SynthesisCompleted")
        await slow_sine.stands_still()


async def test_a_client_that_vanishes_frees_its_place(slow_sine: SlowSine) -> None:
    async with FlowingSocket(slow_sine.server.flowing_url) as client:
        await client.start(voice="sine")
        await client.run("一二三四五六七八九十" * 10 + "。")
        await client.until_audio()
        client.socket.transport.abort()
    await eventually(lambda: slow_sine.server.metric("cosystream_active_sessions") == 0)
    await slow_sine.stands_still()


# --- Misuse ----------------------------------------------------------------------------------

START = ("StartSynthesis", {"voice": "sine"})


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        (["nonsense"], 40000002),
        ([b"\x00\x01"], 40000002),
        (["[" * 100_000], 40000002),
        ([("Dance", {})], 40010002),
        ([("StopSynthesis", None)], 40010005),
        ([START, START], 40010005),
        ([START, ("RunSynthesis", {})], 40010003),
        ([("StartSynthesis", {"voice": "nobody"})], 40000003),
        ([("StartSynthesis", {"voice": "sine", "format": "ogg"})], 40010003),
        ([("StartSynthesis", {"voice": "sine", "sample_rate": 12345})], 41010101),
        ([("StartSynthesis", {"voice": "sine", "volume": 101})], 40000003),
        ([("StartSynthesis", {"voice": "sine", "instruction": "happy"})], 40000003),
        ([START, ("RunSynthesis", {"text": "please raise"})], 51020001),
        (
            [
                ("StartSynthesis", {"voice": "sine", "enable_ssml": True}),
                ("RunSynthesis", {"text": "<speak>a<b></speak>"}),
            ],
            41020001,
        ),
    ],
)
async def test_misuse_is_told_and_the_server_stays_healthy(
    sine_server: ServerProcess, messages: list[Any], status: int
) -> None:
    async with FlowingSocket(sine_server.flowing_url) as client:
        client.task_id = "a" * 32
        for message in messages:
            if isinstance(message, tuple):
                await client.send(*message)
            else:
                await client.socket.send(message)
        assert await client.until_closed() == 1000
    assert client.failure["status"] == status
    assert client.failure["task_id"] in {"a" * 32, ""}
    assert sine_server.metric("cosystream_active_sessions") == 0
    healthy = await speak(sine_server.flowing_url, "一二三。", voice="sine")
    assert healthy.audio


async def test_an_unknown_voice_names_near_ones(sine_server: ServerProcess) -> None:
    async with FlowingSocket(sine_server.flowing_url) as client:
        await client.start(voice="sime")
        await client.until_closed()
    assert "sine" in client.failure["status_message"]


async def test_a_message_over_the_limit_closes_with_1009(sine_server: ServerProcess) -> None:
    async with FlowingSocket(sine_server.flowing_url) as client:
        await client.start(voice="sine")
        with contextlib.suppress(ConnectionClosed):
            await client.run("a" * (2 << 20))
        assert await client.until_closed() == 1009
    await eventually(lambda: sine_server.metric("cosystream_active_sessions") == 0)


# --- Limits, tokens, idle --------------------------------------------------------------------


async def test_tokens(tmp_path: Any) -> None:
    with ServerProcess(tmp_path / "log", "--token", "right-token", models=SINE) as process:
        url = process.flowing_url
        for good in [
            FlowingSocket(url, additional_headers={"X-NLS-Token": "right-token"}),
            FlowingSocket(f"{url}?token=right-token"),
        ]:
            async with good as client:
                await client.start(voice="sine")
                await client.until("SynthesisStarted")
        for bad in [
            FlowingSocket(url),
            FlowingSocket(url, additional_headers={"X-NLS-Token": "wrong-token"}),
        ]:
            async with bad as client:
                await client.start(voice="sine")
                assert await client.until_closed() == 1000
            assert client.failure["status"] == 40000001
            assert client.failure["task_id"] == client.task_id
        assert process.get("/stream/v1/tts/voices").status_code == 403
        assert process.get("/stream/v1/tts/voices?token=right-token").status_code == 200
        assert "right-token" not in process.log.read_text()


async def test_a_handshake_can_be_refused(tmp_path: Any) -> None:
    with ServerProcess(
        tmp_path / "log", models=SINE, tokens="right", token_refusal="handshake"
    ) as process:
        with pytest.raises(InvalidStatus) as caught:
            await connect(process.flowing_url)
        response = caught.value.response
        assert response.status_code == 403
        assert (response.body or b"").startswith(b"Meta:ACCESS_DENIED:")
        assert "content-length" in response.headers


async def test_limits(tmp_path: Any) -> None:
    with ServerProcess(
        tmp_path / "log",
        models=SINE,
        max_sessions="2",
        max_sessions_per_token="1",
        max_connections="4",
        tokens="one,two,three",
    ) as process:
        url = process.flowing_url
        async with (
            FlowingSocket(f"{url}?token=one") as first,
            FlowingSocket(f"{url}?token=two") as second,
        ):
            for client in (first, second):
                await client.start(voice="sine")
                await client.until("SynthesisStarted")
            for token in ["one", "three"]:
                async with FlowingSocket(f"{url}?token={token}") as refused:
                    await refused.start(voice="sine")
                    await refused.until_closed()
                assert refused.failure["status"] == 40000005
            await first.run("一二三。")
            await first.stop()
            await first.until("SynthesisCompleted")
            async with FlowingSocket(f"{url}?token=three") as third:
                await third.start(voice="sine")
                await third.until("SynthesisStarted")
                async with FlowingSocket(f"{url}?token=three"):
                    with pytest.raises(InvalidStatus) as caught:
                        await connect(f"{url}?token=one")
                    assert caught.value.response.status_code == 503


async def test_idle(tmp_path: Any) -> None:
    with ServerProcess(
        tmp_path / "log", models=SINE, idle_timeout_s="0.3", text_timeout_s="0.3"
    ) as process:
        async with FlowingSocket(process.flowing_url) as never_started:
            assert await never_started.until_closed() == 1000
        assert never_started.failure["status"] == 40000004
        async with FlowingSocket(process.flowing_url) as no_text:
            await no_text.start(voice="sine")
            assert await no_text.until_closed() == 1000
        assert no_text.failure["status"] == 40000004
        assert no_text.failure["task_id"] == no_text.task_id
        assert "'StartSynthesis'" in no_text.failure["status_text"]
        done = FlowingSocket(process.flowing_url)
        async with done:
            await done.start(voice="sine")
            await done.run("一二三。")
            await done.stop()
            await done.until("SynthesisCompleted")
            assert await done.until_closed() == 1000
        assert "TaskFailed" not in done.names


async def test_pings_and_own_work_are_no_idleness(tmp_path: Any) -> None:
    slow = json.dumps(
        [
            {
                "name": "sine",
                "kind": "sine_model:SineModel",
                "options": {"compute_delay_s": 0.1},
            }
        ]
    )
    with ServerProcess(
        tmp_path / "log", models=slow, idle_timeout_s="0.3", text_timeout_s="0.3"
    ) as process:
        async with FlowingSocket(process.flowing_url) as client:
            await client.start(voice="sine")
            await client.until("SynthesisStarted")
            for _ in range(8):
                await (await client.socket.ping())
                await asyncio.sleep(0.1)
            await client.run("一二三四五六七八九十。")
            await client.until("SentenceEnd")
            await client.stop()
            await client.until("SynthesisCompleted")


SINE = json.dumps([{"name": "sine", "kind": "sine_model:SineModel", "workers": 1}])
