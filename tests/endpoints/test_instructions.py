"""Instructions, SSML's emotions and marks of sounds on their way to the model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from flowing import FlowingSocket, samples_of, speak
from server_process import ServerProcess
from sine_model import sine_samples

pytestmark = pytest.mark.anyio

EMOTIONAL = (
    '<speak>一二三四五六。<emotion category="happy" intensity="1.6">七八九十一二。</emotion>'
    "一二三四五六。</speak>"
)


@pytest.fixture(scope="module")
def instructed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("instructed-server") / "log"
    model = "instructed=instructed_model:InstructedModel"
    with ServerProcess(log, "--model", model) as process:
        yield process


def tones(*parts: tuple[int, str]) -> np.ndarray:
    """Sines of so many characters in these voices, joined."""
    return np.concatenate([sine_samples(length, voice=voice) for length, voice in parts])


def assert_heard(audio: bytes, expected: np.ndarray) -> None:
    heard = samples_of(audio)
    assert len(heard) == len(expected)
    assert np.abs(heard - expected).max() < 2 / 32768


async def test_an_emotion_is_heard_where_it_stands(instructed_server: ServerProcess) -> None:
    client = await speak(
        instructed_server.flowing_url,
        EMOTIONAL,
        voice="sine",
        sample_rate=24000,
        enable_ssml=True,
    )
    assert client.names.count("SentenceBegin") == 3
    assert_heard(client.audio, tones((7, "sine"), (7, "sine-2"), (7, "sine")))


async def test_without_the_ability_an_emotion_has_no_effect(sine_server: ServerProcess) -> None:
    client = await speak(
        sine_server.flowing_url, EMOTIONAL, voice="sine", sample_rate=24000, enable_ssml=True
    )
    assert_heard(client.audio, tones((21, "sine")))


async def test_an_instruction_is_the_whole_task_s(instructed_server: ServerProcess) -> None:
    client = await speak(
        instructed_server.flowing_url,
        "一二三四五六。一二三四五六。",
        voice="sine",
        sample_rate=24000,
        instruction="very happy",
    )
    assert_heard(client.audio, tones((14, "sine-2")))


async def test_an_emotion_goes_before_the_task_s_instruction(
    instructed_server: ServerProcess,
) -> None:
    async with FlowingSocket(instructed_server.flowing_url) as client:
        await client.start(voice="sine", instruction="very happy", enable_ssml=True)
        await client.run(EMOTIONAL.replace("happy", "sad"))
        await client.stop()
        await client.until_closed()
    assert "told to be 'very sad'" in client.failure["status_text"]


async def test_a_mark_is_for_the_model_that_knows_it(
    instructed_server: ServerProcess, sine_server: ServerProcess
) -> None:
    for server, length in ((instructed_server, len("一二三[laughter]四。")), (sine_server, 5)):
        client = await speak(
            server.flowing_url, "一二三[laughter]四。", voice="sine", sample_rate=24000
        )
        assert_heard(client.audio, tones((length, "sine")))
