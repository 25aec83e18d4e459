"""Audio of a speech session as the body of an HTTP response."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping

from starlette.requests import ClientDisconnect
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

    async def begin(self, receive: Receive) -> bool:
        """Wait for the first bytes; False if the text has nothing to speak.

        Args:
            receive: the request's, whose body has been read: a client that leaves is noticed there.

        Raises:
            SpeechError: the task failed. The session is closed then.
            ClientDisconnect: the client went away. The session is closed then, too.
        """
        first = asyncio.create_task(self._read_first())
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({first, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                raise ClientDisconnect
            self._first = first.result()
        except BaseException:
            self.close()
            raise
        finally:
            first.cancel()
            gone.cancel()
            await asyncio.gather(first, gone, return_exceptions=True)
        return self._first is not None

    async def _read_first(self) -> bytes | None:
        return await anext(self._audio, None)

    @property
    def duration_s(self) -> float:
        """Of the audio so far."""
        return self._session.summary().audio_s

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
    sees. ASGI has no word for that: the connection's transport, which the server puts into
    `scope["state"]["transport"]`, is closed instead.
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
        self._failure: SpeechError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._speech.close()
        transport: asyncio.Transport | None = scope.get("state", {}).get("transport")
        if self._failure is not None and transport is not None:
            await self._cut(self._failure, transport, receive)

    async def stream_response(self, send: Send) -> None:
        """Send head and body, each piece within the deadline."""
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
            async for data in self.body_iterator:
                async with asyncio.timeout(self._send_timeout_s):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        except SpeechError as error:
            self._failure = error
            return
        except TimeoutError:
            self._failure = SpeechError(
                ErrorCode.CLIENT_TOO_SLOW, "Client does not read its audio!"
            )
            self._speech.fail(self._failure)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _cut(
        self, failure: SpeechError, transport: asyncio.Transport, receive: Receive
    ) -> None:
        """End the connection, and return when it has ended: only then is the response over."""
        if failure.code is not ErrorCode.CLIENT_TOO_SLOW:
            # What has been spoken may still leave.
            transport.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._send_timeout_s):
                    await _disconnected(receive)
                    return
        transport.abort()
        await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
