"""What a voice sounds like: a sentence of each, spoken when somebody first asks, then kept."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import OrderedDict
from datetime import datetime
from typing import TypeAlias

from server import limits
from server.errors import ErrorCode, SpeechError
from server.speech.service import SpeechService
from server.speech.types import AudioFormat, AudioProduced, SpeechOptions
from server.speech.voices import VoiceEntry

CONTENT_TYPE = "audio/mpeg"
_TENANT = "preview"
_SENTENCES = {
    "cmn": "你好，这是我的声音，很高兴认识你。",
    "zh": "你好，这是我的声音，很高兴认识你。",
    "yue": "你好，呢個係我把聲，好高興認識你。",
    "en": "Hello, this is my voice. Nice to meet you.",
    "ja": "こんにちは、これが私の声です。よろしくお願いします。",
    "ko": "안녕하세요, 제 목소리입니다. 만나서 반갑습니다.",
}
_OTHER_LANGUAGES = "1, 2, 3, 4, 5."
"""Every model reads digits in the language of its voice."""


_Key: TypeAlias = tuple[str, str]


class PreviewShelf:
    """Previews in MP3, the least recently asked for are forgotten first."""

    def __init__(self, speech: SpeechService) -> None:
        self._speech = speech
        self._files: OrderedDict[_Key, bytes] = OrderedDict()
        self._size_bytes = 0
        # One at a time: they are nobody's conversation, and shall disturb none.
        self._speaking = asyncio.Lock()
        self._first_seen_ms: dict[_Key, int] = {}

    def updated_ms(self, entry: VoiceEntry) -> int:
        """When a clone was made, or this server first knew the voice, in Unix milliseconds."""
        if entry.clone is not None:
            return round(datetime.fromisoformat(entry.clone.facts.created_at).timestamp() * 1000)
        return self._first_seen_ms.setdefault(_key(entry), time.time_ns() // 1_000_000)

    async def get(self, entry: VoiceEntry) -> bytes:
        """The preview of a voice.

        Raises:
            SpeechError: it could not be spoken.
        """
        async with self._speaking:
            key = _key(entry)
            file = self._files.get(key)
            if file is None:
                file = await self._speak(entry)
                self._keep(key, file)
            self._files.move_to_end(key)
        return file

    def _keep(self, key: _Key, file: bytes) -> None:
        self._files[key] = file
        self._size_bytes += len(file)
        while self._size_bytes > limits.PREVIEW_CACHE_BYTES and len(self._files) > 1:
            _, forgotten = self._files.popitem(last=False)
            self._size_bytes -= len(forgotten)

    async def _speak(self, entry: VoiceEntry) -> bytes:
        session = self._speech.open(
            SpeechOptions(voice=entry.name, audio_format=AudioFormat.MP3),
            tenant=_TENANT,
            protocol="preview",
            task_id=uuid.uuid4().hex,
        )
        file = bytearray()
        try:
            session.feed(sentence(entry.voice.language))
            session.finish()
            async with contextlib.aclosing(session.events()) as events:
                async for event in events:
                    if isinstance(event, AudioProduced):
                        file += event.data
        finally:
            session.close()
        if not file:
            raise SpeechError(ErrorCode.MODEL_FAILED, f"Voice '{entry.name}' says nothing!")
        return bytes(file)


def _key(entry: VoiceEntry) -> _Key:
    # A clone's id changes with its recording.
    return (entry.model, entry.id)


def sentence(language: str) -> str:
    """What is said in a language, a BCP 47 tag."""
    return _SENTENCES.get(language.partition("-")[0].lower(), _OTHER_LANGUAGES)
