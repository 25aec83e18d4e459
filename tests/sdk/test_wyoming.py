"""Home Assistant: the package's own client against a running server, event by event as it does."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from flowing import eventually, samples_of
from server_process import ServerProcess
from sine_model import sine_samples
from word_recognizer import words
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioFormat, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeVoice,
)
from wyoming_client import WyomingClient, port_of

pytestmark = pytest.mark.anyio
OCTAVE = SynthesizeVoice(name="sine-2")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("wyoming-server") / "log"
    recognizer = {
        "kind": "word_recognizer:WordRecognizer",
        "options": {"sample_rate_hz": 16_000},
    }
    arguments = ("--model", "sine=sine_model:SineModel", "--wyoming", "127.0.0.1:0")
    with ServerProcess(log, *arguments, recognizer=json.dumps(recognizer)) as server:
        yield server


@pytest.fixture(scope="module")
def port(process: ServerProcess) -> int:
    return port_of(process)


@pytest.fixture
async def client(port: int) -> AsyncIterator[WyomingClient]:
    async with WyomingClient(port) as connected:
        yield connected


def failure(event: Event) -> Error:
    return Error.from_event(event)


async def test_info_tells_home_assistant_what_it_lists(client: WyomingClient) -> None:
    await client.send(Describe())
    info = Info.from_event(await client.until("info"))
    (program,) = [program for program in info.tts if program.installed]
    assert program.supports_synthesize_streaming
    assert program.attribution.url.startswith("https://")
    assert program.version
    voices = {voice.name: voice for voice in program.voices if voice.installed}
    assert set(voices) == {"sine", "sine-2"}
    assert voices["sine-2"].languages == ["zh"]
    assert not voices["sine-2"].speakers
    (listener,) = info.asr
    assert listener.models[0].installed


async def test_a_whole_text(client: WyomingClient) -> None:
    await client.send(Synthesize("aaaa bbbb", OCTAVE))
    await client.until("audio-stop")
    assert client.types == ["audio-start", "audio-chunk", "audio-stop"]
    start = AudioStart.from_event(client.received[0])
    assert (start.rate, start.width, start.channels) == (24_000, 2, 1)
    expected = sine_samples(9, voice="sine-2")
    np.testing.assert_allclose(samples_of(client.audio), expected, atol=1e-4)


async def test_a_streamed_text_is_heard_before_its_last_piece(client: WyomingClient) -> None:
    await client.send(SynthesizeStart(), SynthesizeChunk("One sentence. And "))
    await client.until("audio-chunk")
    rest = [SynthesizeChunk("more."), Synthesize("One sentence. And more."), SynthesizeStop()]
    await client.send(*rest)
    await client.until("synthesize-stopped")
    assert client.types == ["audio-start", "audio-chunk", "audio-stop", "synthesize-stopped"]
    # A sentence may lose its last space, and nothing is said twice.
    assert math.isclose(len(client.audio) / 48_000, 2.3, abs_tol=0.15)


async def test_an_unknown_voice_is_an_error_and_not_the_end(client: WyomingClient) -> None:
    await client.send(Synthesize("Hello.", SynthesizeVoice(name="sine-3")))
    error = failure(await client.until("error"))
    assert (error.code, "sine-2" in error.text) == ("voice_unknown", True)
    await client.until("audio-stop")
    await client.send(SynthesizeStart(SynthesizeVoice(language="de")))
    assert "'de'" in failure(await client.until("error")).text
    # Home Assistant does not look at errors: this is what ends its wait.
    await client.until("synthesize-stopped")
    await client.send(SynthesizeChunk("Hello."), Synthesize("Hello."), SynthesizeStop())
    await client.send(Synthesize("Hello.", SynthesizeVoice(language="zh-CN")))
    await client.until("audio-chunk")
    await client.until("audio-stop")
    assert client.types.count("error") == 2


@pytest.mark.parametrize("text", ["", " \n", "😀"])
async def test_nothing_to_say_is_said_in_no_time(client: WyomingClient, text: str) -> None:
    await client.send(Synthesize(text))
    await client.until("audio-stop")
    await client.send(SynthesizeStart(), SynthesizeChunk(text), SynthesizeStop())
    await client.until("synthesize-stopped")
    assert (client.types.count("error"), client.audio) == (0, b"")


async def test_a_model_that_fails_within_a_stream(client: WyomingClient) -> None:
    await client.send(SynthesizeStart(), SynthesizeChunk("please fail: now. "))
    assert failure(await client.until("error")).code == "model_failed"
    await client.until("synthesize-stopped")
    await client.send(SynthesizeChunk("More."), Synthesize("All of it."), SynthesizeStop())
    await client.send(Synthesize("Hello."))
    await client.until("audio-chunk")


async def test_texts_sent_ahead_are_spoken_in_their_order(client: WyomingClient) -> None:
    texts = ["a" * n for n in range(1, 21)]
    await client.send(*(Synthesize(text) for text in texts))
    lengths = []
    for _ in texts:
        client.received.clear()
        await client.until("audio-stop")
        lengths.append(round(len(client.audio) / 4800))
    assert lengths == list(range(1, 21))


async def test_ping_is_answered_while_it_speaks(client: WyomingClient) -> None:
    await client.send(Synthesize("please hang"), Ping("still there?"))
    assert (await client.until("pong")).data == {"text": "still there?"}


async def test_a_client_that_leaves_frees_its_place(process: ServerProcess, port: int) -> None:
    def active() -> float:
        return process.metric("cosystream_active_sessions")

    await eventually(lambda: active() == 0)
    async with WyomingClient(port) as one, WyomingClient(port) as other:
        await one.send(Synthesize("please hang"))
        await other.send(SynthesizeStart(), SynthesizeChunk("please hang"))
        await eventually(lambda: active() == 2)
    await eventually(lambda: active() == 0)


# --- Recognition -----------------------------------------------------------------------------


def sound(n_words: int, audio_format: AudioFormat) -> bytes:
    n_samples = round(n_words * 0.1 * audio_format.rate)
    mono = 16_000 * np.sin(np.arange(n_samples) * 2 * np.pi * 440 / audio_format.rate)
    return np.repeat(mono.astype("<i2"), audio_format.channels).tobytes()


@pytest.mark.parametrize(
    "audio_format", [AudioFormat(16_000, 2, 1), AudioFormat(48_000, 2, 2)], ids=["mono", "stereo"]
)
async def test_what_was_said(client: WyomingClient, audio_format: AudioFormat) -> None:
    details = {"rate": audio_format.rate, "width": 2, "channels": audio_format.channels}
    for n_words in (3, 5):
        await client.send(Transcribe(language="en"), AudioStart(**details))
        data = sound(n_words, audio_format)
        await client.send(
            *(AudioChunk(audio=data[i : i + 2000], **details) for i in range(0, len(data), 2000))
        )
        await client.send(AudioStop())
        heard = Transcript.from_event(await client.until("transcript"))
        assert (heard.text, heard.language) == (words(n_words), "en")


async def test_audio_that_is_not_understood_ends_the_connection(client: WyomingClient) -> None:
    await client.send(Transcribe(), AudioStart(16_000, 4, 1))
    assert failure(await client.until("error")).code == "format_unsupported"
    await client.until_closed()


async def test_a_client_that_stops_talking_by_leaving(process: ServerProcess, port: int) -> None:
    async with WyomingClient(port) as client:
        await client.send(AudioStart(16_000, 2, 1))
        await eventually(lambda: process.metric("cosystream_active_sessions") > 0)
    await eventually(lambda: process.metric("cosystream_active_sessions") == 0)
    assert process.metric("cosystream_sessions_total", protocol="wyoming-asr") > 0
