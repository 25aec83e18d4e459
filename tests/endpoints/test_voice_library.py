"""`/v1/voices` over real sockets: a voice is its pitch, so what is heard tells whose it is."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import av
import httpx
import numpy as np
import pytest
from clone_model import PRESET_HZ, pitch_of, recording, syllables, wav_file
from server_process import ServerProcess

TEXT = "One two three four five six seven eight nine ten, and so on."
MODEL = "clone_model:CloneModel"


class Library:
    """A server's voices, as an HTTP client sees them."""

    def __init__(self, server: ServerProcess, **headers: str) -> None:
        self.server = server
        base_url = f"http://{server.address}"
        self.http = httpx.Client(base_url=base_url, headers=headers, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.http.close()

    def add(
        self, name: str, pitch_hz: float = 300.0, text: str = TEXT, **fields: str
    ) -> httpx.Response:
        return self.post({"name": name, "text": text, **fields}, recording(pitch_hz))

    def post(self, fields: dict[str, str], audio: bytes | None) -> httpx.Response:
        files = {} if audio is None else {"audio": ("voice.wav", audio, "audio/wav")}
        # Without a file httpx would send no multipart form.
        parts: list[Any] = [(name, (None, value)) for name, value in fields.items()]
        return self.http.post("/v1/voices", files=parts + list(files.items()))

    def names(self) -> list[str]:
        return [voice["name"] for voice in self.http.get("/v1/voices").json()["voices"]]

    def pitch_hz(self, voice: str) -> float:
        """What `/stream/v1/tts` says with this voice."""
        body = {"text": "Hello there.", "voice": voice, "format": "wav", "sample_rate": 24000}
        answer = self.http.post("/stream/v1/tts", json=body)
        assert answer.headers["content-type"] == "audio/mpeg", answer.text
        return heard_hz(answer.content)

    def refusal(self, voice: str) -> dict[str, Any]:
        answer = self.http.post("/stream/v1/tts", json={"text": "Hello.", "voice": voice})
        assert answer.headers["content-type"] == "application/json"
        return dict(answer.json())


def heard_hz(file: bytes) -> float:
    with av.open(io.BytesIO(file)) as container:
        frames = list(container.decode(audio=0))
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)
    return pitch_of(samples, frames[0].sample_rate)


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def start(
    folder: Path, model: str = f"clone={MODEL}", *, journal: Path | None = None, **settings: str
) -> ServerProcess:
    """A server with one worker and its data in `folder`."""
    name, _, kind = model.partition("=")
    options = {} if journal is None else {"journal": str(journal)}
    models = json.dumps([{"name": name, "kind": kind or name, "workers": 1, "options": options}])
    settings = {"data_directory": str(folder / "data"), **settings}
    return ServerProcess(folder / "log", models=models, **settings)


@pytest.fixture
def library(clone_server: ServerProcess) -> Iterator[Library]:
    """Without any clones."""
    with Library(clone_server) as library:
        yield library
        for voice in library.http.get("/v1/voices").json()["voices"]:
            if voice["kind"] == "clone":
                library.http.delete(f"/v1/voices/{voice['id']}")


# --- From a recording to a voice ------------------------------------------------------------------


def test_a_voice_is_made_and_heard(library: Library) -> None:
    made = library.add("我的声音", 300)
    assert made.status_code == 201, made.text
    body = made.json()
    assert body["name"] == "我的声音"
    assert body["id"].startswith("clone-")
    assert (body["model"], body["language"]) == ("clone", "en")
    assert body["report"]["verdict"] == "ok"
    assert body["report"]["seconds"] == 6.0
    for name in ("我的声音", body["id"]):
        assert library.pitch_hz(name) == pytest.approx(300, abs=2)
    assert library.pitch_hz("tone") == pytest.approx(PRESET_HZ, abs=2)


def test_every_worker_speaks_it_at_once(library: Library) -> None:
    library.add("low", 200)
    library.add("high", 400)
    wanted = ["low", "high"] * 8
    with ThreadPoolExecutor(8) as pool:
        heard = list(pool.map(library.pitch_hz, wanted))
    assert [round(pitch / 100) for pitch in heard] == [2, 4] * 8


