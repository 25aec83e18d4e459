"""The real package `dashscope` against real server processes."""

from __future__ import annotations

import gc
import io
import json
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import av
import httpx
import numpy as np
import pytest
from clone_model import pitch_of, recording
from recording_host import RecordingHost, enrolling_server
from server_process import ServerProcess
from sine_model import sine_samples
from tokens import RIGHT_TOKEN

with warnings.catch_warnings():
    # What the package and its own dependencies do at import is not ours to mend.
    warnings.simplefilter("ignore")
    import dashscope
    from dashscope.audio import tts
    from dashscope.audio.http_tts import HttpSpeechSynthesizer
    from dashscope.audio.tts_v2 import (
        AudioFormat,
        ResultCallback,
        SpeechSynthesizer,
        VoiceEnrollmentException,
        VoiceEnrollmentService,
    )
    from dashscope.audio.tts_v2.speech_synthesizer import SpeechSynthesizerObjectPool
    from dashscope.common.error import RequestFailure

# The package leaves sockets for the collector to close.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TEXT = "一二三四五六七八九十。"
"""1.1 seconds of the sine."""
PCM_BYTES = 2 * sine_samples(len(TEXT)).size
PCM = AudioFormat.PCM_24000HZ_MONO_16BIT


@pytest.fixture(autouse=True)
def key() -> Iterator[None]:
    dashscope.api_key = "any"
    yield
    dashscope.api_key = None
    gc.collect()


@pytest.fixture
def url(sine_server: ServerProcess) -> str:
    return f"ws://{sine_server.address}/api-ws/v1/inference"


class Recorder(ResultCallback):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.audio = b""
        self.error = ""
        self.heard = threading.Event()
        self.closed = threading.Event()

    def on_open(self) -> None:
        self.calls.append("open")

    def on_event(self, message: str) -> None:
        self.events.append(json.loads(message))

    def on_data(self, data: bytes) -> None:
        self.audio += data
        self.heard.set()

    def on_complete(self) -> None:
        self.calls.append("complete")

    def on_error(self, message: str) -> None:
        self.error = message
        self.calls.append("error")

    def on_close(self) -> None:
        self.calls.append("close")
        self.closed.set()


def speaker(url: str, **options: Any) -> SpeechSynthesizer:
    options = {"model": "cosyvoice-v3", "voice": "sine", "format": PCM, **options}
    return SpeechSynthesizer(url=url, **options)


def test_as_in_the_readme_of_the_package(server: ServerProcess) -> None:
    synthesizer = SpeechSynthesizer(
        model="cosyvoice-v2",
        voice="longxiaochun_v2",
        url=f"ws://{server.address}/api-ws/v1/inference/",
    )
    audio = synthesizer.call("今天天气怎么样？")
    with av.open(io.BytesIO(audio)) as container:
        assert container.format.name == "mp3"
        assert next(container.decode(audio=0)).sample_rate == 22_050
    assert synthesizer.get_last_request_id()
    assert synthesizer.get_response()["payload"]["usage"]["characters"] == 15


def test_one_call_is_exactly_the_models_audio(url: str) -> None:
    assert len(speaker(url).call(TEXT)) == PCM_BYTES


def test_text_that_streams_is_heard_before_its_end(url: str) -> None:
    callback = Recorder()
    synthesizer = speaker(
        url, callback=callback, additional_params={"word_timestamp_enabled": True}
    )
    synthesizer.streaming_call(TEXT)
    assert callback.heard.wait(30)
    synthesizer.streaming_call(TEXT)
    synthesizer.streaming_complete(30_000)
    assert callback.closed.wait(30)
    assert len(callback.audio) == 2 * PCM_BYTES
    assert callback.calls == ["open", "complete", "close"]
    kinds = [event["payload"]["output"]["type"] for event in callback.events]
    assert [kind for i, kind in enumerate(kinds) if kind != (kinds[i - 1] if i else "")] == [
        "sentence-begin", "sentence-synthesis", "sentence-end"
    ] * 2  # fmt: skip
    end = callback.events[-1]["payload"]
    assert end["output"]["sentence"]["index"] == 1
    assert end["usage"] == {"characters": 42}
    first = end["output"]["sentence"]["words"][0]
    assert (first["text"], first["begin_index"], first["end_index"]) == ("一", 0, 1)
    assert first["begin_time"] == pytest.approx(1100, abs=20)


def test_flush_speaks_what_is_there(url: str) -> None:
    callback = Recorder()
    synthesizer = speaker(url, callback=callback)
    synthesizer.streaming_call("一二三")
    synthesizer.streaming_flush()
    assert callback.heard.wait(30)
    synthesizer.streaming_complete(30_000)
    assert callback.closed.wait(30)
    assert callback.calls[-2:] == ["complete", "close"]


