"""Keys on a running server, over every protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from flowing import FlowingSocket, eventually
from server_process import ServerProcess
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from server.keys import FILE_NAME, KeyStore

pytestmark = pytest.mark.anyio

TEXT = "一二三四五六七八九十。"
SINE = ("--model", "sine=sine_model:SineModel")


class Guarded:
    """A server, and the store that it shares with this test."""

    def __init__(self, process: ServerProcess, store: KeyStore) -> None:
        self.process = process
        self.store = store

    def qiniu(self, key: str, text: str = TEXT) -> httpx.Response:
        body = {"audio": {"voice_type": "sine", "encoding": "pcm"}, "request": {"text": text}}
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.post(f"{self.url}/v1/voice/tts", json=body, headers=headers)

    def nls(self, key: str, text: str = TEXT) -> httpx.Response:
        body = {"voice": "sine", "text": text, "token": key}
        return httpx.post(f"{self.url}/stream/v1/tts", json=body)

    async def flowing(self, key: str, *pieces: str) -> FlowingSocket:
        """A whole task, however it ends."""
        url = f"{self.process.flowing_url}?token={key}"
        async with FlowingSocket(url) as client:
            await client.start(voice="sine")
            for piece in pieces or (TEXT,):
                await client.run(piece)
            await client.stop()
            while not {"SynthesisCompleted", "TaskFailed"} & set(client.names):
                await client.receive()
            return client

    @property
    def url(self) -> str:
        return f"http://{self.process.address}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with ServerProcess(folder / "log", *SINE) as process:
        path = folder / "data" / FILE_NAME
        with KeyStore(path, create=True) as store:
            store.add("first")
            yield Guarded(process, store)


def used(store: KeyStore, name: str) -> int:
    """Characters of today; of yesterday too, for a test that midnight interrupts."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    return sum(row.characters for row in store.usage(yesterday) if row.name == name)


async def test_one_key_for_all_protocols(guarded: Guarded) -> None:
    key = guarded.store.add("everywhere")
    assert guarded.qiniu(key).status_code == 200
    assert guarded.nls(key).status_code == 200
    assert (await guarded.flowing(key)).names[-1] == "SynthesisCompleted"
    query = {"token": key}
    assert httpx.get(f"{guarded.url}/voice/list", params=query).status_code == 200
    assert httpx.get(f"{guarded.url}/stream/v1/tts/voices", params=query).status_code == 200
    counted = {"key": "everywhere"}
    assert guarded.process.metric("cosystream_key_characters_total", **counted) == 3 * len(TEXT)
    await eventually(lambda: used(guarded.store, "everywhere") == 3 * len(TEXT))


@pytest.mark.parametrize("how", ["none", "wrong", "revoked"])
async def test_no_key(guarded: Guarded, how: str) -> None:
    key = guarded.store.add("taken-back") if how == "revoked" else ""
    if how == "revoked":
        assert guarded.qiniu(key).status_code == 200
        guarded.store.revoke("taken-back")
    key = key or ("sk-wrong" if how == "wrong" else "")

    answer = guarded.qiniu(key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token_invalid")
    assert answer.headers["www-authenticate"] == "Bearer"
    answer = guarded.nls(key)
    assert (answer.status_code, answer.json()["status"]) == (403, 40000001)
    assert (await guarded.flowing(key)).failure["status"] == 40000001
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://{guarded.process.address}/v1/voice/tts?token={key}"):
            pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "token_invalid"


async def test_an_open_connection_outlives_no_revocation(guarded: Guarded) -> None:
    key = guarded.store.add("long-connection")
    async with FlowingSocket(f"{guarded.process.flowing_url}?token={key}") as client:
        await client.start(voice="sine")
        await client.run("一二三。")
        await client.stop()
        await client.until("SynthesisCompleted")
        await client.start(voice="sine")
        await client.until("SynthesisStarted")
        guarded.store.revoke("long-connection")
        await client.run("一二三。")
        await client.until_closed()
        assert client.failure["status"] == 40000001
    socket = connect(
        f"ws://{guarded.process.address}/voice/tts",
        additional_headers={"Authorization": f"Bearer {guarded.store.add('waiting')}"},
    )
    async with socket as waiting:
        guarded.store.revoke("waiting")
        message = {"audio": {"voice_type": "sine", "encoding": "pcm"}, "request": {"text": TEXT}}
        await waiting.send(json.dumps(message))
        assert json.loads(await waiting.recv())["error"]["code"] == "token_invalid"


async def test_over_quota(guarded: Guarded) -> None:
    key = guarded.store.add("small", characters_per_day=2 * len(TEXT) + 3)
    assert guarded.qiniu(key).status_code == 200
    assert guarded.nls(key).status_code == 200

    answer = guarded.qiniu(key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")
    assert 0 < int(answer.headers["retry-after"]) <= 24 * 3600
    answer = guarded.nls(key)
    assert (answer.status_code, answer.json()["status"]) == (429, 40000010)
    # Text that streams in is taken as far as the quota goes.
    talk = await guarded.flowing(key, "一", "二三四五")
    assert talk.failure["status"] == 40000010
    assert talk.failure["status_text"].startswith("Gateway:FREE_TRIAL_EXPIRED:")
    headers = {"Authorization": f"Bearer {key}"}
    url = f"ws://{guarded.process.address}/v1/voice/tts"
    async with connect(url, additional_headers=headers) as socket:
        message = {"audio": {"voice_type": "sine", "encoding": "pcm"}, "request": {"text": TEXT}}
        await socket.send(json.dumps(message))
        assert json.loads(await socket.recv())["error"]["code"] == "quota_exceeded"
    assert guarded.process.metric("cosystream_key_over_quota_total", key="small") == 4
    assert guarded.process.metric("cosystream_key_characters_total", key="small") == 23

    guarded.store.limit("small", characters_per_day=1000)
    assert guarded.qiniu(key).status_code == 200


async def test_over_concurrency(guarded: Guarded) -> None:
    key = guarded.store.add("narrow", max_sessions=1)
    other = guarded.store.add("beside")
    url = f"{guarded.process.flowing_url}?token={key}"
    async with FlowingSocket(url) as running:
        await running.start(voice="sine")
        await running.until("SynthesisStarted")
        answer = guarded.qiniu(key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "capacity_exceeded")
        assert answer.headers["retry-after"] == "1"
        assert guarded.nls(key).json()["status"] == 40000005
        assert (await guarded.flowing(key)).failure["status"] == 40000005
        assert guarded.qiniu(other).status_code == 200
        guarded.store.limit("narrow", max_sessions=2)
        assert guarded.qiniu(key).status_code == 200
        await running.stop()
        await running.until("SynthesisCompleted")


async def test_usage_survives_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with KeyStore(data / FILE_NAME, create=True) as store:
        key = store.add("app", characters_per_day=len(TEXT) + 5)
        for expected in (200, 429):
            with ServerProcess(tmp_path / "log", *SINE) as process:
                assert Guarded(process, store).qiniu(key).status_code == expected
        assert used(store, "app") == len(TEXT)
