"""`POST /voice/asr` through real sockets: formats, URLs, misuse, load."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from asr_client import AsrSocket
from flowing import PATIENCE_S, FlowingSocket, eventually
from server_process import ServerProcess
from word_recognizer import words

from server.keys import FILE_NAME, KeyStore
from server.protocols.qiniu_asr_frames import AsrErrorCode

pytestmark = pytest.mark.anyio

TEXT = "一二三四五六七八九十。"
"""1.1 seconds of the sine: eleven words for the recogniser."""
LOOPBACK = "127.0.0.1/32"
"""All of it but 127.0.0.1 stays forbidden."""


def served(folder: Path, **settings: str) -> ServerProcess:
    options = {"sample_rate_hz": 16_000, "gate": str(folder / "gate")}
    recognizer = {"kind": "word_recognizer:WordRecognizer", "options": options}
    return ServerProcess(
        folder / "log",
        *("--model", "sine=sine_model:SineModel"),
        recognizer=json.dumps(recognizer),
        **settings,
    )


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recogniser listens while this is there."""
    gate = tmp_path_factory.mktemp("asr") / "gate"
    gate.touch()
    return gate


@pytest.fixture(scope="module")
def listening(gate: Path) -> Iterator[ServerProcess]:
    with served(gate.parent, fetch_networks=LOOPBACK) as process:
        yield process
    log = process.log.read_text()
    assert "Traceback" not in log
    assert "broke" not in log


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        yield client


def inline(data: bytes, **audio: Any) -> dict[str, Any]:
    fields = {"format": "raw", "data": base64.b64encode(data).decode(), **audio}
    return {"model": "asr", "audio": fields}