def test_cancel_is_answered_with_the_end_of_the_task(url: str) -> None:
    callback = Recorder()
    synthesizer = speaker(url, callback=callback)
    synthesizer.streaming_call(TEXT * 200)
    assert callback.heard.wait(30)
    synthesizer.streaming_cancel()
    assert callback.calls == ["open", "complete", "close"]
    assert len(callback.audio) < 200 * PCM_BYTES


def test_a_call_that_ends_in_the_background(url: str) -> None:
    callback = Recorder()
    assert speaker(url, callback=callback).call(TEXT) is None
    assert callback.closed.wait(30)
    assert len(callback.audio) == PCM_BYTES


def test_the_pool_uses_a_connection_again(url: str, sine_server: ServerProcess) -> None:
    pool = SpeechSynthesizerObjectPool(max_size=1, url=url)
    before = sine_server.metric("cosystream_connections")
    try:
        for _ in range(3):
            synthesizer = pool.borrow_synthesizer(model="cosyvoice-v2", voice="sine", format=PCM)
            assert len(synthesizer.call(TEXT)) == PCM_BYTES
            pool.return_synthesizer(synthesizer)
        assert sine_server.metric("cosystream_connections") == before
    finally:
        pool.shutdown()
        synthesizer.close()


@pytest.mark.parametrize("voice", ["longxiaochun", "longxiaochun_v2", "longxiaochun_v3"])
def test_versions_of_voices_are_one_voice(server: ServerProcess, voice: str) -> None:
    url = f"ws://{server.address}/api-ws/v1/inference"
    plain = speaker(url, voice="zh-female").call("你好。")
    assert speaker(url, voice=voice).call("你好。") == plain


def test_an_unknown_voice_comes_with_near_ones(server: ServerProcess) -> None:
    url = f"ws://{server.address}/api-ws/v1/inference"
    with pytest.raises(RequestFailure) as caught:
        speaker(url, voice="longxiaochum_v2").call("你好。")
    assert caught.value.message.startswith("[tts:]Engine return error code: 418: ")
    assert "Did you mean longxiaochun" in caught.value.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voice": "nobody"}, "[tts:]Engine return error code: 418"),
        ({"voice": None}, "Request voice is invalid!"),
        ({"speech_rate": 3}, "Invalid rate '3'"),
        ({"volume": 101}, "Invalid volume"),
        ({"instruction": "x" * 129}, "Invalid instruction"),
    ],
)
def test_an_error_is_raised_where_the_user_is(url: str, change: Any, message: str) -> None:
    with pytest.raises(RequestFailure) as caught:
        speaker(url, **change).call(TEXT)
    assert caught.value.name == "InvalidParameter"
    assert message in caught.value.message


def test_nothing_to_say_is_an_error(url: str) -> None:
    with pytest.raises(RequestFailure, match="ensure input text is valid"):
        speaker(url).call("……")


def test_a_wrong_key_is_refused_at_the_handshake(guarded_address: str) -> None:
    url = f"ws://{guarded_address}/api-ws/v1/inference"
    dashscope.api_key = RIGHT_TOKEN
    assert speaker(url, voice="zh-female").call("你好。")
    dashscope.api_key = "wrong"
    dashscope.base_websocket_api_url = url
    result = tts.SpeechSynthesizer.call(model="sambert-zhichu-v1", text="你好。")
    assert result.get_response().status_code == 401


# --- The older module ------------------------------------------------------------------------


def test_the_older_module_gets_one_file(url: str) -> None:
    dashscope.base_websocket_api_url = url
    result = tts.SpeechSynthesizer.call(
        model="sine", text=TEXT, format="pcm", sample_rate=24_000, word_timestamp_enabled=True
    )
    assert len(result.get_audio_data()) == PCM_BYTES
    assert result.get_response().status_code == 200
    (sentence,) = result.get_timestamps()
    assert sentence["begin_time"] == 0
    assert [word["text"] for word in sentence["words"]][:2] == ["一", "二"]


def test_the_older_module_is_told_of_errors(url: str) -> None:
    dashscope.base_websocket_api_url = url
    result = tts.SpeechSynthesizer.call(model="sambert-nobody-v1", text=TEXT)
    assert result.get_audio_data() is None
    assert result.get_response().code == "InvalidParameter"


# --- HTTP ------------------------------------------------------------------------------------


