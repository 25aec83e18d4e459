"""Audio of a speech session as the body of an HTTP response."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from server.errors import ErrorCode, SpeechError
from server.speech.session import SpeechSession
from server.speech.types import AudioProduced


class HttpSpeech:
    """Speaks one text over HTTP: errors before the first byte can still be told.

    Args:
        session: a fresh session, which is closed when the response ends, or by `close`.
        text: all that is to be said.
    """

    def __init__(self, session: SpeechSession, text: str) -> None:
        self._session = session
        self._text = text
        self._audio = self._speak()
        self._first: bytes | None = None

    async def begin(self) -> bool:
        """Wait for the first bytes; False if the text has nothing to speak.

        Raises:
            SpeechError: the task failed. The session is closed then.
        """
        self._first = await anext(self._audio, None)
        return self._first is not None

    def close(self) -> None:
        """Stop speaking."""
        self._session.close()

    def fail(self, error: SpeechError) -> None:
        """Stop speaking because of this error."""
        self._session.fail(error)

    async def audio(self) -> AsyncGenerator[bytes]:
        """All bytes, after `begin`.

        Raises:
            SpeechError: the task failed.
        """
        if self._first is not None:
            yield self._first
        async with contextlib.aclosing(self._audio):
            async for data in self._audio:
                yield data

    async def _speak(self) -> AsyncGenerator[bytes]:
        try:
            self._session.feed(self._text)
            self._session.finish()
            async with contextlib.aclosing(self._session.events()) as events:
                async for event in events:
                    if isinstance(event, AudioProduced):
                        yield event.data
        except SpeechError as error:
            self._session.fail(error)
            raise
        finally:
            self._session.close()


class SpeechResponse(StreamingResponse):
    """A response that stops the model when the client goes away, or takes nothing for too long.

    After the first byte an error can only cut the body short, which a client of chunked transfer
    sees.
    """

    def __init__(
        self,
        speech: HttpSpeech,
        *,
        send_timeout_s: float,
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(speech.audio(), headers=headers, media_type=media_type)
        self._speech = speech
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._speech.close()

    async def stream_response(self, send: Send) -> None:
        """Send head and body, each piece within the deadline."""
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        try:
            async for data in self.body_iterator:
                async with asyncio.timeout(self._send_timeout_s):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        except SpeechError:
            return
        except TimeoutError:
            self._speech.fail(
                SpeechError(ErrorCode.CLIENT_TOO_SLOW, "Client does not read its audio!")
            )
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
