"""`/rest/v1/tts/async` on the sine model: long texts become files, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import threading
import time
import wave
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from flowing import eventually
from server_process import ServerProcess
from sine_model import sine_samples
from stumbling_model import read_record

from server.keys import KeyStore
from server.speech.containers import quantise

pytestmark = pytest.mark.anyio

PATH = "/rest/v1/tts/async"
TEXT = "一二三四五六七八九十。"
DURATION_S = 1.1
PATIENCE_S = 30.0


def asked(text: str = TEXT, payload: Any = None, header: Any = None, **given: Any) -> Any:
    request = {"text": text, "voice": "sine", "format": "wav", "sample_rate": 24_000, **given}
    return {
        "payload": {"tts_request": request, "enable_notify": False, **(payload or {})},
        "context": {"device_id": "my_device_id"},
        "header": {"appkey": "k", "token": "t", **(header or {})},
    }


class Client:
    """Submits, asks, waits and fetches."""

    def __init__(self, server: ServerProcess, **headers: str) -> None:
        self._url = f"http://{server.address}{PATH}"
        self._headers = headers

    def submit(self, body: Any) -> str:
        answer = self.post(body)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["task_id"]

    def post(self, body: Any) -> httpx.Response:
        return httpx.post(self._url, json=body, headers=self._headers, timeout=30)

    def ask(self, task_id: str, **query: str) -> httpx.Response:
        query = {"task_id": task_id, "appkey": "k", **query}
        return httpx.get(self._url, params=query, headers=self._headers)

    def delete(self, task_id: str) -> httpx.Response:
        return httpx.delete(self._url, params={"task_id": task_id}, headers=self._headers)

    def state(self, task_id: str) -> str:
        return self.ask(task_id).json()["error_message"]

    def wait(self, task_id: str) -> httpx.Response:
        """The answer when it is not running any more."""
        limit_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit_s:
            answer = self.ask(task_id)
            if answer.json()["error_message"] not in {"QUEUEING", "RUNNING"}:
                return answer
            time.sleep(0.05)
        raise AssertionError(answer.text)

    def fetch(self, task_id: str) -> bytes:
        """The file, when it is there."""
        return httpx.get(self.wait(task_id).json()["data"]["audio_address"]).content


@pytest.fixture
def client(sine_server: ServerProcess) -> Client:
    return Client(sine_server)


def samples_of_wav(data: bytes) -> Any:
    with wave.open(io.BytesIO(data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


# --- The conversation ----------------------------------------------------------------------


def test_submit_ask_and_fetch(client: Client) -> None:
    taken = client.post(asked(TEXT * 3, enable_subtitle=True))
    assert (taken.status_code, taken.headers["content-type"]) == (200, "application/json")
    body = taken.json()
    task_id = body["data"]["task_id"]
    assert len(task_id) == len(body["request_id"]) == 32
    assert body == {
        "status": 200,
        "error_code": 20000000,
        "error_message": "SUCCESS",
        "request_id": body["request_id"],
        "data": {"task_id": task_id},
    }
    done = client.wait(task_id).json()
    address = done["data"].pop("audio_address")
    times = [("0", "1100"), ("1100", "2200"), ("2200", "3300")]
    assert done == {
        "status": 200,
        "error_code": 20000000,
        "error_message": "SUCCESS",
        "request_id": body["request_id"],
        "data": {
            "task_id": task_id,
            "notify_custom": "",
            "sentences": [{"text": TEXT, "begin_time": a, "end_time": b} for a, b in times],
        },
    }
    file = httpx.get(address)
    assert file.headers["content-type"] == "audio/wav"
    assert np.array_equal(samples_of_wav(file.content), quantise(sine_samples(33)))
    part = httpx.get(address, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")
    name = address.rpartition("/")[2]
    assert httpx.get(address.replace(name, "0" * 32 + ".wav")).status_code == 404


def test_without_subtitles_the_list_is_empty(client: Client) -> None:
    assert client.wait(client.submit(asked())).json()["data"]["sentences"] == []


@pytest.mark.parametrize("audio_format", ["pcm", "wav", "mp3", "opus", "aac", "flac"])
def test_formats(client: Client, audio_format: str) -> None:
    data = client.fetch(client.submit(asked(TEXT * 2, format=audio_format, speech_rate=-500)))
    if audio_format == "pcm":
        assert len(data) / 48_000 == pytest.approx(4 * DURATION_S, abs=0.05)
        return
    with av.open(io.BytesIO(data)) as container:
        n_samples = sum(frame.samples for frame in container.decode(audio=0))
        rate_hz = container.streams.audio[0].rate
    assert n_samples / rate_hz == pytest.approx(4 * DURATION_S, abs=0.15)


def test_defaults(client: Client) -> None:
    data = client.fetch(
        client.submit({"payload": {"tts_request": {"text": TEXT, "voice": "sine"}}})
    )
    assert len(data) / 2 / 16_000 == pytest.approx(DURATION_S, abs=0.01)


def test_ssml(client: Client) -> None:
    text = f'<speak>{TEXT}<break time="500ms"/>{TEXT}</speak>'
    data = client.fetch(client.submit(asked(text)))
    assert len(samples_of_wav(data)) / 24_000 == pytest.approx(2 * DURATION_S + 0.5, abs=0.01)


def test_what_is_deleted_is_gone(client: Client, sine_server: ServerProcess) -> None:
    task_id = client.submit(asked())
    address = client.wait(task_id).json()["data"]["audio_address"]
    assert client.delete(task_id).json()["data"] == {"task_id": task_id}
    assert client.ask(task_id).json()["error_code"] == 40000003
    assert client.delete(task_id).status_code == 400
    assert httpx.get(address).status_code == 404


# --- Misuse --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "http", "code"),
    [
        ([], 400, 40000000),
        ({}, 400, 40010003),
        ({"payload": None}, 400, 40010003),
        ({"payload": 5}, 400, 40000003),
        ({"payload": {"tts_request": "x"}}, 400, 40000003),
        ({**asked(), "header": []}, 400, 40000003),
        (asked(None), 400, 40010003),  # type: ignore[arg-type]
        (asked("  "), 400, 40010003),
        (asked("。……"), 400, 40010003),
        (asked("字" * 100_001), 400, 40000003),
        (asked("<speak>a</b>"), 400, 41020001),
        (asked('<speak rate="500">a</speak>', speech_rate=501), 400, 40000003),
        (asked(voice="nobody"), 400, 40000003),
        (asked(format="ogg"), 400, 40010003),
        (asked(sample_rate=1), 400, 41010101),
        (asked(volume=101), 400, 40000003),
        (asked(enable_subtitle="yes"), 400, 40000003),
        (asked(instruction="happy"), 400, 40000003),
        (asked(payload={"enable_notify": 1}), 400, 40000003),
        (asked(payload={"enable_notify": True}), 400, 40000003),
        (asked(payload={"enable_notify": True, "notify_url": 5}), 400, 40000003),
        (asked(payload={"enable_notify": True, "notify_url": "nonsense"}), 400, 40000003),
        (asked(payload={"enable_notify": True, "notify_url": "file:///x"}), 400, 40000003),
        (asked(payload={"enable_notify": True, "notify_url": "http://[::1"}), 400, 40000003),
        (asked(payload={"enable_notify": True, "notify_url": "http://127.0.0.1/"}), 400, 40000003),
        (asked(payload={"enable_notify": True, "notify_url": "http://8.8.8.8/"}), 400, 40000003),
        (asked(payload={"enable_notify": True, "notify_url": "http://2130706433/"}), 400, 40000003),
    ],
)  # fmt: skip
def test_misuse(client: Client, body: Any, http: int, code: int) -> None:
    answer = client.post(body)
    told = answer.json()
    assert (answer.status_code, told["error_code"]) == (http, code), told
    assert told.keys() == {"error_message", "error_code", "request_id", "url", "status"}
    assert (told["status"], told["url"]) == (http, PATH)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[" * 100_000, b"\xff", b'"\\ud800"'])
def test_a_body_that_is_no_json(sine_server: ServerProcess, content: bytes) -> None:
    answer = httpx.post(f"http://{sine_server.address}{PATH}", content=content)
    assert (answer.status_code, answer.json()["error_code"]) == (400, 40000000)


def test_what_is_not_to_be_used_is_not_looked_at(client: Client) -> None:
    """Aliyun's samples bring an address of nobody."""
    payload = {"enable_notify": False, "notify_url": "nonsense"}
    assert client.wait(client.submit(asked(payload=payload))).status_code == 200


