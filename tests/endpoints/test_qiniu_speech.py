"""`/voice/tts` through real sockets: streams, formats, cancel, misuse."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from flowing import PATIENCE_S, eventually
from server_process import ServerProcess
from sine_model import sine_samples
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

pytestmark = pytest.mark.anyio

TEXT = "一二三四五六七八九十。"
"""1.1 seconds of the sine."""
ENDLESS = TEXT * 500
HANGS = TEXT + "please hang"
"""A sentence, and one whose first chunk is never computed."""
DEFECT = re.compile("(task|connection) broke|ASGI")
WHOLE_SENTENCES = json.dumps(
    [{"name": "sine", "kind": "sine_model:SineModel", "text_stream": "never"}]
)
"""A sine whose faults are asked for in its text, of which it would look at the first piece only."""


@pytest.fixture(scope="module")
def sine_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("sine-server") / "log"
    with ServerProcess(log, models=WHOLE_SENTENCES) as process:
        yield process


def request(text: str = TEXT, **audio: Any) -> dict[str, Any]:
    return {
        "audio": {"voice_type": "sine", "encoding": "pcm", **audio},
        "request": {"text": text},
    }


def http_url(server: ServerProcess, path: str = "/v1/voice/tts") -> str:
    return f"http://{server.address}{path}"


def opened(server: ServerProcess, path: str = "/v1/voice/tts", **options: Any) -> Any:
    return connect(f"ws://{server.address}{path}", ping_interval=None, **options)


async def receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        message: dict[str, Any] = json.loads(await socket.recv())
    return message


async def receive_all(socket: ClientConnection) -> list[dict[str, Any]]:
    """Everything up to the close, which must be a normal one."""
    messages = []
    try:
        while True:
            messages.append(await receive(socket))
    except ConnectionClosed as closed:
        assert closed.rcvd is not None, "the connection broke"  # noqa: PT017 - the usual end
        assert closed.rcvd.code == 1000  # noqa: PT017
    return messages


async def streamed(server: ServerProcess, message: Any) -> list[dict[str, Any]]:
    async with opened(server) as socket:
        await socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
        return await receive_all(socket)


def audio_of(messages: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(message["data"], validate=True) for message in messages)


def posted(server: ServerProcess, message: dict[str, Any]) -> bytes:
    answer = httpx.post(http_url(server), json=message)
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["data"], validate=True)


async def spoken(server: ServerProcess, how: str, message: dict[str, Any]) -> bytes:
    if how == "http":
        return await asyncio.to_thread(posted, server, message)
    return audio_of(await streamed(server, message))


# --- Speaking --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/voice/tts", "/voice/tts"])
async def test_over_http(sine_server: ServerProcess, path: str) -> None:
    answer = httpx.post(http_url(sine_server, path), json=request())
    assert answer.headers["content-type"] == "application/json"
    reply = answer.json()
    assert reply["reqid"] == answer.headers["x-reqid"]
    assert reply["addition"] == {"duration": "1100"}
    assert (reply["operation"], reply["sequence"]) == ("query", -1)
    assert len(base64.b64decode(reply["data"])) == 2 * sine_samples(len(TEXT)).size


@pytest.mark.parametrize("path", ["/v1/voice/tts", "/voice/tts"])
@pytest.mark.parametrize("frame", [str, str.encode])
async def test_over_a_websocket(sine_server: ServerProcess, path: str, frame: Any) -> None:
    async with opened(sine_server, path) as socket:
        await socket.send(frame(json.dumps(request())))
        messages = await receive_all(socket)
        assert socket.response is not None
        assert messages[0]["reqid"] == socket.response.headers["x-reqid"]
    assert [message["sequence"] for message in messages] == [
        *range(1, len(messages)),
        -len(messages),
    ]
    assert messages[-1]["data"] == ""
    assert messages[-1]["addition"] == {"duration": "1100"}
    assert len(audio_of(messages)) == 2 * sine_samples(len(TEXT)).size


@pytest.mark.parametrize("how", ["http", "websocket"])
@pytest.mark.parametrize(
    ("encoding", "codec"),
    [("wav", "pcm_s16le"), ("mp3", "mp3float"), ("opus", "opus"), ("ogg_opus", "opus"),
     ("aac", "aac"), ("flac", "flac")],
)  # fmt: skip
async def test_every_encoding(
    sine_server: ServerProcess, how: str, encoding: str, codec: str
) -> None:
    file = await spoken(sine_server, how, request(encoding=encoding))
    with av.open(io.BytesIO(file)) as container:
        assert container.streams.audio[0].codec_context.name == codec
        frames = list(container.decode(audio=0))
    assert sum(f.samples for f in frames) / frames[0].sample_rate == pytest.approx(1.1, abs=0.1)


@pytest.mark.parametrize("how", ["http", "websocket"])
@pytest.mark.parametrize(("ratio", "seconds"), [(0.5, 2.2), (1.0, 1.1), (2, 0.55)])
async def test_speed(sine_server: ServerProcess, how: str, ratio: float, seconds: float) -> None:
    pcm = await spoken(sine_server, how, request(speed_ratio=ratio))
    assert len(pcm) / 48_000 == pytest.approx(seconds, rel=0.05)


async def test_the_voice_may_stand_in_the_header(sine_server: ServerProcess) -> None:
    message = request()
    del message["audio"]["voice_type"]
    headers = {"VoiceType": "sine-2"}
    answer = httpx.post(http_url(sine_server), json=message, headers=headers)
    async with opened(sine_server, additional_headers=headers) as socket:
        await socket.send(json.dumps(message))
        pcm = audio_of(await receive_all(socket))
    octave = await spoken(sine_server, "http", request(voice_type="sine-2"))
    assert base64.b64decode(answer.json()["data"]) == pcm == octave


@pytest.mark.parametrize("how", ["http", "websocket"])
async def test_audio_leaves_while_the_rest_is_not_yet_made(tmp_path: Path, how: str) -> None:
    with ServerProcess(tmp_path / "log", models=WHOLE_SENTENCES) as process:
        if how == "http":
            await hear_the_beginning_by_http(process)
        else:
            async with opened(process) as socket:
                await socket.send(json.dumps(request(HANGS)))
                first = await receive(socket)
                assert (first["sequence"], len(first["data"]) > 0) == (1, True)
        # The client has gone away: the model is stopped, too.
        await eventually(lambda: process.metric("cosystream_active_sessions") == 0)
        assert process.metric("cosystream_sessions_total", outcome="cancelled") == 1
        assert not DEFECT.search(process.log.read_text())


async def hear_the_beginning_by_http(server: ServerProcess) -> None:
    async with (
        httpx.AsyncClient(timeout=PATIENCE_S) as client,
        client.stream("POST", http_url(server), json=request(HANGS)) as answer,
    ):
        text = ""
        async for piece in answer.aiter_text():
            text += piece
            if len(text.partition('"data":"')[2]) > 1000:
                return


async def test_fifty_at_once(sine_server: ServerProcess) -> None:
    jobs = [
        spoken(sine_server, how, request(TEXT * (1 + i % 3)))
        for i in range(25)
        for how in ("http", "websocket")
    ]
    sizes = [len(pcm) for pcm in await asyncio.gather(*jobs)]
    once = 2 * sine_samples(len(TEXT)).size
    assert sizes == [once * (1 + i % 3) for i in range(25) for _ in range(2)]
    assert sine_server.metric("cosystream_active_sessions") == 0


# --- Stopping --------------------------------------------------------------------------------


async def test_a_client_that_goes_away_stops_the_model(sine_server: ServerProcess) -> None:
    cancelled = {"protocol": "qiniu-tts", "outcome": "cancelled"}
    before = sine_server.metric("cosystream_sessions_total", **cancelled)
    async with opened(sine_server) as socket:
        await socket.send(json.dumps(request(ENDLESS)))
        await receive(socket)
        assert sine_server.metric("cosystream_active_sessions") == 1
        socket.transport.abort()
        await eventually(lambda: sine_server.metric("cosystream_active_sessions") == 0)
    async with (
        httpx.AsyncClient() as client,
        client.stream("POST", http_url(sine_server), json=request(ENDLESS)) as answer,
    ):
        async for _ in answer.aiter_raw():
            break
        assert sine_server.metric("cosystream_active_sessions") == 1
    await eventually(lambda: sine_server.metric("cosystream_active_sessions") == 0)
    assert sine_server.metric("cosystream_sessions_total", **cancelled) == before + 2
    assert not DEFECT.search(sine_server.log.read_text())


async def test_a_server_that_stops_ends_its_streams(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", models=WHOLE_SENTENCES) as process:
        async with opened(process) as idle, opened(process) as socket:
            await socket.send(json.dumps(request(TEXT * 20)))
            await receive(socket)
            process.terminate()
            messages = await receive_all(socket)
            assert messages[-1]["addition"] == {"duration": "22000"}
            await idle.wait_closed()
            assert idle.close_code == 1001
        assert process.wait() == 0


# --- Misuse ----------------------------------------------------------------------------------

MISUSE: dict[str, tuple[Any, str]] = {
    "malformed JSON": ("{", "message_invalid"),
    "no object": ("[]", "parameter_invalid"),
    "no audio": ({"request": {"text": "a"}}, "parameter_invalid"),
    "no request": ({"audio": {"voice_type": "sine", "encoding": "mp3"}}, "parameter_invalid"),
    "blank text": (request(" "), "text_missing"),
    "nothing to say": (request("。。。"), "text_missing"),
    "endless text": (request("a" * 200_001), "text_too_long"),
    "unknown voice": (request(voice_type="nobody"), "voice_unknown"),
    "no voice": (request(voice_type=""), "parameter_invalid"),
    "unknown encoding": (request(encoding="mp4"), "format_unsupported"),
    "speed out of range": (request(speed_ratio=9), "parameter_invalid"),
    "speed of a wrong type": (request(speed_ratio="fast"), "parameter_invalid"),
}


@pytest.mark.parametrize(("message", "code"), MISUSE.values(), ids=MISUSE.keys())
async def test_misuse(sine_server: ServerProcess, message: Any, code: str) -> None:
    body = message if isinstance(message, str) else json.dumps(message)
    answer = httpx.post(http_url(sine_server), content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert answer.json()["reqid"] == answer.headers["x-reqid"]
    (told,) = await streamed(sine_server, body)
    assert told["error"] == answer.json()["error"]
    assert (told["sequence"], told["data"]) == (0, "")
    assert sine_server.metric("cosystream_active_sessions") == 0


async def test_a_model_that_breaks(sine_server: ServerProcess) -> None:
    answer = httpx.post(http_url(sine_server), json=request("please raise"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_failed")
    # Too late for a status: the body is cut, and no message ends the stream as if it were whole.
    late = request(TEXT + "please raise")
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        httpx.post(http_url(sine_server), json=late)
    messages = await streamed(sine_server, late)
    assert messages[0]["sequence"] == 1
    assert messages[-1]["error"]["code"] == "model_failed"
    assert all(message["sequence"] >= 0 for message in messages)


async def test_a_second_request_on_a_connection(sine_server: ServerProcess) -> None:
    async with opened(sine_server) as socket:
        await socket.send(json.dumps(request(ENDLESS)))
        await receive(socket)
        await socket.send(json.dumps(request()))
        messages = await receive_all(socket)
    assert messages[-1]["error"]["code"] == "state_conflict"
    await eventually(lambda: sine_server.metric("cosystream_active_sessions") == 0)


async def test_connections_that_ask_for_nothing(tmp_path: Path) -> None:
    with ServerProcess(
        tmp_path / "log", models=WHOLE_SENTENCES, idle_timeout_s="0.2", max_connections="1"
    ) as process:
        async with opened(process) as socket:
            refused = httpx.get(
                http_url(process),
                headers={
                    "Connection": "Upgrade",
                    "Upgrade": "websocket",
                    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                    "Sec-WebSocket-Version": "13",
                },
            )
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                429,
                "capacity_exceeded",
            )
            (told,) = await receive_all(socket)
    assert told["error"]["code"] == "idle_timeout"


async def test_other_methods(sine_server: ServerProcess) -> None:
    assert httpx.get(http_url(sine_server)).status_code == 405
    assert httpx.delete(http_url(sine_server, "/voice/list")).status_code == 405


async def test_garbage_breaks_nothing(sine_server: ServerProcess) -> None:
    for frame in [b"", b"\xff" * 1000, "", "null", "\u0000", "[" * 50_000, b"\x11\x11\x10\x00{}"]:
        (told,) = await streamed(sine_server, frame)
        assert told["error"]["code"] in {"message_invalid", "parameter_invalid"}
    assert not DEFECT.search(sine_server.log.read_text())
