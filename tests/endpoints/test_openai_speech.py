"""OpenAI's paths through real sockets: formats, streams, cancel, lists, misuse."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from clone_model import pitch_of, recording
from flowing import PATIENCE_S, eventually
from server_process import ServerProcess
from sine_model import sine_samples

pytestmark = pytest.mark.anyio

TEXT = "一二三四五六七八九十。"
"""1.1 seconds of the sine."""
ENDLESS = TEXT * 370
"""As much as the protocol allows, nearly seven minutes."""
HANGS = TEXT + "please hang"
"""A sentence, and one whose first chunk is never computed."""
DEFECT = re.compile("task broke|ASGI|Traceback")
MODELS = json.dumps(
    [
        {"name": "sine", "kind": "sine_model:SineModel", "text_stream": "never"},
        {"name": "told", "kind": "instructed_model:InstructedModel"},
    ]
)
"""Both have voices `sine` and `sine-2`; the second one is told how to speak."""


@pytest.fixture(scope="module")
def sine_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("openai-server")
    aliases = folder / "aliases.toml"
    aliases.write_text('[aliases]\nalloy = "sine"\nonly-told = "told/sine"\n')
    with ServerProcess(folder / "log", models=MODELS, voice_aliases=str(aliases)) as process:
        yield process


def url(server: ServerProcess, path: str = "/v1/audio/speech") -> str:
    return f"http://{server.address}{path}"


def request(text: str = TEXT, **change: Any) -> dict[str, Any]:
    return {
        "model": "tts-1", "input": text, "voice": "alloy", "response_format": "pcm", **change
    }  # fmt: skip


def spoken(server: ServerProcess, **change: Any) -> httpx.Response:
    answer = httpx.post(url(server), json=request(**change))
    assert answer.status_code == 200, answer.text
    return answer


def error_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def events_of(text: str) -> list[dict[str, Any]]:
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


# --- Speaking --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "media_type", "codec"),
    [("mp3", "audio/mpeg", "mp3float"), ("opus", "audio/opus", "opus"),
     ("aac", "audio/aac", "aac"), ("flac", "audio/flac", "flac"),
     ("wav", "audio/wav", "pcm_s16le"), (None, "audio/mpeg", "mp3float")],
)  # fmt: skip
async def test_every_format(
    sine_server: ServerProcess, name: str, media_type: str, codec: str
) -> None:
    answer = spoken(sine_server, response_format=name)
    assert answer.headers["content-type"] == media_type
    with av.open(io.BytesIO(answer.content)) as container:
        assert container.streams.audio[0].codec_context.name == codec
        frames = list(container.decode(audio=0))
    assert sum(f.samples for f in frames) / frames[0].sample_rate == pytest.approx(1.1, abs=0.1)


async def test_pcm_has_24_khz(sine_server: ServerProcess) -> None:
    answer = spoken(sine_server)
    assert answer.headers["content-type"] == "audio/pcm"
    assert len(answer.content) == 2 * sine_samples(len(TEXT)).size


async def test_wav_has_open_sizes(sine_server: ServerProcess) -> None:
    file = spoken(sine_server, response_format="wav").content
    assert file[4:8] == file[40:44] == b"\xff\xff\xff\xff"
    assert int.from_bytes(file[24:28], "little") == 24_000


async def test_the_head_of_a_reply(sine_server: ServerProcess) -> None:
    """What the client says that it accepts does not matter: the packages all say the same."""
    for accepted in ("application/octet-stream", "application/json", "text/html;q=1"):
        answer = httpx.post(url(sine_server), json=request(), headers={"Accept": accepted})
        assert answer.status_code == 200
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in answer.headers
        assert re.fullmatch("req_[0-9a-f]{32}", answer.headers["x-request-id"])
        assert answer.headers["x-request-id"] in sine_server.log.read_text()


@pytest.mark.parametrize(("speed", "seconds"), [(0.25, 4.4), (0.5, 2.2), (2, 0.55), (4, 0.275)])
async def test_speed(sine_server: ServerProcess, speed: float, seconds: float) -> None:
    pcm = spoken(sine_server, speed=speed).content
    assert len(pcm) / 48_000 == pytest.approx(seconds, rel=0.05)


async def test_a_voice_as_an_object(sine_server: ServerProcess) -> None:
    octave = spoken(sine_server, voice="sine-2").content
    assert spoken(sine_server, voice={"id": "sine-2"}).content == octave
    assert octave != spoken(sine_server).content


async def test_a_model_of_ours_is_the_one_that_speaks(sine_server: ServerProcess) -> None:
    """`told` speaks an octave higher when it is happy; both have a voice for the alias."""
    happy = {"voice": "alloy", "instructions": "very happy"}
    octave = spoken(sine_server, voice="sine-2").content
    assert spoken(sine_server, model="told", **happy).content == octave
    assert spoken(sine_server, model="sine", **happy).content == spoken(sine_server).content
    answer = httpx.post(url(sine_server), json=request(model="sine", voice="only-told"))
    error = error_of(answer)
    assert (answer.status_code, error["param"]) == (400, "voice")
    assert "'told'" in error["message"]


async def test_instructions(sine_server: ServerProcess) -> None:
    told = {"voice": "told/sine", "instructions": "very happy"}
    answer = spoken(sine_server, **told)
    assert "x-ignored-parameters" not in answer.headers
    assert answer.content == spoken(sine_server, voice="sine-2").content
    # A voice that cannot take any speaks all the same, and the reply says so.
    answer = spoken(sine_server, instructions="very happy")
    assert answer.headers["x-ignored-parameters"] == "instructions"
    assert answer.content == spoken(sine_server).content


async def test_events(sine_server: ServerProcess) -> None:
    answer = spoken(sine_server, stream_format="sse")
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    *deltas, done = events_of(answer.text)
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert len(deltas) > 5
    audio = b"".join(base64.b64decode(delta["audio"], validate=True) for delta in deltas)
    assert audio == spoken(sine_server).content
    assert done["type"] == "speech.audio.done"
    assert done["usage"] == {"input_tokens": 11, "output_tokens": 28, "total_tokens": 39}


CLIENTS: dict[str, dict[str, Any]] = {
    "Pipecat": {"model": "gpt-4o-mini-tts", "voice": "nova", "response_format": "pcm"},
    "LiveKit": {"model": "gpt-4o-mini-tts", "voice": "ash", "response_format": "mp3",
                "speed": 1.0, "stream_format": "sse"},
    "LiveKit, tts-1": {"model": "tts-1", "voice": "ash", "response_format": "mp3", "speed": 1.0},
    "Open WebUI": {"model": "tts-1", "voice": "alloy"},
    "Dify": {"model": "cosyvoice", "voice": "中文女", "response_format": "mp3",
             "instruction": None},
    "RAGFlow": {"model": "tts-1", "voice": "alloy"},
    "RAGFlow, GPUStack": {"model": "cosyvoice", "voice": "Chinese Female"},
    "RAGFlow, Xinference": {"model": "CosyVoice", "voice": "中文女"},
    "RAGFlow, SiliconFlow": {"model": "FunAudioLLM/CosyVoice2-0.5B", "response_format": "mp3",
                             "voice": "FunAudioLLM/CosyVoice2-0.5B:anna", "sample_rate": 123,
                             "speed": 1, "gain": 0, "stream": True},
    "SillyTavern": {"model": "tts-1", "voice": "onyx", "response_format": "mp3", "speed": 1},
}  # fmt: skip
"""What they send besides the text, read from their sources."""


@pytest.mark.parametrize("body", CLIENTS.values(), ids=CLIENTS.keys())
async def test_what_clients_send(server: ServerProcess, body: dict[str, Any]) -> None:
    answer = httpx.post(url(server), json={**body, "input": "你好。"})
    assert answer.status_code == 200, answer.text
    data = answer.content
    if body.get("stream_format") == "sse":
        deltas = events_of(answer.text)[:-1]
        data = b"".join(base64.b64decode(delta["audio"]) for delta in deltas)
    if body.get("response_format") == "pcm":
        assert len(data) > 10_000
    else:
        with av.open(io.BytesIO(data)) as container:
            assert container.streams.audio[0].rate == 24_000


# --- Streaming and stopping ------------------------------------------------------------------


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_audio_leaves_while_the_rest_is_not_yet_made(
    tmp_path: Path, stream_format: str
) -> None:
    models = json.dumps(json.loads(MODELS)[:1])
    with ServerProcess(tmp_path / "log", models=models) as process:
        body = request(HANGS, voice="sine", stream_format=stream_format)
        await hear_the_beginning(process, body)
        await eventually(lambda: process.metric("cosystream_active_sessions") == 0)
        assert process.metric("cosystream_sessions_total", outcome="cancelled") == 1
        assert not DEFECT.search(process.log.read_text())


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_an_abort_stops_the_model(sine_server: ServerProcess, stream_format: str) -> None:
    cancelled = {"protocol": "openai", "outcome": "cancelled"}
    before = sine_server.metric("cosystream_sessions_total", **cancelled)
    await hear_the_beginning(sine_server, request(ENDLESS, stream_format=stream_format))
    await eventually(lambda: sine_server.metric("cosystream_active_sessions") == 0)
    assert sine_server.metric("cosystream_sessions_total", **cancelled) == before + 1
    # Its place is free: the model has one.
    assert len(spoken(sine_server).content) == 2 * sine_samples(len(TEXT)).size


async def hear_the_beginning(server: ServerProcess, body: dict[str, Any]) -> None:
    """Some audio of a reply that is still being made, and then no more."""
    async with (
        httpx.AsyncClient(timeout=PATIENCE_S) as client,
        client.stream("POST", url(server), json=body) as answer,
    ):
        received = 0
        async for data in answer.aiter_raw():
            received += len(data)
            if received > 10_000:
                break
        assert server.metric("cosystream_active_sessions") == 1


async def test_a_model_that_breaks(sine_server: ServerProcess) -> None:
    answer = httpx.post(url(sine_server), json=request("please raise"))
    assert answer.status_code == 500
    assert error_of(answer)["type"] == "server_error"
    late = TEXT + "please raise"
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        httpx.post(url(sine_server), json=request(late))
    # In a stream of events there is a place to say it.
    pieces: list[str] = []
    body = request(late, stream_format="sse")
    with httpx.stream("POST", url(sine_server), json=body) as answer:
        text = answer.iter_text()
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            pieces.extend(text)
    events = events_of("".join(pieces))
    assert events[0]["type"] == "speech.audio.delta"
    assert events[-1]["type"] == "error"
    assert events[-1]["error"]["code"] == "model_failed"


# --- Lists -----------------------------------------------------------------------------------


async def test_models(sine_server: ServerProcess) -> None:
    body = httpx.get(url(sine_server, "/v1/models")).json()
    assert body["object"] == "list"
    names = [model["id"] for model in body["data"]]
    assert names == ["sine", "told", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
    for model in body["data"]:
        assert httpx.get(url(sine_server, f"/v1/models/{model['id']}")).json() == model
        assert (model["object"], model["owned_by"]) == ("model", "cosystream")
        assert model["created"] > 1_600_000_000
    for_open_webui = httpx.get(url(sine_server, "/v1/audio/models")).json()
    assert for_open_webui == {"models": [{"id": name, "name": name} for name in names]}


async def test_voices(sine_server: ServerProcess) -> None:
    voices = httpx.get(url(sine_server, "/v1/audio/voices")).json()["voices"]
    ids = [voice["id"] for voice in voices]
    assert ids == ["sine", "sine-2", "told/sine", "told/sine-2", "alloy"]
    assert voices[-1] == {
        "id": "alloy", "name": "alloy (sine)", "model": "sine", "language": "en",
        "gender": "neutral", "kind": "preset",
    }  # fmt: skip
    for voice in ids:
        spoken(sine_server, voice=voice)


async def test_the_voices_that_are_made_stand_elsewhere(sine_server: ServerProcess) -> None:
    library = httpx.get(url(sine_server, "/v1/voices")).json()
    assert library.keys() == {"voices", "unavailable", "damaged"}
    assert httpx.get(url(sine_server, "/v1/voices/sine")).json()["available"] is True


@pytest.mark.parametrize("model", ["clone", "tts-1"])
async def test_a_cloned_voice_by_its_id(clone_server: ServerProcess, model: str) -> None:
    form = {"name": (None, "openai-clone"), "text": (None, "One two three, and so on.")}
    audio = ("voice.wav", recording(300.0), "audio/wav")
    made = httpx.post(url(clone_server, "/v1/voices"), files={**form, "audio": audio}, timeout=30)
    assert made.status_code == 201, made.text
    clone = made.json()["id"]
    try:
        voices = httpx.get(url(clone_server, "/v1/audio/voices")).json()["voices"]
        (listed,) = [voice for voice in voices if voice["kind"] == "clone"]
        assert (listed["id"], listed["name"], listed["model"]) == (clone, "openai-clone", "clone")
        body = request("Hello there.", model=model, voice={"id": clone})
        pcm = httpx.post(url(clone_server), json=body).content
        samples = np.frombuffer(pcm, np.int16).astype(np.float32)
        assert pitch_of(samples, 24_000) == pytest.approx(300, abs=2)
        error = error_of(httpx.post(url(clone_server), json={**body, "model": "espeak"}))
        assert (error["param"], "'clone'" in error["message"]) == ("voice", True)
    finally:
        httpx.delete(url(clone_server, f"/v1/voices/{clone}"))


# --- Misuse ----------------------------------------------------------------------------------

MISUSE: dict[str, tuple[Any, str | None, str | None]] = {
    "no model": (request(model=None), "model", "missing_required_parameter"),
    "no input": (request(input=None), "input", "missing_required_parameter"),
    "no voice": (request(voice=None), "voice", "missing_required_parameter"),
    "unknown voice": (request(voice="nobody"), "voice", "invalid_value"),
    "unknown voice object": (request(voice={"id": "nobody"}), "voice", "invalid_value"),
    "unknown format": (request(response_format="mp4"), "response_format", "invalid_value"),
    "input too long": (request("a" * 4097), "input", "string_above_max_length"),
    "body too long": (request("a" * (1 << 20)), "input", "string_above_max_length"),
    "blank input": (request(" "), "input", "invalid_value"),
    "nothing to say": (request("。。。"), "input", "invalid_value"),
    "too fast": (request(speed=5), "speed", "decimal_above_max_value"),
    "too slow": (request(speed=0), "speed", "decimal_below_min_value"),
    "bad JSON": ("{", None, None),
    "no body": ("", None, None),
}


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
@pytest.mark.parametrize(("body", "param", "code"), MISUSE.values(), ids=MISUSE.keys())
async def test_misuse(
    sine_server: ServerProcess, body: Any, param: str | None, code: str | None, stream_format: str
) -> None:
    if isinstance(body, dict):
        body = json.dumps({**body, "stream_format": stream_format})
    answer = httpx.post(url(sine_server), content=body)
    error = error_of(answer)
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert sine_server.metric("cosystream_active_sessions") == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/audio/speech", 405, "method_not_supported"),
        ("HEAD", "/v1/audio/speech", 405, None),
        ("POST", "/v1/audio/voices", 405, "method_not_supported"),
        ("DELETE", "/v1/models/sine", 405, "method_not_supported"),
        ("POST", "/v1/models", 405, "method_not_supported"),
        ("GET", "/v1/models/whisper-1", 404, "model_not_found"),
        ("POST", "/v1/audio/translations", 404, "unknown_url"),
        ("GET", "/v1/audio/speech/more", 404, "unknown_url"),
        ("GET", "/v1/models/sine/more", 404, "unknown_url"),
    ],
)
async def test_other_paths_and_methods(
    sine_server: ServerProcess, method: str, path: str, status: int, code: str | None
) -> None:
    answer = httpx.request(method, url(sine_server, path))
    assert answer.status_code == status
    if code is not None:
        assert error_of(answer)["code"] == code
    assert ("allow" in answer.headers) == (status == 405)


async def test_paths_of_others_keep_their_answers(sine_server: ServerProcess) -> None:
    assert httpx.get(url(sine_server, "/v1/nothing")).text == "Not Found"
    answer = httpx.delete(url(sine_server, "/voice/list"))
    assert (answer.status_code, answer.text) == (405, "Method Not Allowed")


async def test_keys(tmp_path: Path) -> None:
    with ServerProcess(
        tmp_path / "log", "--model", "sine=sine_model:SineModel", tokens="right-token"
    ) as process:
        right = {"Authorization": "Bearer right-token"}
        body = request(voice="sine")
        for path in ("/v1/models", "/v1/models/sine", "/v1/audio/models", "/v1/audio/voices"):
            assert httpx.get(url(process, path), headers=right).status_code == 200
            assert httpx.get(url(process, path)).status_code == 401
        assert httpx.post(url(process), json=body, headers=right).status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = httpx.post(url(process), json=body, headers=headers)
            assert (answer.status_code, error_of(answer)["code"]) == (401, "invalid_api_key")
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_busy_server(tmp_path: Path) -> None:
    with ServerProcess(
        tmp_path / "log", "--model", "sine=sine_model:SineModel", max_sessions="1"
    ) as process:
        busy = request("please hang", voice="sine")
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            first = client.build_request("POST", url(process), json=request(HANGS, voice="sine"))
            answer = await client.send(first, stream=True)
            refused = await client.post(url(process), json=busy)
            await answer.aclose()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert error_of(refused)["code"] == "rate_limit_exceeded"
