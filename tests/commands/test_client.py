"""The client against a server that behaves, and against servers that do not."""

from __future__ import annotations

import asyncio
import http
import threading
from collections.abc import Callable

import pytest
from fake_server import FakeServer, Talk, speaks

from server.client import (
    Audio,
    ClientError,
    Completed,
    ConnectError,
    ConnectionLostError,
    FlowingClient,
    SentenceBegin,
    SentenceEnd,
    ServerMessageError,
    ServerSilentError,
    Subtitle,
    TaskFailed,
    TaskOptions,
)
from server.client.messages import parse_message

pytestmark = pytest.mark.anyio
PCM = TaskOptions(format="pcm", sample_rate=24000)
SOON_S = 0.05
"""A deadline that shall pass."""


async def _listen(client: FlowingClient) -> None:
    async for _ in client:
        pass


async def _send_for_ever(client: FlowingClient) -> None:
    while True:
        await client.send("text")


async def test_a_task_from_start_to_completed() -> None:
    with FakeServer() as server:
        async with await FlowingClient.connect(server.url) as client:
            await client.start(PCM)
            await client.send("你好")
            await client.send("")
            await client.flush()
            await client.stop()
            events = [event async for event in client]
    assert [type(event) for event in events] == [SentenceBegin, Audio, SentenceEnd, Completed]
    assert len(events[1].data) == 2 * 2 * 2400  # type: ignore[attr-defined]
    assert server.said == ["StartSynthesis", "RunSynthesis", "FlushText", "StopSynthesis"]
    assert events[0].at_s <= events[1].at_s <= events[3].at_s


async def test_every_message_has_a_full_header_and_one_task_id() -> None:
    with FakeServer() as server:
        async with await FlowingClient.connect(server.url, "secret") as client:
            await client.start(PCM)
            await client.stop()
            await _listen(client)
    headers = [message["header"] for message in server.heard]
    assert {header["namespace"] for header in headers} == {"FlowingSpeechSynthesizer"}
    assert len({header["task_id"] for header in headers}) == 1
    assert len({header["message_id"] for header in headers}) == len(headers)
    assert all(len(header["task_id"]) == 32 and header["appkey"] for header in headers)


async def test_only_what_differs_from_the_default_is_sent() -> None:
    with FakeServer() as server:
        async with await FlowingClient.connect(server.url) as client:
            await client.start(TaskOptions(voice="x", format="pcm", volume=70))
    assert server.heard[0]["payload"] == {"voice": "x", "format": "pcm", "volume": 70}


async def test_two_tasks_on_one_connection() -> None:
    with FakeServer() as server:
        async with await FlowingClient.connect(server.url) as client:
            for text in ("一", "二二"):
                await client.start(PCM)
                await client.send(text)
                await client.stop()
                audio = [event.data async for event in client if isinstance(event, Audio)]
                assert len(b"".join(audio)) == len(text) * 4800
    assert len({message["header"]["task_id"] for message in server.heard}) == 2


async def test_audio_is_read_while_the_caller_only_sends() -> None:
    """100 sentences of 5 s do not fit into any socket's buffers."""
    with FakeServer() as server:
        async with await FlowingClient.connect(server.url) as client:
            await client.start(PCM)
            for _ in range(100):
                await client.send("五个字的话" * 10)
            await client.stop()
            size = sum([len(event.data) async for event in client if isinstance(event, Audio)])
    assert size == 50 * 4800 * 100


def _fails(talk: Talk) -> None:
    talk.hear()
    talk.tell("TaskFailed", 40000003, "Invalid voice name 'x'!")
    talk.close()


def _closes_at_once(talk: Talk) -> None:
    talk.hear()
    talk.close(1011)


def _babbles(talk: Talk) -> None:
    talk.hear()
    talk.send("hello")
    talk.hear()


def _is_silent(talk: Talk) -> None:
    talk.hear()
    talk.hear()


