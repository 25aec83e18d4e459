"""DashScope's voice enrollment over real sockets: a voice is its pitch, so it is heard whose."""

from __future__ import annotations

import json
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from clone_model import pitch_of, recording, syllables, wav_file
from recording_host import RecordingHost, enrolling_server
from server_process import ServerProcess

PATH = "/api/v1/services/audio/tts/customization"
SPEECH_PATH = "/api/v1/services/audio/tts/SpeechSynthesizer"


class Enrollment:
    """The interface, as an HTTP client sees it."""

    def __init__(self, server: ServerProcess) -> None:
        self.url = f"http://{server.address}"

    def ask(self, action: str, **given: Any) -> httpx.Response:
        body = {"model": "voice-enrollment", "input": {"action": action, **given}}
        return httpx.post(self.url + PATH, json=body, timeout=30)

    def output(self, action: str, **given: Any) -> Any:
        response = self.ask(action, **given)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer.keys() == {"output", "usage", "request_id"}
        assert answer["usage"] == {"count": 1}
        return answer["output"]

    def create(self, url: str, prefix: str = "me", **given: Any) -> str:
        given = {"target_model": "cosyvoice-v2", "prefix": prefix, "url": url, **given}
        return str(self.output("create_voice", **given)["voice_id"])

    def refusal(self, action: str, **given: Any) -> tuple[str, str]:
        response = self.ask(action, **given)
        assert response.status_code == 400, response.text
        answer = response.json()
        assert answer.keys() == {"code", "message", "request_id"}
        return answer["code"], answer["message"]

    def speak(self, voice: str, model: str = "cosyvoice-v2") -> httpx.Response:
        given = {"text": "Hello there.", "voice": voice, "format": "pcm", "sample_rate": 24_000}
        body = {"model": model, "input": given}
        return httpx.post(self.url + SPEECH_PATH, json=body, timeout=30)

    def pitch_hz(self, voice: str, model: str = "cosyvoice-v2") -> float:
        answer = self.speak(voice, model).json()
        audio = httpx.get(answer["output"]["audio"]["url"]).content
        return pitch_of(np.frombuffer(audio, "<i2").astype(np.float32), 24_000)


@pytest.fixture(scope="module")
def host() -> Iterator[RecordingHost]:
    with RecordingHost() as host:
        yield host


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("enrolling")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    with enrolling_server(folder) as server:
        yield server
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def enrollment(server: ServerProcess) -> Iterator[Enrollment]:
    """Without any voices of its own."""
    enrollment = Enrollment(server)
    yield enrollment
    for voice in enrollment.output("list_voice", page_size=1000)["voice_list"]:
        enrollment.output("delete_voice", voice_id=voice["voice_id"])


@pytest.fixture(scope="module")
def low(host: RecordingHost) -> str:
    return host.put("low.wav", recording(200))


@pytest.fixture(scope="module")
def high(host: RecordingHost) -> str:
    return host.put("high.wav", recording(400))


# --- From a recording to a voice ------------------------------------------------------------------


def test_a_voice_speaks_at_once_for_its_model_only(enrollment: Enrollment, low: str) -> None:
    voice = enrollment.create(low)
    assert re.fullmatch(r"cosyvoice-v2-me-[0-9a-f]{12}", voice)
    assert enrollment.pitch_hz(voice) == pytest.approx(200, abs=2)
    for model in ("cosyvoice-v3", "clone"):
        answer = enrollment.speak(voice, model)
        assert answer.status_code == 400
        message = answer.json()["message"]
        assert message.startswith("[tts:]Engine return error code: 418")
        assert "made for the model 'cosyvoice-v2'" in message


def test_each_request_makes_a_voice_also_of_one_recording(enrollment: Enrollment, low: str) -> None:
    first, second = enrollment.create(low), enrollment.create(low)
    other = enrollment.create(low, target_model="clone")
    assert len({first, second, other}) == 3
    enrollment.output("delete_voice", voice_id=first)
    assert enrollment.pitch_hz(second) == pytest.approx(200, abs=2)
    assert enrollment.pitch_hz(other, "clone") == pytest.approx(200, abs=2)
    assert enrollment.speak(first).status_code == 400


def test_the_text_is_ours_to_write_down_or_the_clients_to_bring(
    enrollment: Enrollment, low: str
) -> None:
    written = enrollment.create(low, text="One two three four five six seven.")
    dictated = enrollment.create(low)
    texts = [httpx.get(f"{enrollment.url}/v1/voices/{one}").json() for one in (written, dictated)]
    assert texts[0]["text"] == "One two three four five six seven."
    assert texts[1]["text"].startswith("w1 w2 w3")
    assert [one["language"] for one in texts] == ["en", "en"]