@pytest.mark.parametrize("query", [{}, {"task_id": ""}, {"task_id": "0" * 32}, {"task_id": "\x00"}])
def test_an_unknown_task(sine_server: ServerProcess, query: dict[str, str]) -> None:
    answer = httpx.get(f"http://{sine_server.address}{PATH}", params=query)
    assert (answer.status_code, answer.json()["error_code"]) == (400, 40000003)


def test_other_methods(sine_server: ServerProcess) -> None:
    url = f"http://{sine_server.address}{PATH}"
    assert httpx.put(url).status_code == 405
    head = httpx.head(url)
    assert (head.status_code, head.headers["allow"]) == (405, "DELETE, GET, POST")


def test_an_appkey_where_one_is_required(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", require_appkey="true") as server:
        url = f"http://{server.address}{PATH}"
        for answer in (
            httpx.post(url, json=asked(header={"appkey": ""})),
            httpx.get(url, params={"task_id": "x"}),
        ):
            told = answer.json()
            assert (told["error_code"], answer.status_code) == (40000003, 400)
            assert "appkey" in told["error_message"]


# --- Tenants -------------------------------------------------------------------------------


def test_everybody_sees_only_their_own(tmp_path: Path) -> None:
    model = {"name": "sine", "kind": "sine_model:SineModel"}
    tokens = {"tokens": "mine,yours", "models": json.dumps([model])}
    with ServerProcess(tmp_path / "log", **tokens) as server:
        client = Client(server)
        wrong = client.post(asked(header={"token": "wrong"}))
        assert (wrong.status_code, wrong.json()["error_code"]) == (400, 40000001)
        assert wrong.json()["error_message"].startswith("Meta:ACCESS_DENIED:The token '***'")
        task_id = client.submit(asked(header={"token": "mine"}))
        for query in ({}, {"token": "wrong"}):
            answer = client.ask(task_id, **query)
            assert (answer.status_code, answer.json()["error_code"]) == (400, 40000001)
        assert client.ask(task_id, token="yours").json()["error_code"] == 40000003
        mine = Client(server, **{"X-NLS-Token": "mine"})
        address = mine.wait(task_id).json()["data"]["audio_address"]
        assert httpx.get(address).status_code == 200
        yours = Client(server, Authorization="Bearer yours")
        assert yours.delete(task_id).json()["error_code"] == 40000003
        assert mine.ask(task_id).status_code == 200


def slow_model(path: Path, **options: Any) -> str:
    """Settings of a model that writes down what it speaks, in one slot and 20 times real time."""
    given = {"record_path": str(path), "compute_delay_s": 0.004, **options}
    return json.dumps(
        [{"name": "sine", "kind": "piece_model:PieceModel", "workers": 1, "options": given}]
    )


def test_limits_of_keys(tmp_path: Path) -> None:
    with KeyStore(tmp_path / "data" / "keys.sqlite3", create=True) as keys:
        small, other = keys.add("small", characters_per_day=30), keys.add("other")
    settings = {"models": slow_model(tmp_path / "record"), "max_jobs_per_token": "1"}
    with ServerProcess(tmp_path / "log", **settings) as server:
        client = Client(server)
        long = client.submit(asked(TEXT * 60, header={"token": other}))
        busy = client.post(asked(header={"token": other}))
        assert (busy.status_code, busy.json()["error_code"]) == (429, 40000005)
        assert int(busy.headers["retry-after"]) > 0
        first = client.submit(asked(TEXT * 2, header={"token": small}))
        mine = Client(server, **{"X-NLS-Token": small})
        assert mine.wait(first).status_code == 200
        over = client.post(asked(header={"token": small}))
        assert (over.status_code, over.json()["error_code"]) == (429, 40000010)
        assert mine.ask(first).status_code == 200
        with KeyStore(tmp_path / "data" / "keys.sqlite3") as keys:
            assert {one.name: one.characters for one in keys.usage(min_day())} == {
                "small": 22, "other": 660,
            }  # fmt: skip
            keys.revoke("other")
        assert client.ask(long, token=other).json()["error_code"] == 40000001
        assert "token_invalid" in _until(server.log.read_text, "token_invalid")


def min_day() -> Any:
    from datetime import date

    return date.min


def _until(read: Any, word: str) -> str:
    limit_s = time.monotonic() + PATIENCE_S
    while word not in (text := read()) and time.monotonic() < limit_s:
        time.sleep(0.05)
    return text


# --- What goes wrong ------------------------------------------------------------------------


def sentences(count: int) -> list[str]:
    """Sentences that are spoken as they are, each another."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [f"The sparrow {a}{a}{b} sings in the garden." for a in letters for b in letters][:count]


def check_file(data: bytes, spoken: list[str]) -> None:
    """The file is what the sentences make, with no gap and nothing twice."""
    assert np.array_equal(samples_of_wav(data), quantise(sine_samples(sum(map(len, spoken)))))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_in_the_middle_goes_on_later(
    tmp_path: Path, how: signal.Signals
) -> None:
    record = tmp_path / "record"
    settings = {"models": slow_model(record), "drain_timeout_s": "0.1"}
    wanted = sentences(10)
    with ServerProcess(tmp_path / "log", **settings) as server:
        client = Client(server)
        task_id = client.submit(asked(" ".join(wanted)))
        _until(lambda: record.read_text() if record.exists() else "", "aac")
        assert client.state(task_id) == "RUNNING"
        os.kill(server.pid, how)
        assert server.wait() == (0 if how is signal.SIGTERM else -how)
        assert "Traceback" not in server.log.read_text()
    assert len(read_record(record)) < 10
    with ServerProcess(tmp_path / "log", **settings) as server:
        data = Client(server).fetch(task_id)
        assert list((tmp_path / "data" / "long_texts" / "recordings").iterdir()) == []
    counts = Counter(one.text.strip() for one in read_record(record))
    # The one that was being spoken is spoken again.
    assert sum(counts.values()) <= len(counts) + 1
    check_file(data, list(counts))


def stumbling_model(tmp_path: Path, stumbles: int, *, dies: bool = False) -> str:
    options = {
        "record_path": str(tmp_path / "record"),
        "stumbles_path": str(tmp_path / "stumbles"),
        "stumbles": stumbles,
        "dies": dies,
    }
    return json.dumps(
        [
            {
                "name": "sine",
                "kind": "stumbling_model:StumblingModel",
                "workers": 1,
                "options": options,
            }
        ]
    )


STUMBLING = (
    "One sentence is good and long. Then the horses stumble and fall down. All is well again."
)


@pytest.mark.parametrize(("stumbles", "dies"), [(3, False), (2, True)])
def test_a_sentence_that_fails_is_tried_again(tmp_path: Path, stumbles: int, dies: bool) -> None:
    models = stumbling_model(tmp_path, stumbles, dies=dies)
    with ServerProcess(tmp_path / "log", models=models) as server:
        client = Client(server)
        data = client.fetch(client.submit(asked(STUMBLING)))
    counts = Counter(one.text for one in read_record(tmp_path / "record"))
    assert sorted(counts.values()) == [1, 1, 1 + stumbles]
    check_file(data, list(counts))


def test_a_sentence_that_always_fails_ends_its_task(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", models=stumbling_model(tmp_path, 99)) as server:
        client = Client(server)
        task_id = client.submit(asked(STUMBLING))
        answer = client.wait(task_id)
        told = answer.json()
        assert (answer.status_code, told["error_code"], told["status"]) == (400, 51020001, 400)
        assert told["error_message"].startswith("TTS:TtsServerError:")
        assert told["data"] == {"task_id": task_id, "audio_address": None, "notify_custom": None}
        assert client.wait(client.submit(asked())).status_code == 200
        assert server.metric("cosystream_sessions_total", outcome="model_failed") == 1
    assert (tmp_path / "stumbles").stat().st_size == 4
    assert list((tmp_path / "data" / "long_texts" / "recordings").iterdir()) == []


async def test_listeners_go_first(tmp_path: Path) -> None:
    record = tmp_path / "record"
    with ServerProcess(tmp_path / "log", models=slow_model(record)) as server:
        client = Client(server)
        task_id = client.submit(asked(" ".join(sentences(16))))
        await eventually(lambda: client.state(task_id) == "RUNNING")
        async with httpx.AsyncClient() as http:
            query = {"text": TEXT, "voice": "sine"}
            for _ in range(3):
                before = len(read_record(record))
                await eventually(lambda before=before: len(read_record(record)) > before)
                url = f"http://{server.address}/stream/v1/tts"
                assert (await http.get(url, params=query)).status_code == 200
        assert client.state(task_id) == "RUNNING"
        assert server.metric("cosystream_cancelled_syntheses_total") > 0
        data = await asyncio.to_thread(client.fetch, task_id)
    spoken = dict.fromkeys(one.text for one in read_record(record) if one.text != TEXT)
    check_file(data, list(spoken))


def test_two_servers_share_the_work(tmp_path: Path) -> None:
    record = tmp_path / "record"
    settings = {"models": slow_model(record), "data_directory": str(tmp_path / "data")}
    wanted = sentences(12)
    with ServerProcess(tmp_path / "one", **settings) as one:
        task_id = Client(one).submit(asked(" ".join(wanted)))
        with ServerProcess(tmp_path / "two", **settings) as two:
            os.kill(one.pid, signal.SIGKILL)
            one.wait()
            data = Client(two).fetch(task_id)
    counts = Counter(one.text for one in read_record(record))
    assert sum(counts.values()) <= len(counts) + 1
    check_file(data, list(counts))


# --- Notices -------------------------------------------------------------------------------


class Receiver:
    """Takes notices on the loopback interface; refuses the first ones."""

    def __init__(self, refused: int = 0) -> None:
        received: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.headers["Content-Type"], json.loads(body)))
                self.send_response(500 if len(received) <= refused else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}/told?a=b"

    @contextlib.contextmanager
    def open(self) -> Iterator[Receiver]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def wait(self, count: int) -> None:
        limit_s = time.monotonic() + PATIENCE_S
        while len(self.received) < count and time.monotonic() < limit_s:
            time.sleep(0.02)


def test_whoever_asked_for_it_is_told(tmp_path: Path) -> None:
    settings = {"models": stumbling_model(tmp_path, 99), "fetch_networks": "127.0.0.0/8"}
    with Receiver(refused=1).open() as receiver, ServerProcess(tmp_path / "log", **settings) as one:
        client = Client(one)
        notify = {"enable_notify": True, "notify_url": receiver.url}
        taken = client.post(asked(payload=notify)).json()
        receiver.wait(2)
        done = client.ask(taken["data"]["task_id"]).json()
        failed = client.submit(asked("The horses stumble.", payload=notify))
        receiver.wait(3)
        again, told, sad = receiver.received
    assert again == told
    assert told == (
        "application/json",
        {
            "data": done["data"],
            "request_id": taken["request_id"],
            "status": 20000000,
            "error_code": 20000000,
            "error_message": "SUCCESS",
        },
    )
    assert sad[1]["data"] == {"task_id": failed, "audio_address": None, "notify_custom": None}
    assert (sad[1]["status"], sad[1]["error_code"]) == (51020001, 51020001)


def test_a_name_that_leads_inside_is_not_told(tmp_path: Path) -> None:
    with Receiver().open() as receiver, ServerProcess(
        tmp_path / "log", "--model", "sine=sine_model:SineModel"
    ) as server:  # fmt: skip
        client = Client(server)
        url = receiver.url.replace("127.0.0.1", "localhost")
        task_id = client.submit(asked(payload={"enable_notify": True, "notify_url": url}))
        assert client.wait(task_id).status_code == 200
        assert "public" in _until(server.log.read_text, "job's end not told")
        assert receiver.received == []


def test_a_notice_survives_the_server(tmp_path: Path) -> None:
    arguments = ("--model", "sine=sine_model:SineModel")
    with Receiver(refused=1).open() as receiver:
        notify = {"enable_notify": True, "notify_url": receiver.url}
        with ServerProcess(tmp_path / "log", *arguments, fetch_networks="127.0.0.1/32") as server:
            Client(server).submit(asked(payload=notify))
            receiver.wait(1)
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
        with ServerProcess(tmp_path / "log", *arguments, fetch_networks="127.0.0.1/32"):
            receiver.wait(2)
        assert len(receiver.received) == 2


# --- Expiry --------------------------------------------------------------------------------


def test_files_have_a_bound(tmp_path: Path) -> None:
    settings = {"job_files_max_bytes": "100000"}
    with ServerProcess(
        tmp_path / "log", "--model", "sine=sine_model:SineModel", **settings
    ) as server:
        client = Client(server)
        tasks = []
        for _ in range(3):
            tasks.append(client.submit(asked()))
            client.wait(tasks[-1])
        # 53 KB each; what was there is counted when the next one is made.
        told = client.ask(tasks[0]).json()
        assert (told["error_code"], "expired" in told["error_message"]) == (40000003, True)
        assert client.ask(tasks[2]).status_code == 200