@pytest.fixture
def asked(sine_server: ServerProcess) -> dict[str, Any]:
    return {
        "model": "cosyvoice-v3-flash",
        "text": TEXT,
        "voice": "sine",
        "audio_format": "pcm",
        "url": f"http://{sine_server.address}/api/v1",
    }


def test_over_http_there_is_an_address(asked: dict[str, Any]) -> None:
    result = HttpSpeechSynthesizer.call(**asked)
    assert result.status_code == 200
    assert len(httpx.get(result.audio_url).content) == PCM_BYTES
    assert result.audio_id in result.audio_url
    assert result.usage["characters"] == 21


def test_over_http_speech_streams(asked: dict[str, Any]) -> None:
    *pieces, last = HttpSpeechSynthesizer.call(**asked, stream=True)
    audio = b"".join(piece.audio_data for piece in pieces)
    assert len(pieces) > 5
    assert last.audio_data == audio
    assert httpx.get(last.audio_url).content == audio
    assert len(audio) == PCM_BYTES


def test_over_http_errors_have_their_code(asked: dict[str, Any]) -> None:
    result = HttpSpeechSynthesizer.call(**{**asked, "voice": "nobody"})
    assert (result.status_code, result.code) == (400, "InvalidParameter")
    with pytest.raises(RuntimeError, match="418"):
        list(HttpSpeechSynthesizer.call(**{**asked, "voice": "nobody"}, stream=True))


# --- Voice enrollment ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def enrolling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with enrolling_server(tmp_path_factory.mktemp("enrolling")) as process:
        yield process


@pytest.fixture
def service(enrolling: ServerProcess) -> Iterator[VoiceEnrollmentService]:
    before = dashscope.base_http_api_url
    dashscope.base_http_api_url = f"http://{enrolling.address}/api/v1"
    yield VoiceEnrollmentService()
    dashscope.base_http_api_url = before


@pytest.fixture(scope="module")
def host() -> Iterator[RecordingHost]:
    with RecordingHost() as host:
        yield host


def test_a_voice_from_its_recording_to_its_end(
    service: VoiceEnrollmentService, enrolling: ServerProcess, host: RecordingHost
) -> None:
    url = f"ws://{enrolling.address}/api-ws/v1/inference"

    def pitch_hz(voice: str) -> float:
        audio = speaker(url, model="cosyvoice-v2", voice=voice).call("Hello there.")
        return pitch_of(np.frombuffer(audio, "<i2").astype(np.float32), 24_000)

    low, high = host.put("low.wav", recording(200)), host.put("high.wav", recording(400))
    voice = service.create_voice("cosyvoice-v2", "me", low, language_hints=["en"])
    assert service.get_last_request_id()
    assert voice.startswith("cosyvoice-v2-me-")
    assert pitch_hz(voice) == pytest.approx(200, abs=2)
    with pytest.raises(RequestFailure, match="418"):
        speaker(url, model="cosyvoice-v3", voice=voice).call("Hello there.")
    (listed,) = service.list_voices(prefix="me")
    assert (listed["voice_id"], listed["status"]) == (voice, "OK")
    assert service.list_voices(prefix="you") == []
    assert service.query_voice(voice)["target_model"] == "cosyvoice-v2"
    service.update_voice(voice, high)
    assert pitch_hz(voice) == pytest.approx(400, abs=2)
    service.delete_voice(voice)
    assert service.list_voices() == []
    with pytest.raises(VoiceEnrollmentException, match=r"400, Code: BadRequest\.ResourceNotExist"):
        service.query_voice(voice)


def test_what_the_package_does_not_know_goes_through(
    service: VoiceEnrollmentService, enrolling: ServerProcess, host: RecordingHost
) -> None:
    text = "One two three four five six."
    voice = service.create_voice("clone", "me", host.put("a.wav", recording(300)), text=text)
    told = httpx.get(f"http://{enrolling.address}/v1/voices/{voice}").json()
    assert (told["text"], told["model"]) == (text, "clone")
    service.delete_voice(voice)


@pytest.mark.parametrize(
    ("prefix", "url", "message"),
    [
        ("not-good", "http://127.0.0.1:1/", "InvalidParameter, Error Message: Invalid prefix"),
        ("me", "http://127.0.0.1:1/", "BadRequest.InputDownloadFailed"),
        ("me", "http://127.0.0.2:1/", "not at a public address"),
    ],
)
def test_errors_of_the_enrollment(
    service: VoiceEnrollmentService, prefix: str, url: str, message: str
) -> None:
    with pytest.raises(VoiceEnrollmentException) as caught:
        service.create_voice("cosyvoice-v2", prefix, url)
    assert message in str(caught.value)