def tone(n_words: float, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    time_s = np.arange(round(n_words * 0.1 * rate_hz)) / rate_hz
    mono = (16_000 * np.sin(2 * np.pi * 440 * time_s)).astype("<i2")
    return np.repeat(mono, channels).tobytes()


def url_of(server: ServerProcess, path: str = "/v1/voice/asr") -> str:
    return f"http://{server.address}{path}"


async def spoken(server: ServerProcess, client: httpx.AsyncClient, encoding: str) -> bytes:
    request = {"audio": {"voice_type": "sine", "encoding": encoding}, "request": {"text": TEXT}}
    answer = await client.post(url_of(server, "/v1/voice/tts"), json=request)
    return base64.b64decode(answer.json()["data"])


@contextlib.asynccontextmanager
async def place(answer: bytes) -> AsyncIterator[str]:
    """A server on the loopback that gives this answer to everybody; its host and port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def ok(body: bytes, content_type: str = "audio/mpeg") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n".encode() + body


# --- Recordings ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/voice/asr", "/v1/voice/asr"])
async def test_the_answer_is_typed_as_the_vendor_says(
    listening: ServerProcess, client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.post(url_of(listening, path), json=inline(tone(10)))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "reqid": answer.headers["x-reqid"],
        "operation": "asr",
        "data": {
            "audio_info": {"duration": 1000},
            "result": {"additions": {"duration": "1000"}, "text": words(10)},
        },
    }


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (44_100, 2), (48_000, 1)])
async def test_raw_audio_of_any_rate(
    listening: ServerProcess, client: httpx.AsyncClient, rate_hz: int, channels: int
) -> None:
    body = inline(tone(10, rate_hz, channels), sample_rate=rate_hz, channel=channels)
    answer = await client.post(url_of(listening), json=body)
    assert answer.json()["data"]["result"]["text"] == words(10)


@pytest.mark.parametrize(
    ("encoding", "name"), [("wav", "wav"), ("mp3", "mp3"), ("ogg_opus", "ogg")]
)
async def test_what_the_server_speaks_it_hears(
    listening: ServerProcess, client: httpx.AsyncClient, encoding: str, name: str
) -> None:
    file = await spoken(listening, client, encoding)
    answer = await client.post(url_of(listening), json=inline(file, format=name))
    data = answer.json()["data"]
    # Encoders pad; a tenth of a second more or less is one word.
    assert data["result"]["text"] in {words(11), words(12)}
    assert data["audio_info"]["duration"] == pytest.approx(1100, abs=100)


async def test_a_recording_by_its_address(
    listening: ServerProcess, client: httpx.AsyncClient
) -> None:
    file = await spoken(listening, client, "mp3")
    async with place(ok(file)) as host:
        audio = {"format": "mp3", "url": f"http://{host}/a.mp3"}
        answer = await client.post(url_of(listening), json={"model": "asr", "audio": audio})
    assert answer.json()["data"]["result"]["text"] in {words(11), words(12)}


@pytest.mark.parametrize("data", [bytes(32_000), b"\0"])
async def test_silence_is_an_empty_text(
    listening: ServerProcess, client: httpx.AsyncClient, data: bytes
) -> None:
    answer = await client.post(url_of(listening), json=inline(data))
    assert answer.json()["data"]["result"]["text"] == ""


# --- Misuse ----------------------------------------------------------------------------------

RAW = {"format": "raw", "data": "AAAA"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "message_invalid"),
        (b"{", "message_invalid"),
        (b"[]", "message_invalid"),
        (b"[" * 100_000, "message_invalid"),
        ({}, "parameter_invalid"),
        ({"audio": 1}, "parameter_invalid"),
        ({"audio": {"format": "raw"}}, "parameter_invalid"),
        ({"audio": {**RAW, "url": "http://a.example"}}, "parameter_invalid"),
        ({"audio": {**RAW, "format": "flac"}}, "format_unsupported"),
        ({"audio": {**RAW, "data": "!"}}, "parameter_invalid"),
        ({"audio": {**RAW, "data": 1}}, "parameter_invalid"),
        ({"audio": {**RAW, "sample_rate": 1}}, "sample_rate_unsupported"),
        ({"audio": {**RAW, "sample_rate": "16000"}}, "parameter_invalid"),
        ({"audio": {**RAW, "channel": 3}}, "format_unsupported"),
        ({"audio": {**RAW, "format": "mp3"}}, "parameter_invalid"),
        ({"audio": RAW, "model": "whisper"}, "parameter_invalid"),
        ({"audio": RAW, "model": 1}, "parameter_invalid"),
        ({"audio": RAW, "language": "zh"}, "not_supported"),
        ({"audio": {"format": "mp3", "url": "file:///etc/passwd"}}, "parameter_invalid"),
        ({"audio": {"format": "mp3", "url": "http://"}}, "parameter_invalid"),
    ],
)  # fmt: skip
async def test_misuse_is_told(
    listening: ServerProcess, client: httpx.AsyncClient, body: Any, code: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await client.post(url_of(listening), content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    assert answer.json()["error"]["message"]
    assert answer.json()["reqid"] == answer.headers["x-reqid"]


async def test_a_recording_that_is_too_long(
    listening: ServerProcess, client: httpx.AsyncClient
) -> None:
    body = inline(bytes(301 * 16_000), sample_rate=8000)
    answer = await client.post(url_of(listening), json=body)
    assert answer.status_code == 400
    assert "longer than 300 s" in answer.json()["error"]["message"]


async def test_only_posts_are_answered(listening: ServerProcess, client: httpx.AsyncClient) -> None:
    assert (await client.get(url_of(listening))).status_code == 405


async def test_tokens_and_the_number_of_tasks(tmp_path: Path, client: httpx.AsyncClient) -> None:
    (tmp_path / "gate").touch()
    with served(tmp_path, tokens="right", max_sessions_per_token="1") as process:
        refused = await client.post(url_of(process), json=inline(tone(1)))
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "token_invalid")
        right = {"Authorization": "Bearer right"}
        async with AsrSocket(process.address, additional_headers=right) as socket:
            await socket.start()
            busy = await client.post(url_of(process), json=inline(tone(1)), headers=right)
            assert busy.status_code == 429
            assert int(busy.headers["retry-after"]) >= 1
            await socket.say(b"", last=True)
        answer = await client.post(url_of(process), json=inline(tone(1)), headers=right)
        assert answer.json()["data"]["result"]["text"] == words(1)


async def test_keys_that_are_used_up_or_revoked(tmp_path: Path, client: httpx.AsyncClient) -> None:
    (tmp_path / "gate").touch()
    with (
        served(tmp_path) as process,
        KeyStore(tmp_path / "data" / FILE_NAME, create=True) as store,
    ):
        headers = {"Authorization": f"Bearer {store.add('few', characters_per_day=1)}"}
        body = inline(tone(1))
        assert (await client.post(url_of(process), json=body)).status_code == 401
        assert (await client.post(url_of(process), json=body, headers=headers)).status_code == 200
        # Midnight may pass meanwhile.
        today = datetime.now(UTC).date()
        store.add_usage({("few", today): 1, ("few", today + timedelta(days=1)): 1})
        refused = await client.post(url_of(process), json=body, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota_exceeded")
        async with AsrSocket(process.address, additional_headers=headers) as socket:
            assert (await socket.start()).code == AsrErrorCode.QUOTA
        store.revoke("few")
        assert (await client.post(url_of(process), json=body, headers=headers)).status_code == 401


async def test_without_a_recogniser(tmp_path: Path, client: httpx.AsyncClient) -> None:
    with ServerProcess(
        tmp_path / "log", "--model", "sine=sine_model:SineModel", recognizer__kind="none"
    ) as process:
        answer = await client.post(url_of(process), json=inline(tone(1)))
        assert process.get("/status").json()["workers"][0]["model"] == "sine"
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_supported")


# --- What a URL must not reach ---------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.2:{port}/", "http://localhost.localdomain:{port}/", "http://[::1]:{port}/",
     "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://user@127.0.0.1/"],
)  # fmt: skip
async def test_what_is_not_public_is_not_fetched(
    listening: ServerProcess, client: httpx.AsyncClient, url: str
) -> None:
    async with place(ok(b"secret")) as host:
        audio = {"format": "mp3", "url": url.format(port=host.rpartition(":")[2])}
        answer = await client.post(url_of(listening), json={"audio": audio})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parameter_invalid")
    assert answer.json()["error"]["message"].startswith("audio.url ")
    assert "secret" not in answer.text


async def test_nothing_of_the_loopback_is_fetched_unless_it_is_allowed(
    tmp_path: Path, client: httpx.AsyncClient
) -> None:
    with served(tmp_path) as process:
        async with place(ok(b"secret")) as host:
            for name in (host, f"localhost:{host.rpartition(':')[2]}"):
                audio = {"format": "mp3", "url": f"http://{name}/"}
                answer = await client.post(url_of(process), json={"audio": audio})
                assert answer.status_code == 400
                assert "is not at a public address" in answer.json()["error"]["message"]


async def test_a_redirect_is_checked_as_well(
    listening: ServerProcess, client: httpx.AsyncClient
) -> None:
    async with place(ok(b"secret")) as inside:
        port = inside.rpartition(":")[2]
        redirect = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:{port}/\r\n\r\n"
        async with place(redirect.encode()) as host:
            audio = {"format": "mp3", "url": f"http://{host}/"}
            answer = await client.post(url_of(listening), json={"audio": audio})
    assert answer.status_code == 400
    assert "is not at a public address" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (ok(bytes(21 << 20)), "is over 20971520 bytes"),
        (ok(b"<html>", "text/html"), "is not audio"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answers with HTTP 404"),
        (b"", "cannot be fetched"),
    ],
)
async def test_an_answer_that_is_no_recording(
    listening: ServerProcess, client: httpx.AsyncClient, reply: bytes, reason: str
) -> None:
    async with place(reply) as host:
        audio = {"format": "mp3", "url": f"http://{host}/"}
        answer = await client.post(url_of(listening), json={"audio": audio})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]["message"]


# --- Loss and load ---------------------------------------------------------------------------


async def test_a_client_that_leaves_frees_its_place(
    listening: ServerProcess, client: httpx.AsyncClient, gate: Path
) -> None:
    def cancelled() -> float:
        return listening.metric(
            "cosystream_sessions_total", protocol="qiniu-asr", outcome="cancelled"
        )

    before = cancelled()
    gate.unlink()
    try:
        waiting = asyncio.create_task(client.post(url_of(listening), json=inline(tone(1))))
        await eventually(lambda: listening.get("/status").json()["sessions"] == 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await eventually(lambda: cancelled() == before + 1)
    finally:
        gate.touch()
    await eventually(lambda: listening.get("/status").json()["sessions"] == 0)


async def test_fifty_streams_that_speak_and_listen(
    listening: ServerProcess, client: httpx.AsyncClient
) -> None:
    async def hear_file(n_words: int) -> None:
        answer = await client.post(url_of(listening), json=inline(tone(n_words)))
        assert answer.json()["data"]["result"]["text"] == words(n_words)

    async def hear_live(n_words: int) -> None:
        async with AsrSocket(listening.address) as socket:
            await socket.start()
            for _ in range(n_words):
                await socket.say(tone(1))
            assert (await socket.say(b"", last=True)).text == words(n_words)

    async def speak_file(_: int) -> None:
        assert len(await spoken(listening, client, "pcm")) == 2 * 26_400

    async def speak_live(_: int) -> None:
        async with FlowingSocket(listening.flowing_url) as socket:
            await socket.start(voice="sine", format="pcm", sample_rate=24_000)
            await socket.run(TEXT)
            await socket.stop()
            while "SynthesisCompleted" not in socket.names:
                await socket.receive()

    kinds = [hear_file, hear_live, speak_file, speak_live, hear_live]
    await asyncio.gather(*(kinds[number % 5](number % 9 + 1) for number in range(50)))
    await eventually(lambda: listening.get("/status").json()["sessions"] == 0)