def test_a_long_recording_is_cut_unless_its_text_is_there(
    enrollment: Enrollment, host: RecordingHost
) -> None:
    long = host.put("long.wav", wav_file(syllables(300, 40)))
    for given, seconds in (({}, 10), ({"max_prompt_audio_length": 5.0}, 5)):
        voice = enrollment.create(long, **given)
        report = httpx.get(f"{enrollment.url}/v1/voices/{voice}").json()["report"]
        assert 0.6 * seconds <= report["seconds"] <= seconds + 0.01
        assert report["recorded_s"] == 40
    code, _ = enrollment.refusal(
        "create_voice", target_model="m", prefix="p", url=long, text="One two three."
    )
    assert code == "Audio.DurationLimitError"


# --- Voices that there are ------------------------------------------------------------------------


def test_voices_are_listed_in_pages_and_by_prefix(enrollment: Enrollment, low: str) -> None:
    httpx.post(
        f"{enrollment.url}/v1/voices",
        data={"name": "Nadia", "text": "One two three."},
        files={"audio": ("voice.wav", recording(300), "audio/wav")},
    )
    voices = [enrollment.create(low, prefix) for prefix in ("a", "ab", "a")]
    listed = enrollment.output("list_voice")["voice_list"]
    assert [voice["voice_id"] for voice in listed] == voices, "and no voice of another interface"
    for voice in listed:
        assert voice.keys() == {"voice_id", "gmt_create", "gmt_modified", "status"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", voice["gmt_create"])
        assert voice["status"] == "OK"
    by_prefix = enrollment.output("list_voice", prefix="a")["voice_list"]
    assert [voice["voice_id"] for voice in by_prefix] == [voices[0], voices[2]]
    page = enrollment.output("list_voice", page_index=1, page_size=2)["voice_list"]
    assert [voice["voice_id"] for voice in page] == [voices[2]]
    assert enrollment.output("list_voice", page_index=9)["voice_list"] == []


def test_what_is_known_of_a_voice(enrollment: Enrollment, low: str) -> None:
    voice = enrollment.output("query_voice", voice_id=enrollment.create(low))
    assert voice.keys() == {"gmt_create", "gmt_modified", "resource_link", "target_model", "status"}
    assert (voice["target_model"], voice["status"]) == ("cosyvoice-v2", "OK")
    assert voice["gmt_create"] == voice["gmt_modified"]


def test_another_recording_for_a_voice(
    enrollment: Enrollment, folder: Path, low: str, high: str
) -> None:
    voice = enrollment.create(low)
    before = enrollment.output("query_voice", voice_id=voice)
    assert enrollment.pitch_hz(voice) == pytest.approx(200, abs=2)
    assert enrollment.output("update_voice", voice_id=voice, url=high) == {}
    assert enrollment.pitch_hz(voice) == pytest.approx(400, abs=2)
    after = enrollment.output("query_voice", voice_id=voice)
    assert after["gmt_create"] == before["gmt_create"]
    assert after["gmt_modified"] >= before["gmt_modified"]
    (kept,) = [
        path
        for path in (folder / "data" / "voices").glob("clone-*")
        if json.loads((path / "voice.json").read_text())["name"] == voice
    ]
    with wave.open(str(kept / "recording.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32)
    assert pitch_of(samples, 24_000) == pytest.approx(400, abs=2)
    # The same again changes nothing, and a bad one leaves what there is.
    assert enrollment.output("update_voice", voice_id=voice, url=high) == {}
    code, _ = enrollment.refusal("update_voice", voice_id=voice, url=f"{high}.gone")
    assert code == "BadRequest.InputDownloadFailed"
    assert enrollment.pitch_hz(voice) == pytest.approx(400, abs=2)


def test_a_deleted_voice_is_gone(enrollment: Enrollment, low: str) -> None:
    voice = enrollment.create(low)
    assert enrollment.output("delete_voice", voice_id=voice) == {}
    for action, given in (
        ("query_voice", {}),
        ("delete_voice", {}),
        ("update_voice", {"url": low}),
    ):
        code, message = enrollment.refusal(action, voice_id=voice, **given)
        assert code == "BadRequest.ResourceNotExist"
        assert voice in message


@pytest.mark.parametrize("voice_id", ["tone", "Nadia", "cosyvoice-v2-me-0123456789ab", "clone-0"])
def test_other_voices_cannot_be_touched(enrollment: Enrollment, voice_id: str) -> None:
    code, _ = enrollment.refusal("delete_voice", voice_id=voice_id)
    assert code == "BadRequest.ResourceNotExist"


def test_voices_survive_a_restart_and_wait_for_their_model(
    tmp_path: Path, host: RecordingHost, low: str
) -> None:
    with enrolling_server(tmp_path) as server:
        voice = Enrollment(server).create(low)
    with enrolling_server(tmp_path) as server:
        enrollment = Enrollment(server)
        assert enrollment.pitch_hz(voice) == pytest.approx(200, abs=2)
    models = json.dumps([{"name": "espeak", "workers": 1}])
    with enrolling_server(tmp_path, models=models) as server:
        enrollment = Enrollment(server)
        assert enrollment.output("query_voice", voice_id=voice)["status"] == "UNDEPLOYED"
        answer = enrollment.speak(voice)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
        assert "418" in answer.json()["message"]
        code, message = enrollment.refusal(
            "create_voice", target_model="cosyvoice-v2", prefix="me", url=low
        )
        assert code == "InvalidParameter"
        assert "CosyVoice 1, 2 and 3 can" in message
        assert enrollment.output("delete_voice", voice_id=voice) == {}


# --- Misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"action": "dance"}, "InvalidParameter"),
        ({"action": "query_voice", "voice_id": "nobody"}, "BadRequest.ResourceNotExist"),
        ({"action": "create_voice", "target_model": "m", "prefix": "bad-one", "url": "http://x/"},
         "InvalidParameter"),
        ({"action": "create_voice", "target_model": "m", "prefix": "p", "url": "oss://bucket/a"},
         "BadRequest.InputDownloadFailed"),
        ({"action": "create_voice", "target_model": "m", "prefix": "p", "url": "http://10.0.0.1/"},
         "BadRequest.InputDownloadFailed"),
        ({"action": "create_voice", "target_model": "m", "prefix": "p", "url": "http://[::1]/"},
         "BadRequest.InputDownloadFailed"),
    ],
)  # fmt: skip
def test_misuse(enrollment: Enrollment, given: dict[str, Any], code: str) -> None:
    assert enrollment.refusal(**given)[0] == code


def test_no_json(server: ServerProcess) -> None:
    response = httpx.post(f"http://{server.address}{PATH}", content=b"{")
    assert (response.status_code, response.json()["code"]) == (400, "InvalidParameter")
    assert httpx.get(f"http://{server.address}{PATH}").status_code == 405


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"no audio", "Audio.DecoderError"),
        (b"", "Audio.DecoderError"),
        (wav_file(syllables(300, 2)), "Audio.AudioShortError"),
        (wav_file(np.zeros(24_000 * 5, np.float32)), "Audio.AudioSilentError"),
        (bytes(10_000_001), "BadRequest.InputDownloadFailed"),
    ],
)
def test_bad_recordings(
    enrollment: Enrollment, host: RecordingHost, data: bytes, code: str
) -> None:
    url = host.put("bad.wav", data)
    told, message = enrollment.refusal("create_voice", target_model="m", prefix="p", url=url)
    assert told == code
    assert message
    assert enrollment.output("list_voice")["voice_list"] == []


