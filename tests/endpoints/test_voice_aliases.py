"""One table of voice names for all protocols: aliases, versions after them, and near matches."""

from __future__ import annotations

import base64
import functools
import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from flowing import PATIENCE_S
from server_process import ServerProcess
from websockets.sync.client import ClientConnection, connect

TEXT = "今天好。Hello."


class RefusedError(Exception):
    """The protocol's error; its text is the whole answer."""


# --- Clients: the PCM that a voice makes of TEXT -------------------------------------------------


def openai(address: str, voice: str) -> bytes:
    body = {"model": "tts-1", "input": TEXT, "voice": voice, "response_format": "pcm"}
    answer = httpx.post(f"http://{address}/v1/audio/speech", json=body)
    if answer.status_code == 400 and answer.json()["error"]["param"] == "voice":
        raise RefusedError(answer.text)
    return answer.raise_for_status().content


def nls_http(address: str, voice: str) -> bytes:
    answer = httpx.post(f"http://{address}/stream/v1/tts", json={"text": TEXT, "voice": voice})
    if answer.status_code == 400 and answer.json()["status"] == 40000003:
        raise RefusedError(answer.text)
    return answer.raise_for_status().content


def nls_socket(address: str, voice: str, *, namespace: str) -> bytes:
    task_id = uuid.uuid4().hex

    def message(name: str, payload: dict[str, Any]) -> str:
        header = {"task_id": task_id, "namespace": namespace, "name": name}
        return json.dumps({"header": header, "payload": payload})

    with connect(f"ws://{address}/ws/v1") as socket:
        socket.send(message("StartSynthesis", {"voice": voice, "text": TEXT}))
        if namespace == "FlowingSpeechSynthesizer":
            socket.send(message("RunSynthesis", {"text": TEXT}))
            socket.send(message("StopSynthesis", {}))
        return heard(socket, "name", "SynthesisCompleted", "Invalid voice name")


def qiniu(address: str, voice: str) -> bytes:
    body = {"audio": {"voice_type": voice, "encoding": "pcm"}, "request": {"text": TEXT}}
    answer = httpx.post(f"http://{address}/v1/voice/tts", json=body)
    if answer.status_code == 400 and answer.json()["error"]["code"] == "voice_unknown":
        raise RefusedError(answer.text)
    return base64.b64decode(answer.raise_for_status().json()["data"])


def dashscope_http(address: str, voice: str) -> bytes:
    body = {"model": "cosyvoice-v3-flash", "input": {"text": TEXT, "voice": voice, "format": "pcm"}}
    path = "/api/v1/services/audio/tts/SpeechSynthesizer"
    answer = httpx.post(f"http://{address}{path}", json=body)
    if answer.status_code == 400 and answer.json()["code"] == "InvalidParameter":
        raise RefusedError(answer.text)
    return httpx.get(answer.raise_for_status().json()["output"]["audio"]["url"]).content


def dashscope_socket(address: str, voice: str) -> bytes:
    task_id = uuid.uuid4().hex

    def message(action: str, payload: dict[str, Any]) -> str:
        header = {"action": action, "task_id": task_id, "streaming": "duplex"}
        return json.dumps({"header": header, "payload": payload})

    parameters = {"voice": voice, "format": "pcm", "sample_rate": 22050}
    with connect(f"ws://{address}/api-ws/v1/inference") as socket:
        run = {"model": "cosyvoice-v2", "input": {}, "parameters": parameters}
        socket.send(message("run-task", run))
        socket.send(message("continue-task", {"input": {"text": TEXT}}))
        socket.send(message("finish-task", {"input": {}}))
        return heard(socket, "event", "task-finished", "Engine return error code: 418")


def heard(socket: ClientConnection, key: str, last: str, refusal: str) -> bytes:
    """All audio up to the last event; `key` is where the header has an event's name."""
    audio = b""
    while True:
        frame = socket.recv(PATIENCE_S)
        if isinstance(frame, bytes):
            audio += frame
        elif json.loads(frame)["header"][key] == last:
            return audio
        elif refusal in frame:
            raise RefusedError(frame)


PROTOCOLS = {
    "openai": openai,
    "nls-http": nls_http,
    "nls-flowing": functools.partial(nls_socket, namespace="FlowingSpeechSynthesizer"),
    "nls-one-shot": functools.partial(nls_socket, namespace="SpeechSynthesizer"),
    "nls-long": functools.partial(nls_socket, namespace="SpeechLongSynthesizer"),
    "qiniu": qiniu,
    "dashscope-http": dashscope_http,
    "dashscope-socket": dashscope_socket,
}
every_protocol = pytest.mark.parametrize("say", PROTOCOLS.values(), ids=PROTOCOLS.keys())


# --- Tests ---------------------------------------------------------------------------------------

ALIASES = {
    "中文女": ("xiaoyun", "zhimiao_emo", "longxiaochun", "longxiaochun_v2", "longwan_v3",
               "qiniu_zh_female_tmjxxy", "LongXiaoChun_V2"),
    "中文男": ("longcheng_v2", "xiaogang", "qiniu_zh_male_ljfdxz"),
    "英文女": ("alloy", "nova", "abby", "loongeva_v2"),
    "英文男": ("onyx", "loongdavid_v2"),
}  # fmt: skip
"""Voices of the embedded model, and names that OpenAI's, Aliyun's and Qiniu's clients bring."""


@every_protocol
@pytest.mark.parametrize("voice", ALIASES)
def test_a_vendors_name_is_the_voice_that_the_table_says(
    server_url: str, say: Callable[[str, str], bytes], voice: str
) -> None:
    expected = say(server_url, voice)
    assert len(expected) > 16_000
    for alias in ALIASES[voice]:
        assert say(server_url, alias) == expected, alias


def test_the_voices_can_be_told_apart(server_url: str) -> None:
    assert len({openai(server_url, voice) for voice in ALIASES}) == len(ALIASES)


@every_protocol
@pytest.mark.parametrize(
    ("wrong", "near"),
    [("longxiaochum", "longxiaochun"), ("shimer", "shimmer"), ("xiaoyum_v2", "xiaoyun")],
)
def test_an_unknown_voice_is_refused_with_names_near_it(
    server_url: str, say: Callable[[str, str], bytes], wrong: str, near: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        say(server_url, wrong)
    assert wrong in str(refused.value)
    assert near in str(refused.value)


@every_protocol
def test_an_operators_file_changes_all_protocols_at_once(
    own_names: ServerProcess, say: Callable[[str, str], bytes]
) -> None:
    expected = say(own_names.address, "英文男")
    for alias in ("our-narrator", "our-narrator_v9", "longxiaochun_v2"):
        assert say(own_names.address, alias) == expected, alias


@pytest.fixture(scope="module")
def own_names(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("own-names")
    file = folder / "aliases.toml"
    file.write_text(
        'suffixes = ["_v9"]\n[aliases]\nour-narrator = "英文男"\nlongxiaochun = "our-narrator"\n',
        encoding="utf-8",
    )
    with ServerProcess(folder / "log", voice_aliases=str(file)) as process:
        yield process
