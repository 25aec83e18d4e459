"""`/voice/list`, and the previews that its addresses lead to."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import av
import httpx
import pytest
from server_process import ServerProcess

from models.base import Voice
from server import limits
from server.errors import ErrorCode, SpeechError
from server.speech.previews import PreviewShelf, sentence
from server.speech.types import AudioProduced
from server.speech.voices import VoiceEntry

SINE = ("--model", "sine=sine_model:SineModel")


def voices_of(process: ServerProcess, **options: Any) -> list[dict[str, Any]]:
    answer = httpx.get(f"http://{process.address}/v1/voice/list", **options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    voices: list[dict[str, Any]] = answer.json()
    return voices


def test_voices_and_qinius_names_for_them(server: ServerProcess) -> None:
    voices = {voice["voice_type"]: voice for voice in voices_of(server)}
    own, alias = voices["中文女"], voices["qiniu_zh_female_tmjxxy"]
    assert set(own) == {"voice_name", "voice_type", "url", "category", "updatetime"}
    assert own["voice_name"] == "中文女"
    assert alias["voice_name"] == "中文女 (qiniu_zh_female_tmjxxy)"
    assert alias["url"] == own["url"]
    assert own["category"] == "传统音色"
    assert voices_of(server)[0]["updatetime"] == voices_of(server)[0]["updatetime"]


def test_a_preview_is_spoken_once(server: ServerProcess) -> None:
    (url,) = (voice["url"] for voice in voices_of(server) if voice["voice_type"] == "英文女")
    spoken = {"protocol": "preview", "outcome": "completed"}
    before = server.metric("cosystream_sessions_total", **spoken)
    first, second = httpx.get(url), httpx.get(url)
    assert server.metric("cosystream_sessions_total", **spoken) == before + 1
    assert first.headers["content-type"] == "audio/mpeg"
    assert first.content == second.content
    with av.open(io.BytesIO(first.content)) as container:
        assert container.streams.audio[0].codec_context.name == "mp3float"
        assert 1 < sum(f.samples / f.sample_rate for f in container.decode(audio=0)) < 10


def test_a_preview_of_nobody(server: ServerProcess) -> None:
    answer = httpx.get(f"http://{server.address}/voice/preview/nobody.mp3")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "voice_unknown")


def test_addresses_are_those_that_the_client_sees(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", *SINE, root_path="/speech") as process:
        headers = {"Host": "voices.example:8443", "X-Forwarded-Proto": "https"}
        url = voices_of(process, headers=headers)[0]["url"]
        assert url == "https://voices.example:8443/speech/voice/preview/sine.mp3"
        # The proxy strips its prefix.
        path = urlsplit(url).path.removeprefix("/speech")
        assert httpx.get(f"http://{process.address}{path}").status_code == 200


def test_an_address_opens_its_own_voice_only(tmp_path: Path) -> None:
    """An audio element can show no key, and nobody may hear voices by guessing their names."""
    with ServerProcess(tmp_path / "log", *SINE, "--token", "right") as process:
        url = f"http://{process.address}/v1/voice/list"
        assert httpx.get(url).status_code == 401
        voices = voices_of(process, headers={"Authorization": "Bearer right"})
        first, second = (voice["url"] for voice in voices)
        assert httpx.get(first).status_code == 200
        other = f"{urlsplit(second)._replace(query='').geturl()}?{urlsplit(first).query}"
        for wrong in [other, first.partition("?")[0]]:
            answer = httpx.get(wrong)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token_invalid")
        with_token = {"Authorization": "Bearer right"}
        assert httpx.get(first.partition("?")[0], headers=with_token).status_code == 200


# --- The shelf -------------------------------------------------------------------------------


class FakeSpeech:
    """Speaks a file of the size that it is told, and says how many at once."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.opened: list[str] = []
        self.running = 0
        self.most = 0

    def open(self, options: Any, **_: Any) -> FakeSpeech:
        self.opened.append(options.voice)
        return self

    def feed(self, text: str) -> None:
        assert text

    def finish(self) -> None:
        pass

    async def events(self) -> Any:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        if self.size_bytes:
            yield AudioProduced(bytes(self.size_bytes))

    def close(self) -> None:
        pass


def entry(name: str) -> VoiceEntry:
    voice = Voice(name=name, language="en")
    return VoiceEntry(name=name, model="m", voice=voice, sample_rate_hz=24_000)


@pytest.mark.anyio
async def test_the_shelf_has_an_end() -> None:
    speech = FakeSpeech(limits.PREVIEW_CACHE_BYTES // 2)
    shelf = PreviewShelf(speech)  # type: ignore[arg-type]  # what it needs of it
    for name in ["a", "b", "a", "c", "a", "b"]:
        await shelf.get(entry(name))
    assert speech.opened == ["a", "b", "c", "b"]


@pytest.mark.anyio
async def test_one_at_a_time() -> None:
    speech = FakeSpeech(1)
    shelf = PreviewShelf(speech)  # type: ignore[arg-type]
    await asyncio.gather(*(shelf.get(entry(name)) for name in "abcabc"))
    assert (speech.most, sorted(speech.opened)) == (1, ["a", "b", "c"])


@pytest.mark.anyio
async def test_a_clone_that_was_made_again_is_spoken_again() -> None:
    speech = FakeSpeech(1)
    shelf = PreviewShelf(speech)  # type: ignore[arg-type]
    for clone_id in ["clone-1", "clone-2", "clone-2"]:
        facts = SimpleNamespace(id=clone_id, created_at="2026-05-04T12:00:00+00:00")
        clone = replace(entry("mine"), clone=SimpleNamespace(facts=facts))
        await shelf.get(clone)
        assert shelf.updated_ms(clone) == 1_777_896_000_000
    assert speech.opened == ["mine", "mine"]


@pytest.mark.anyio
async def test_silence_is_no_preview() -> None:
    shelf = PreviewShelf(FakeSpeech(0))  # type: ignore[arg-type]
    with pytest.raises(SpeechError) as caught:
        await shelf.get(entry("a"))
    assert caught.value.code is ErrorCode.MODEL_FAILED


@pytest.mark.parametrize(
    ("language", "begin"), [("cmn", "你好"), ("zh-CN", "你好"), ("en-US", "Hello"), ("de", "1")]
)
def test_each_language_has_its_sentence(language: str, begin: str) -> None:
    assert sentence(language).startswith(begin)