def test_the_seeds_list_has_it_too(library: Library) -> None:
    made = library.add("Nadia").json()
    listing = library.http.get("/stream/v1/tts/voices/info").json()
    voice = next(voice for voice in listing["voices"] if voice["name"] == "Nadia")
    assert (voice["kind"], voice["id"], voice["model"]) == ("clone", made["id"], "clone")
    assert [model["cloning"] for model in listing["models"]] == [True, False]


def test_the_same_twice_is_one_voice(library: Library) -> None:
    first = library.add("Nadia")
    again = library.add("nadia")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert library.names().count("Nadia") == 1


def test_the_same_at_once_is_one_voice(library: Library) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(library.add, ["Nadia"] * 4))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_all_that_is_known_of_a_voice(library: Library) -> None:
    made = library.add("Nadia", language="en-GB", model="clone").json()
    for name in ("Nadia", "NADIA", made["id"]):
        shown = library.http.get(f"/v1/voices/{name}").json()
        assert shown["id"] == made["id"]
    assert shown["available"] is True
    assert (shown["text"], shown["language"], shown["made_with"]) == (TEXT, "en-GB", "clone")
    assert shown["report"] == made["report"]
    preset = library.http.get("/v1/voices/tone").json()
    assert (preset["kind"], preset["id"]) == ("preset", "tone")
    assert error(library.http.get("/v1/voices/nobody")) == (404, "voice_unknown")


def test_a_voice_says_a_sentence(library: Library) -> None:
    library.add("Nadia", 300)
    answer = library.http.get("/v1/voices/Nadia/preview")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
    assert heard_hz(answer.content) == pytest.approx(300, abs=3)
    wanted = {"text": "One.", "format": "wav", "sample_rate": "16000"}
    answer = library.http.get("/v1/voices/Nadia/preview", params=wanted)
    assert answer.headers["content-type"] == "audio/wav"
    with av.open(io.BytesIO(answer.content)) as container:
        assert container.streams.audio[0].rate == 16000
    assert heard_hz(library.http.get("/v1/voices/tone/preview?format=flac").content) == (
        pytest.approx(PRESET_HZ, abs=3)
    )


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("format=midi", (400, "format_unsupported")),
        ("sample_rate=44101", (400, "sample_rate_unsupported")),
        ("text=" + "a" * 1001, (400, "text_too_long")),
        ("text=...", (400, "text_missing")),
    ],
)
def test_what_cannot_be_previewed(library: Library, query: str, refused: tuple[int, str]) -> None:
    assert error(library.http.get(f"/v1/voices/tone/preview?{query}")) == refused
    assert library.http.head("/v1/voices/tone/preview").status_code == 405


# --- The end of a voice ---------------------------------------------------------------------------


def test_a_removed_voice_is_gone(library: Library, clone_server: ServerProcess) -> None:
    made = library.add("Nadia").json()
    assert library.pitch_hz("Nadia") == pytest.approx(300, abs=2)
    assert library.http.delete("/v1/voices/nadia").status_code == 204
    assert "Nadia" not in library.names()
    for name in ("Nadia", made["id"]):
        assert "Invalid voice name" in library.refusal(name)["message"]
    assert error(library.http.delete("/v1/voices/Nadia")) == (404, "voice_unknown")
    voices = clone_server.log.parent / "data" / "voices"
    assert not (voices / made["id"]).exists()
    assert library.add("Nadia", 250).status_code == 201
    assert library.pitch_hz("Nadia") == pytest.approx(250, abs=2)


def test_who_speaks_with_it_finishes(library: Library) -> None:
    library.add("Nadia", 300)
    body = {"text": "Hello. " * 40, "voice": "Nadia", "format": "wav", "sample_rate": 24000}
    with library.http.stream("POST", "/stream/v1/tts", json=body) as answer:
        parts = answer.iter_bytes()
        heard = next(parts)
        assert library.http.delete("/v1/voices/Nadia").status_code == 204
        heard += b"".join(parts)
    assert heard_hz(heard) == pytest.approx(300, abs=2)
    assert len(heard) > 24_000 * 2 * 10


