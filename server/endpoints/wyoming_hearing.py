"""Recognition over Wyoming: `transcribe`, audio, and one `transcript` when the audio has ended.

An error here ends the connection: Home Assistant waits for a transcript or for that.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from wyoming.asr import Transcript
from wyoming.event import Event

from models.recognition import RecognitionRequest
from server import limits
from server.auth import ANONYMOUS
from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.protocols import wyoming_audio
from server.protocols.wyoming_audio import AudioFormat, BeginAudio, EndAudio, HearAudio, Listen
from server.speech.pcm_input import PcmInput
from server.speech.recognition import MODEL, Recognition, too_busy

_PROTOCOL = "wyoming-asr"


class Hearing:
    """What one connection has to be heard.

    Args:
        send: writes events to the client.
    """

    def __init__(self, services: Services, send: Callable[[Event], Awaitable[None]]) -> None:
        self._services = services
        self._send = send
        self._wish = Listen()
        self._recognition: Recognition | None = None
        self._listener: asyncio.Task[str] | None = None
        self._format: AudioFormat | None = None
        self._pcm: PcmInput | None = None

    @property
    def open(self) -> bool:
        """A recognition is under way."""
        return self._recognition is not None

    async def receive(self, event: Event) -> bool:
        """Take an event; False if it is not about recognition.

        Raises:
            SpeechError: it fails.
        """
        message = wyoming_audio.read(event)
        match message:
            case None:
                return False
            case Listen():
                self._wish = message
            case BeginAudio(audio_format):
                self._begin(audio_format)
            case HearAudio(audio_format, data):
                await self._hear(audio_format, data)
            case EndAudio():
                await self._end()
        return True

    def fail(self, error: SpeechError) -> None:
        """Note why it ends."""
        if self._recognition is not None:
            self._recognition.fail(error)
            self.close()

    def close(self) -> None:
        """Stop it, if it still goes on."""
        listener = self._listener
        if listener is not None and not listener.cancel() and not listener.cancelled():
            # It has ended; why is known, or nobody's concern any more.
            listener.exception()
        if self._recognition is not None:
            self._recognition.close()
        self._recognition = self._listener = self._format = self._pcm = None

    def _begin(self, audio_format: AudioFormat) -> None:
        if self._recognition is not None:
            raise SpeechError(ErrorCode.STATE_CONFLICT, "Audio begins, and has not ended before!")
        info = self._services.pool.recognizers
        languages = next((one.capabilities.languages for one in info.values()), ())
        recognition = self._services.recognition.open(
            self._wish.name or MODEL,
            RecognitionRequest(language=wyoming_audio.own_tag(self._wish.language, languages)),
            tenant=ANONYMOUS,
            protocol=_PROTOCOL,
            task_id=uuid.uuid4().hex,
        )
        self._recognition = recognition
        self._format = audio_format
        self._pcm = PcmInput(
            sample_rate_hz=audio_format.rate,
            channels=audio_format.channels,
            target_rate_hz=recognition.sample_rate_hz,
        )
        self._listener = asyncio.create_task(_listen(recognition))

    async def _hear(self, audio_format: AudioFormat, data: bytes) -> None:
        if self._recognition is None:
            # Some clients begin without audio-start.
            self._begin(audio_format)
        if audio_format != self._format:
            raise SpeechError(ErrorCode.PARAMETER_INVALID, "The audio's format has changed!")
        await self._append(data, last=False)

    async def _append(self, data: bytes, *, last: bool) -> None:
        if self._recognition is None or self._pcm is None or self._listener is None:
            return
        if self._listener.done():
            # It cannot have heard the end: this raises why it has stopped.
            await self._listener
        await self._recognition.append(self._pcm.convert(data, last=last))
        if self._recognition.audio_s > limits.MAX_HEARD_S:
            raise SpeechError(
                ErrorCode.PARAMETER_INVALID, f"Audio is longer than {limits.MAX_HEARD_S:g} seconds!"
            )

    async def _end(self) -> None:
        if self._recognition is None or self._listener is None:
            return
        await self._append(b"", last=True)
        self._recognition.finish()
        try:
            async with asyncio.timeout(limits.RECOGNITION_TIMEOUT_S):
                text = await self._listener
        except TimeoutError:
            raise too_busy() from None
        # The client may come again as soon as it knows.
        self.close()
        await self._send(Transcript(text=text, language=self._wish.language or None).event())
        self._wish = Listen()


async def _listen(recognition: Recognition) -> str:
    async for _ in recognition.transcripts():
        pass
    return recognition.text
