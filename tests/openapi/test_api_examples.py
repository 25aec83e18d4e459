"""The document's examples, run as they stand by a shell against a running server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from clone_model import recording
from described import DOCUMENT, JSON, TOKEN, Described, check_schema, find, operations
from server_process import ServerProcess

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")

LIMIT_S = 60
EXAMPLES = [
    pytest.param(one, label, id=f"{one} {label}")
    for one in operations()
    if "x-alias-of" not in one.facts
    for label, _ in one.samples
]
AUDIO = {".mp3", ".wav"}
RECORDING = recording(300.0)


@pytest.fixture(scope="module")
def guarded(whole_server: ServerProcess) -> dict[str, Any]:
    """The server's own document, which has its address in it."""
    document: dict[str, Any] = whole_server.get("/openapi.json").json()
    return document


@pytest.fixture
def folder(tmp_path: Path, whole_server: ServerProcess) -> Path:
    """Where a user may be who has a recording, and has made the voice and run the first example."""
    (tmp_path / "voice.wav").write_bytes(RECORDING)
    source = whole_server.get("/openapi.json").json()["paths"]["/v1/audio/speech"]["post"]
    run(source["x-codeSamples"][0]["source"], tmp_path)
    return tmp_path


def run(program: str, folder: Path, **variables: str) -> str:
    """Its output; it must succeed."""
    environment = {"PATH": os.environ["PATH"], "TOKEN": TOKEN, "LANG": "C.UTF-8", **variables}
    done = subprocess.run(
        ["sh", "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sample(document: dict[str, Any], one: Described, label: str) -> str:
    samples = document["paths"][one.path][one.method.lower()]["x-codeSamples"]
    return next(str(each["source"]) for each in samples if each["label"] == label)


def hand_in(document: dict[str, Any], folder: Path) -> str:
    """Its task's id."""
    one = find("POST", "/rest/v1/tts/async")
    taken = json.loads(run(sample(document, one, one.samples[0][0]), folder))
    return str(taken["data"]["task_id"])


def make_voice(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    one = find("POST", "/v1/voices")
    made: dict[str, Any] = json.loads(run(sample(document, one, one.samples[0][0]), folder))
    return made


@pytest.mark.parametrize(("one", "label"), EXAMPLES)
def test_an_example_runs(one: Described, label: str, guarded: dict[str, Any], folder: Path) -> None:
    if one.method == "DELETE" and one.path == "/v1/voices/{voice}":
        make_voice(guarded, folder)
    program = sample(guarded, one, label)
    variables = {"TASK_ID": hand_in(guarded, folder)} if "$TASK_ID" in program else {}
    said = run(program, folder, **variables)
    for name in re.findall(r"--output (\S+)", program):
        look_at(one, folder / name)
    if said.startswith(("{", "[")):
        check_said(one, said)
    elif said:
        events = said.splitlines()
        assert any(line.startswith("data:") for line in events) or said.startswith("# HELP")
        assert not any('"error"' in line or line == "event:error" for line in events)


def look_at(one: Described, written: Path) -> None:
    """What an example has written is what its name says."""
    if written.suffix in AUDIO:
        with av.open(str(written)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) > 8000
    elif written.suffix == ".json":
        check_said(one, written.read_text())
    else:
        assert written.suffix == ".html"
        assert written.read_text().startswith("<!doctype html>")


def check_said(one: Described, said: str) -> None:
    contents = [
        reply["content"][JSON].get("schema", {})
        for status, reply in one.facts["responses"].items()
        if status.startswith("2") and JSON in reply.get("content", {})
    ]
    check_schema({"anyOf": contents}, json.loads(said))


def test_examples_say_what_the_schemas_say() -> None:
    for one in operations():
        content = one.facts.get("requestBody", {}).get("content", {}).get(JSON, {})
        for example in content.get("examples", {}).values():
            check_schema(content["schema"], example["value"])


def test_without_tokens_none_is_needed(sine_server: ServerProcess, tmp_path: Path) -> None:
    document = sine_server.get("/openapi.json").json()
    assert document["security"] == []
    said = run(sample(document, find("GET", "/v1/audio/voices"), "All voices"), tmp_path)
    assert json.loads(said)["voices"]


def test_a_wrong_token_is_told(whole_server: ServerProcess) -> None:
    wrong = {"Authorization": "Bearer no"}
    with httpx.Client(base_url=f"http://{whole_server.address}", headers=wrong) as client:
        for one in operations():
            if one.facts.get("security") == []:
                continue
            path = one.path.replace("{voice}", "xiaoyun").replace("{model}", "tts-1")
            reply = client.request(one.method, path, content=b"{}" if one.media_types else None)
            assert reply.status_code in {400, 401, 403}, str(one)
            one.check(reply)


def test_the_file_of_a_reply_can_be_fetched(whole_server: ServerProcess) -> None:
    spoken = find("POST", "/api/v1/services/audio/tts/SpeechSynthesizer")
    body = spoken.facts["requestBody"]["content"][JSON]["examples"]["an_mp3_s_address"]["value"]
    with httpx.Client(
        base_url=f"http://{whole_server.address}", headers={"X-NLS-Token": TOKEN}
    ) as client:
        reply = client.post(spoken.path, json=body)
        spoken.check(reply)
        file = httpx.get(reply.json()["output"]["audio"]["url"])
        fetched = find("GET", "/api/v1/files/spoken/{name}")
        fetched.check(file)
        assert file.headers["content-type"] == "audio/mpeg"
        fetched.check(client.get("/api/v1/files/spoken/none.mp3"))


def test_a_long_text_is_as_described(
    whole_server: ServerProcess, guarded: dict[str, Any], folder: Path
) -> None:
    task_id = hand_in(guarded, folder)
    asked = find("GET", "/rest/v1/tts/async")
    query = {"task_id": task_id}
    headers = {"X-NLS-Token": TOKEN}
    with httpx.Client(base_url=f"http://{whole_server.address}", headers=headers) as client:
        limit = time.monotonic() + LIMIT_S
        while not (
            address := (reply := client.get(asked.path, params=query)).json()["data"][
                "audio_address"
            ]
        ):
            asked.check(reply)
            assert time.monotonic() < limit
            time.sleep(0.02)
        asked.check(reply)
        assert reply.json()["data"]["sentences"]
        fetched = find("GET", "/rest/v1/tts/async/files/{name}")
        fetched.check(httpx.get(address))
        removed = find("DELETE", asked.path)
        removed.check(client.delete(asked.path, params=query))
        gone = client.delete(asked.path, params=query)
        assert gone.status_code == httpx.codes.BAD_REQUEST
        removed.check(gone)
        fetched.check(httpx.get(address))


def test_a_cloned_voice_is_as_described(
    whole_server: ServerProcess, guarded: dict[str, Any], folder: Path
) -> None:
    make_voice(guarded, folder)
    headers = {"X-NLS-Token": TOKEN}
    with httpx.Client(base_url=f"http://{whole_server.address}", headers=headers) as client:
        shown = client.get("/v1/voices/my%20voice")
        find("GET", "/v1/voices/{voice}").check(shown)
        assert shown.json()["report"]["verdict"] in {"ok", "advice"}
        find("GET", "/v1/voices").check(client.get("/v1/voices"))
        again = make_voice(guarded, folder)
        assert again["id"] == shown.json()["id"]
        refused = client.post(
            "/v1/voices", data={"name": "short", "text": "No."}, files={"audio": b"RIFF"}
        )
        find("POST", "/v1/voices").check(refused)


def test_the_document_has_all_statuses_of_its_errors() -> None:
    for one in operations():
        if one.facts.get("security") == []:
            continue
        statuses = set(one.facts["responses"])
        assert statuses & {"400", "401", "403"}, str(one)
        assert "500" in statuses, str(one)
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"bearer", "nlsToken", "tokenQuery"}