def test_workers_get_a_voice_once_and_forget_it(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with start(tmp_path, journal=journal) as process, Library(process) as library:
        voice_id = library.add("Nadia", 300).json()["id"]
        assert not journal.exists(), "nobody has spoken with it"
        for _ in range(3):
            library.pitch_hz("Nadia")
        assert journal.read_text() == f"add {voice_id}\n"
        library.http.delete("/v1/voices/Nadia")
        wait_until(lambda: journal.read_text() == f"add {voice_id}\nremove {voice_id}\n")


def test_only_clones_can_be_removed(library: Library) -> None:
    assert error(library.http.delete("/v1/voices/tone")) == (400, "not_supported")
    assert error(library.http.delete("/v1/voices/cmn")) == (400, "not_supported")


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "refused", "word"),
    [
        ({"name": "", "text": TEXT}, (400, "parameter_invalid"), "needs a name"),
        ({"text": TEXT}, (400, "parameter_invalid"), "needs a name"),
        ({"name": "../x", "text": TEXT}, (400, "parameter_invalid"), "Invalid name"),
        ({"name": "x" * 65, "text": TEXT}, (400, "parameter_invalid"), "1 to 64"),
        ({"name": "Tone", "text": TEXT}, (409, "voice_exists"), "no clone, or an alias"),
        ({"name": "LongXiaoChun", "text": TEXT}, (409, "voice_exists"), "alias"),
        ({"name": "new"}, (400, "text_missing"), "word for word"),
        ({"name": "new", "text": "..."}, (400, "text_missing"), "word for word"),
        ({"name": "new", "text": "a" * 1001}, (400, "text_too_long"), "1000"),
        ({"name": "new", "text": TEXT, "language": "Klingon!"}, (400, "parameter_invalid"), "tag"),
        ({"name": "new", "text": TEXT, "model": "no"}, (400, "parameter_invalid"), "clone: clone."),
        ({"name": "new", "text": TEXT, "model": "espeak"}, (400, "not_supported"), "clone: clone."),
        ({"name": "new", "text": "!refuse"}, (500, "model_failed"), "flat"),
    ],
)
def test_fields(
    library: Library, fields: dict[str, str], refused: tuple[int, str], word: str
) -> None:
    answer = library.post(fields, recording(300))
    assert error(answer) == refused
    assert word in answer.json()["error"]["message"]
    assert not any(name in {"new", "Tone"} for name in library.names())


def test_no_recording(library: Library) -> None:
    answer = library.post({"name": "new", "text": TEXT}, None)
    assert error(answer) == (400, "parameter_invalid")
    assert "'audio'" in answer.json()["error"]["message"]
    answer = library.post({"name": "new", "text": TEXT, "audio": "no file"}, None)
    assert error(answer) == (400, "parameter_invalid")


def test_a_recording_that_is_too_bad_comes_with_its_report(library: Library) -> None:
    answer = library.post({"name": "new", "text": TEXT}, wav_file(syllables(300, 2.0)))
    assert error(answer) == (400, "parameter_invalid")
    refused = answer.json()["error"]
    assert refused["report"]["verdict"] == "refused"
    assert refused["message"] == refused["report"]["remarks"][0]["text"]


def test_a_text_that_is_not_what_is_said_is_advised_of(library: Library) -> None:
    report = library.add("new", text="So much text for so little time. " * 20).json()["report"]
    assert (report["verdict"], report["remarks"][0]["code"]) == ("advice", "text")


@pytest.mark.parametrize("audio", [b"PK\x03\x04 not audio", b"\x80\x04K\x01.", b""])
def test_what_is_no_recording(library: Library, audio: bytes) -> None:
    assert error(library.post({"name": "new", "text": TEXT}, audio)) == (400, "parameter_invalid")


def test_names_are_unique(library: Library) -> None:
    library.add("Nadia", 300)
    answer = library.add("NADIA", 400)
    assert error(answer) == (409, "voice_exists")
    answer = library.add("Otto", 300)
    assert error(answer) == (409, "voice_exists")
    assert "'Nadia'" in answer.json()["error"]["message"]


def test_bodies_that_are_no_forms(library: Library) -> None:
    invalid = (400, "message_invalid")
    post = library.http.post
    assert error(post("/v1/voices", json={"name": "new"})) == invalid
    assert error(post("/v1/voices")) == invalid
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (
        b"",
        b"--x",
        b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--",
        b"\0" * 99,
    ):
        assert post("/v1/voices", headers=form, content=body).status_code == 400
    boundless = {"Content-Type": "multipart/form-data"}
    assert error(post("/v1/voices", headers=boundless, content=b"--x--")) == invalid
    many = [("name", (None, str(index))) for index in range(40)]
    assert error(post("/v1/voices", files=many)) == invalid
    files = [("audio", ("a.wav", b"1")), ("audio", ("b.wav", b"2"))]
    assert error(post("/v1/voices", files=files)) == invalid
    assert error(post("/v1/voices", files={"text": (None, "a" * 20_000)})) == invalid