@pytest.mark.parametrize(
    ("behave", "kind", "message"),
    [
        (_fails, TaskFailed, "Invalid voice name 'x'! (status 40000003)"),
        (_closes_at_once, ConnectionLostError, "1011"),
        (_babbles, ServerMessageError, "no message"),
        (_is_silent, ServerSilentError, "0.05 s"),
    ],
)
async def test_a_start_that_fails(
    behave: Callable[[Talk], None], kind: type[ClientError], message: str
) -> None:
    with FakeServer(behave) as server:
        async with await FlowingClient.connect(server.url, inactivity_timeout_s=SOON_S) as client:
            with pytest.raises(kind) as failure:
                await client.start(PCM)
    assert message in str(failure.value)


async def test_sending_to_a_failed_task_tells_why_it_failed() -> None:
    closed = threading.Event()

    def fails_later(talk: Talk) -> None:
        talk.hear()
        talk.tell("SynthesisStarted")
        talk.tell("TaskFailed", 40000004, "idle")
        talk.close()
        closed.set()

    with FakeServer(fails_later) as server:
        async with await FlowingClient.connect(server.url) as client:
            await client.start(PCM)
            await asyncio.to_thread(closed.wait, 5)
            with pytest.raises(TaskFailed, match="idle"):
                await _send_for_ever(client)
            with pytest.raises(TaskFailed, match="idle"):
                await client.stop()
            with pytest.raises(TaskFailed, match="idle"):
                await _listen(client)


async def test_a_server_may_be_silent_while_it_has_no_text() -> None:
    """Nothing is due before `stop`, however long the text takes."""
    with FakeServer() as server:
        async with await FlowingClient.connect(server.url, inactivity_timeout_s=SOON_S) as client:
            await client.start(PCM)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_listen(client), 4 * SOON_S)
            await client.stop()
            assert [type(event) async for event in client] == [Completed]


async def test_a_server_that_stops_in_the_middle_is_given_up() -> None:
    def hangs(talk: Talk) -> None:
        talk.hear()
        talk.tell("SynthesisStarted")
        talk.hear()
        talk.send(b"\0\0")
        while True:
            talk.hear()

    with FakeServer(hangs) as server:
        async with await FlowingClient.connect(server.url, inactivity_timeout_s=SOON_S) as client:
            await client.start(PCM)
            await client.stop()
            with pytest.raises(ServerSilentError):
                await _listen(client)


async def test_a_task_may_not_last_for_ever() -> None:
    with FakeServer() as server:
        async with await FlowingClient.connect(server.url, overall_timeout_s=SOON_S) as client:
            await client.start(PCM)
            with pytest.raises(ServerSilentError, match="did not complete"):
                await _listen(client)


async def test_closing_in_the_middle_is_heard_by_the_server() -> None:
    with FakeServer() as server:
        async with await FlowingClient.connect(server.url) as client:
            await client.start(PCM)
            await client.send("你好")
        assert await asyncio.to_thread(server.left.wait, 5)


async def test_nobody_listens() -> None:
    with FakeServer() as server:
        url = server.url
    with pytest.raises(ConnectError) as failure:
        await FlowingClient.connect(url)
    assert failure.value.status is None
    assert url in str(failure.value)


async def test_a_refused_handshake_tells_status_and_reason() -> None:
    with (
        FakeServer(speaks, refuse=http.HTTPStatus.FORBIDDEN) as server,
        pytest.raises(ConnectError, match="ACCESS_DENIED") as failure,
    ):
        await FlowingClient.connect(server.url)
    assert failure.value.status == 403


@pytest.mark.parametrize("url", ["http://x", "ws://", "nonsense", "ws://127.0.0.1:99999/"])
async def test_what_is_no_url_is_a_connect_error(url: str) -> None:
    with pytest.raises(ConnectError):
        await FlowingClient.connect(url)


def test_unknown_messages_and_fields_are_passed_over() -> None:
    assert parse_message('{"header":{"name":"MetaInfo","x":1},"payload":null}', 1.0) is None
    event = parse_message(
        '{"header":{"name":"SentenceEnd"},"payload":{"subtitles":[{"n":1}]}}', 2.0
    )
    assert event == SentenceEnd(2.0, 0, (Subtitle(),))


def test_status_text_stands_in_for_status_message() -> None:
    with pytest.raises(TaskFailed, match="only text"):
        parse_message('{"header":{"name":"TaskFailed","status":4,"status_text":"only text"}}', 0.0)