def test_pages_of_other_sites_change_nothing(server: ServerProcess, low: str) -> None:
    body = {"model": "voice-enrollment", "input": {"action": "list_voice"}}
    headers = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    response = httpx.post(f"http://{server.address}{PATH}", json=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "InvalidApiKey")


def test_a_text_is_needed_where_nobody_takes_dictation(tmp_path: Path, low: str) -> None:
    with enrolling_server(tmp_path, dictation=False, tokens="right") as server:
        enrollment = Enrollment(server)
        assert enrollment.ask("list_voice").status_code == 401
        given = {"target_model": "cosyvoice-v2", "prefix": "me", "url": low}
        body = {"model": "voice-enrollment", "input": {"action": "create_voice", **given}}
        key = {"Authorization": "Bearer right"}
        response = httpx.post(enrollment.url + PATH, json=body, headers=key, timeout=30)
        assert response.status_code == 400
        assert "input.text" in response.json()["message"]
        assert "SenseVoice" in response.json()["message"]
        body["input"]["text"] = "One two three four five six."  # type: ignore[index]
        response = httpx.post(enrollment.url + PATH, json=body, headers=key, timeout=30)
        assert response.status_code == 200


@pytest.mark.anyio
async def test_a_client_that_leaves_gets_no_voice(tmp_path: Path) -> None:
    with RecordingHost() as host, enrolling_server(tmp_path) as server:
        url = host.put("held", recording(300))
        given = {"target_model": "m", "prefix": "p", "url": url, "text": "One two three four."}
        body = {"model": "voice-enrollment", "input": {"action": "create_voice", **given}}
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post(f"http://{server.address}{PATH}", json=body, timeout=1.0)
        assert host.asked.is_set()
        host.released.set()
        # A server that ends finishes the voices in hand: it would be there afterwards.
        server.terminate()
        assert server.wait() == 0
    assert not list((tmp_path / "data").glob("voices/clone-*"))