def test_a_body_that_is_too_large(library: Library) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
        for _ in range(25):
            yield bytes(1 << 20)

    form = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = library.http.post("/v1/voices", headers=form, content=endless())
    assert error(answer) == (400, "parameter_invalid")
    assert "20 MiB" in answer.json()["error"]["message"]


def test_a_huge_announcement_is_refused_before_it_comes(clone_server: ServerProcess) -> None:
    host, port = clone_server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/voices HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_pages_of_other_sites_add_nothing(library: Library) -> None:
    """A browser would send their form, with no question asked before."""
    library.http.headers["Origin"] = "https://elsewhere.example"
    library.http.headers["Sec-Fetch-Site"] = "cross-site"
    assert error(library.add("Nadia")) == (401, "token_invalid")
    library.http.headers["Sec-Fetch-Site"] = "same-origin"
    assert library.add("Nadia").status_code == 201


# --- The moment -----------------------------------------------------------------------------------


def test_uploads_in_hand_are_bounded(library: Library, tmp_path: Path) -> None:
    """Four are listened to, the fifth is told when to come again; speech goes on meanwhile."""
    gates = [tmp_path / str(index) for index in range(4)]
    answers: list[httpx.Response] = []

    def add(index: int) -> None:
        with Library(library.server) as client:
            answers.append(client.add(f"waiting {index}", 300 + index, f"!wait:{gates[index]}"))

    threads = [threading.Thread(target=add, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: sum(gate.exists() for gate in gates) == 2)
    wait_until(lambda: library.add("late", 800, "!refuse").status_code == 429)
    answer = library.add("late", 800)
    assert error(answer) == (429, "capacity_exceeded")
    assert int(answer.headers["retry-after"]) > 0
    assert library.pitch_hz("tone") == pytest.approx(PRESET_HZ, abs=2)
    opener = threading.Thread(target=open_gates, args=(gates, threads))
    opener.start()
    for thread in [*threads, opener]:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 4
    assert library.pitch_hz("waiting 3") == pytest.approx(303, abs=2)


def open_gates(gates: list[Path], threads: list[threading.Thread]) -> None:
    pause = threading.Event()
    while any(thread.is_alive() for thread in threads):
        for gate in gates:
            gate.unlink(missing_ok=True)
        pause.wait(0.01)


def wait_until(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")


@pytest.mark.parametrize(("drain_timeout_s", "status"), [("30", 201), ("0.5", 503)])
def test_a_server_that_ends_finishes_a_voice_or_says_that_it_cannot(
    tmp_path: Path, drain_timeout_s: str, status: int
) -> None:
    gate = tmp_path / "gate"
    with start(tmp_path, drain_timeout_s=drain_timeout_s) as server, Library(server) as library:
        with ThreadPoolExecutor(1) as pool:
            adding = pool.submit(library.add, "Nadia", 300, f"!wait:{gate}")
            wait_until(gate.exists)
            os.kill(server.pid, signal.SIGTERM)
            if status == 201:
                wait_until(lambda: not accepts(server))
                gate.unlink()
            answer = adding.result()
        gate.unlink(missing_ok=True)
    assert answer.status_code == status
    if status == 503:
        assert answer.json()["error"]["code"] == "shutting_down"
    assert len(list((tmp_path / "data" / "voices").glob("clone-*"))) == (status == 201)


def accepts(server: ServerProcess) -> bool:
    """Whether the server takes new voices."""
    try:
        with Library(server) as client:
            return client.post({}, None).status_code != 503
    except httpx.TransportError:
        return False


def test_a_slow_upload_keeps_nobody_for_ever(clone_server: ServerProcess, library: Library) -> None:
    """Half a body and a closed socket: the place is free again."""
    host, port = clone_server.address.split(":")
    for _ in range(6):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(
                b"POST /v1/voices HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
    wait_until(lambda: library.add("Nadia").status_code in {200, 201})


def test_a_worker_that_dies_of_a_recording(library: Library) -> None:
    assert error(library.add("new", text="!die")) == (500, "worker_lost")
    wait_until(lambda: library.add("new").status_code == 201)
    assert library.pitch_hz("new") == pytest.approx(300, abs=2)


# --- Files ----------------------------------------------------------------------------------------


def test_voices_survive_restarts_and_damage(tmp_path: Path) -> None:
    with start(tmp_path) as process, Library(process) as library:
        nadia = library.add("Nadia", 300).json()
        otto = library.add("Otto", 400).json()
        assert nadia["id"] != otto["id"]
    voices = tmp_path / "data" / "voices"
    (voices / otto["id"] / "features.safetensors").write_bytes(b"tone 999")
    with start(tmp_path, f"other={MODEL}") as process, Library(process) as library:
        assert library.pitch_hz("Nadia") == pytest.approx(300, abs=2)
        listing = library.http.get("/v1/voices").json()
        assert [damaged["id"] for damaged in listing["damaged"]] == [otto["id"]]
        assert "Invalid voice name" in library.refusal("Otto")["message"]
        assert process.log.read_text().count("cloned voice damaged") == 1
    with start(tmp_path, "espeak") as process, Library(process) as library:
        assert "Nadia" not in library.names()
        (silent,) = library.http.get("/v1/voices").json()["unavailable"]
        assert silent["id"] == nadia["id"]
        shown = library.http.get("/v1/voices/nadia").json()
        assert shown["available"] is False
        assert "'clone'" in shown["reason"]
        assert shown["text"] == TEXT
        assert shown["reason"] in library.refusal("Nadia")["message"]
        assert error(library.add("Clara")) == (400, "not_supported")
        assert library.http.delete("/v1/voices/Nadia").status_code == 204
        assert library.http.get("/v1/voices").json()["unavailable"] == []


def test_two_servers_share_their_voices(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with (
        start(tmp_path) as one,
        start(tmp_path / "second", data_directory=str(tmp_path / "data")) as two,
        Library(one) as first,
        Library(two) as second,
    ):
        first.add("Nadia", 300)
        assert error(second.add("Nadia", 400)) == (409, "voice_exists")
        assert second.pitch_hz("Nadia") == pytest.approx(300, abs=2)
        second.add("Otto", 400)
        assert "Otto" not in first.names()
        first.http.post("/stream/v1/tts/voices/refresh")
        assert first.pitch_hz("Otto") == pytest.approx(400, abs=2)


def test_a_token_is_wanted(tmp_path: Path) -> None:
    with (
        start(tmp_path, tokens="secret") as process,
        Library(process) as stranger,
        Library(process, **{"X-NLS-Token": "secret"}) as friend,
    ):
        for method, path in [
            ("GET", ""),
            ("POST", ""),
            ("GET", "/tone"),
            ("GET", "/tone/preview"),
            ("DELETE", "/tone"),
        ]:
            answer = stranger.http.request(method, f"/v1/voices{path}")
            assert error(answer) == (401, "token_invalid")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert friend.add("Nadia").status_code == 201
        assert friend.http.get("/v1/voices/Nadia/preview").status_code == 200


def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a directory should be")
    with start(tmp_path) as process, Library(process) as library:
        answer = library.add("Nadia")
        assert error(answer) == (500, "internal")
        assert str(tmp_path) not in answer.text
        assert str(tmp_path) in process.log.read_text()
        assert library.pitch_hz("tone") == pytest.approx(PRESET_HZ, abs=2)


def test_a_recogniser_that_takes_dictation_writes_the_text_down(tmp_path: Path) -> None:
    models = [{"name": "clone", "kind": MODEL, "workers": 1}]
    recognizer = {
        "kind": "word_recognizer:WordRecognizer",
        "options": {"dictation": True},
        "load": "start",
    }
    with (
        ServerProcess(
            tmp_path / "log", models=json.dumps(models), recognizer=json.dumps(recognizer)
        ) as server,
        Library(server) as library,
    ):
        answer = library.post({"name": "Heard"}, recording(300.0))
        assert answer.status_code == 201, answer.text
        text = library.http.get("/v1/voices/Heard").json()["text"]
        assert text.startswith("w1 w2 w3 ")
        assert library.pitch_hz("Heard") == pytest.approx(300.0, rel=0.02)
        # What is given counts, whoever could write it down.
        assert library.add("Said", pitch_hz=400.0).status_code == 201
        assert library.http.get("/v1/voices/Said").json()["text"] == TEXT


def test_the_embedded_recogniser_writes_nothing_down(clone_server: ServerProcess) -> None:
    with Library(clone_server) as library:
        answer = library.post({"name": "Unsaid"}, recording(300.0))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "text_missing"
