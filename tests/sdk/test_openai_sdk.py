"""The real package `openai` against real server processes."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import openai
import pytest
from flowing import eventually
from openai import AsyncOpenAI, OpenAI
from server_process import ServerProcess
from sine_model import sine_samples

from server.keys import FILE_NAME, KeyStore

pytestmark = pytest.mark.anyio

TEXT = "一二三四五六七八九十。"
"""1.1 seconds of the sine."""
PCM_BYTES = 2 * sine_samples(len(TEXT)).size
ENDLESS = TEXT * 370
SINE = ("--model", "sine=sine_model:SineModel")
ASKED: dict[str, Any] = {
    "model": "gpt-4o-mini-tts", "voice": "sine", "input": TEXT, "response_format": "pcm"
}  # fmt: skip


def client_of(address: str, **options: Any) -> OpenAI:
    options = {"api_key": "any", "max_retries": 0, **options}
    return OpenAI(base_url=f"http://{address}/v1", **options)


@pytest.fixture
def client(sine_server: ServerProcess) -> Iterator[OpenAI]:
    with client_of(sine_server.address) as client:
        yield client


def refused(client: OpenAI, **change: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.speech.create(**{**ASKED, **change})
    return caught.value


# --- Speaking --------------------------------------------------------------------------------


def test_as_in_the_readme_of_the_package(server: ServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "speech.mp3"
    with (
        client_of(server.address) as client,
        client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", voice="alloy", input="The quick brown fox jumped."
        ) as response,
    ):
        response.stream_to_file(path)
    with av.open(path) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].sample_rate == 24_000
    assert sum(frame.samples for frame in frames) > 24_000


def test_whole(client: OpenAI) -> None:
    answer = client.audio.speech.create(**ASKED)
    assert len(answer.read()) == PCM_BYTES
    assert answer.response.headers["content-type"] == "audio/pcm"


@pytest.mark.parametrize("response_format", ["mp3", "opus", "aac", "flac", "wav"])
def test_every_format(client: OpenAI, response_format: Any) -> None:
    answer = client.audio.speech.create(**{**ASKED, "response_format": response_format})
    with av.open(io.BytesIO(answer.content)) as container:
        assert next(container.decode(audio=0)).samples > 0


def test_a_voice_of_ones_own(client: OpenAI) -> None:
    answer = client.audio.speech.create(**{**ASKED, "voice": {"id": "sine-2"}})
    assert answer.content == client.audio.speech.create(**{**ASKED, "voice": "sine-2"}).content
    assert answer.content != client.audio.speech.create(**ASKED).content


def test_every_argument(client: OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        **ASKED, speed=2.0, instructions="Speak like a pirate.", stream_format="audio"
    ) as response:
        assert response.headers["x-ignored-parameters"] == "instructions"
        assert len(response.read()) == pytest.approx(PCM_BYTES / 2, rel=0.05)


def test_events(client: OpenAI) -> None:
    """The package has no type for them: its users read lines."""
    audio = b""
    with client.audio.speech.with_streaming_response.create(
        **ASKED, stream_format="sse"
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
    for delta in deltas:
        assert delta["type"] == "speech.audio.delta"
        audio += base64.b64decode(delta["audio"], validate=True)
    assert len(audio) == PCM_BYTES
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"]


async def test_leaving_a_stream_stops_the_model(sine_server: ServerProcess) -> None:
    async with (
        AsyncOpenAI(base_url=f"http://{sine_server.address}/v1", api_key="any") as client,
        client.audio.speech.with_streaming_response.create(
            **{**ASKED, "input": ENDLESS}
        ) as response,
    ):
        # The head comes before the speech is made: there are nearly seven minutes of it.
        assert response.request_id is not None
        async for data in response.iter_bytes():
            assert data
            break
        assert sine_server.metric("cosystream_active_sessions") == 1
    await eventually(lambda: sine_server.metric("cosystream_active_sessions") == 0)


# --- Lists -----------------------------------------------------------------------------------


def test_models(client: OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert {"sine", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"} == models.keys()
    assert client.models.retrieve("tts-1") == models["tts-1"]
    assert all(isinstance(model.created, int) for model in models.values())


# --- Errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "param", "code"),
    [
        ({"voice": "nobody"}, openai.BadRequestError, "voice", "invalid_value"),
        ({"input": "a" * 4097}, openai.BadRequestError, "input", "string_above_max_length"),
        ({"input": ""}, openai.BadRequestError, "input", "string_below_min_length"),
        ({"speed": 9}, openai.BadRequestError, "speed", "decimal_above_max_value"),
        ({"response_format": "mp4"}, openai.BadRequestError, "response_format", "invalid_value"),
        ({"model": None}, openai.BadRequestError, "model", "missing_required_parameter"),
        ({"input": "please raise"}, openai.InternalServerError, None, "model_failed"),
    ],
)
def test_typed_errors(
    client: OpenAI, change: dict[str, Any], kind: type[Exception], param: str | None, code: str
) -> None:
    error = refused(client, **change)
    assert type(error) is kind
    assert (error.param, error.code) == (param, code)
    assert error.request_id is not None
    assert error.request_id.startswith("req_")
    assert isinstance(error.body, dict)
    assert error.body["message"] in error.message


def test_errors_of_a_stream_come_with_its_head(client: OpenAI) -> None:
    with (
        pytest.raises(openai.BadRequestError, match="nobody"),
        client.audio.speech.with_streaming_response.create(**{**ASKED, "voice": "nobody"}),
    ):
        pass


def test_an_unknown_model(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("whisper-1")
    assert caught.value.code == "model_not_found"


def test_what_is_not_here(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        client.audio.voice_consents.list()
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.voices.create(name="me", consent="c", audio_sample=("a.wav", b"RIFF"))
    assert (caught.value.status_code, caught.value.code) == (405, "method_not_supported")


def test_keys(guarded_address: str) -> None:
    with client_of(guarded_address, api_key="wrong") as client:
        error = refused(client)
        assert type(error) is openai.AuthenticationError
        assert error.code == "invalid_api_key"
    with client_of(guarded_address, api_key="the-right-token") as client:
        assert client.audio.speech.create(**{**ASKED, "voice": "alloy"}).content


# --- Retries ---------------------------------------------------------------------------------


async def test_a_busy_server_is_asked_again_when_it_says(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", *SINE, max_sessions="1") as process:
        url = f"http://{process.address}/v1/audio/speech"
        async with (
            httpx.AsyncClient() as http,
            AsyncOpenAI(base_url=url.removesuffix("/audio/speech"), api_key="any") as client,
        ):
            holding = http.build_request("POST", url, json={**ASKED, "input": ENDLESS})
            held = await http.send(holding, stream=True)
            with pytest.raises(openai.RateLimitError) as caught:
                await client.with_options(max_retries=0).audio.speech.create(**ASKED)
            assert caught.value.code == "rate_limit_exceeded"
            assert caught.value.response.headers["retry-after"] == "1"
            patient = client.with_options(max_retries=9)
            asking = asyncio.create_task(patient.audio.speech.with_raw_response.create(**ASKED))
            await eventually(lambda: process.metric("cosystream_sessions_refused_total") == 2)
            await held.aclose()
            answer = await asking
        assert answer.retries_taken > 0
        assert len(answer.content) == PCM_BYTES


def test_a_key_that_is_used_up_is_not_tried_again(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", *SINE) as process:
        with KeyStore(tmp_path / "data" / FILE_NAME, create=True) as store:
            key = store.add("small", characters_per_day=len(TEXT))
        with client_of(process.address, api_key=key, max_retries=2) as client:
            assert client.audio.speech.create(**ASKED).content
            error = refused(client)
        assert type(error) is openai.RateLimitError
        assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
        assert process.metric("cosystream_sessions_refused_total") == 1
