"""One connection of Home Assistant's protocol, Wyoming, over plain TCP.

One task always reads, so that a client that leaves is seen at once, whatever else goes on; its end
of file is taken for that. A second one works through its events in order, a third speaks while a
speech session is open. What an event means is decided by `server.protocols.wyoming`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Coroutine

import structlog
from wyoming.event import Event
from wyoming.ping import Ping, Pong

from server.auth import ANONYMOUS
from server.endpoints.client_stream import ClientStream
from server.endpoints.services import Services
from server.endpoints.wyoming_hearing import Hearing
from server.errors import ErrorCode, SpeechError
from server.protocols import wyoming, wyoming_voices
from server.protocols.wyoming import (
    Answer,
    Command,
    FeedText,
    FinishTask,
    StartTask,
    TellInfo,
)
from server.protocols.wyoming_events import EventReader, encode
from server.speech.session import SpeechSession
from server.speech.types import SessionFinished, SpeechOptions

PROTOCOL = "wyoming"
_MAX_EVENTS_AHEAD = 8
"""Events that may wait for a task to end; then the client's are no longer read."""
_CLOSE_TIMEOUT_S = 15.0
_log = structlog.get_logger(__name__)


class Conversation:
    """One accepted connection.

    Args:
        permit: raises what a client is told instead of being served, and is asked every time.
    """

    def __init__(
        self, stream: ClientStream, services: Services, permit: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._services = services
        self._permit = permit
        self._protocol = wyoming.Connection()
        self._events: asyncio.Queue[Event] = asyncio.Queue(_MAX_EVENTS_AHEAD)
        self._hearing = Hearing(services, self._send)
        self._session: SpeechSession | None = None
        self._speaker: asyncio.Task[None] | None = None
        self._task_id = ""
        self._idle_since_s = time.monotonic()
        self._draining = False

    async def run(self) -> None:
        """Serve until the client or we close."""
        self._services.metrics.connection_opened()
        reader = asyncio.create_task(self._guarded(self._read()))
        worker = asyncio.create_task(self._guarded(self._work()))
        try:
            await asyncio.wait([reader, worker], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _stop(reader)
            await _stop(worker)
            await self._stop_speaking()
            self._hearing.close()
            self._close()
            await self._stream.wait_closed()
            self._services.metrics.connection_closed()

    async def drain(self) -> None:
        """The server stops: close now if no task runs, else after it."""
        self._draining = True
        if not self._busy:
            self._close()

    async def abort(self, error: SpeechError) -> None:
        """End whatever runs with this error."""
        self._draining = True
        if self._busy:
            await self._end(error)
        self._close()

    @property
    def _busy(self) -> bool:
        return self._session is not None or self._hearing.open

    # --- Reading -----------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read until the client has closed.

        Raises:
            SpeechError: it sends what is no event.
            OSError: the connection broke.
        """
        reader = EventReader()
        while data := await self._stream.receive():
            for event in reader.feed(data):
                self._stream.last_sign_s = time.monotonic()
                if Ping.is_type(event.type):
                    await self._send(Pong(event.data.get("text")).event())
                    # Sending need not wait; thousands at once must not keep others waiting.
                    await asyncio.sleep(0)
                else:
                    await self._events.put(event)

    async def _next(self) -> Event:
        """The next event.

        Raises:
            SpeechError: IDLE_TIMEOUT, nothing came for too long while we had nothing to do.
        """
        while True:
            limit_s, quiet_since_s = self._idle_limit_s(), self._quiet_since_s()
            deadline_s = None if limit_s == 0 else quiet_since_s + limit_s
            if deadline_s is not None and deadline_s <= time.monotonic() and self._events.empty():
                raise SpeechError(
                    ErrorCode.IDLE_TIMEOUT, f"Nothing came within {limit_s:g} seconds!"
                )
            patience_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    return await self._events.get()

    def _idle_limit_s(self) -> float:
        settings = self._services.settings
        return settings.text_timeout_s if self._busy else settings.idle_timeout_s

    def _quiet_since_s(self) -> float:
        """When the last sign of life was; now, while we are the ones who work."""
        last_s = max(self._stream.last_sign_s, self._idle_since_s)
        if self._session is None:
            return last_s
        if self._session.idle_since_s is None:
            return time.monotonic()
        return max(last_s, self._session.idle_since_s)

    # --- Doing -------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Do what the events say, one after the other.

        Raises:
            SpeechError: with which the connection ends.
            OSError: it broke.
        """
        while not self._draining or self._busy:
            await self._handle(await self._next())

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        """Have whatever goes wrong told to the client."""
        try:
            await work
        except SpeechError as error:
            await self._end(error)
        except OSError:
            self._stream.abort()
        except Exception:  # noqa: BLE001 - a defect must reach the client, not leave it waiting
            _log.exception("connection broke", protocol=PROTOCOL, task_id=self._task_id)
            await self._end(SpeechError(ErrorCode.INTERNAL, "Internal error!"))

    async def _handle(self, event: Event) -> None:
        self._permit()
        if await self._hearing.receive(event):
            return
        try:
            for command in self._protocol.receive(event):
                await self._do(command)
        except SpeechError as error:
            if error.code is ErrorCode.CLIENT_TOO_SLOW:
                raise
            await self._fail(error)

    async def _do(self, command: Command) -> None:
        match command:
            case StartTask():
                self._start(command)
            case FeedText(text):
                if self._session is not None:
                    self._session.feed(text)
            case FinishTask():
                await self._finish()
            case TellInfo():
                await self._tell_info()
            case Answer(event):
                await self._send(event)

    async def _tell_info(self) -> None:
        """Home Assistant keeps what it is told, so it is told when there is something to tell."""
        services = self._services
        try:
            if not services.pool.models:
                await services.pool.wait_ready(services.settings.worker_start_timeout_s)
            voices = services.speech.catalog.entries()
        except SpeechError:
            voices = []
        if not voices:
            problem = SpeechError(ErrorCode.MODEL_UNAVAILABLE, "No model is loaded yet, try again!")
            await self._send(wyoming.render(problem))
            return
        recognizers = services.pool.recognizers
        listener = next(((name, info.capabilities) for name, info in recognizers.items()), None)
        await self._send(wyoming_voices.describe(voices, listener).event())

    # --- Speaking ----------------------------------------------------------------------------

    def _start(self, command: StartTask) -> None:
        self._task_id = uuid.uuid4().hex
        voice = wyoming_voices.choose(command.voice, self._services.speech.catalog)
        command.reply.sample_rate_hz = voice.sample_rate_hz
        self._session = self._services.speech.open(
            SpeechOptions(voice=voice.id, ssml=command.ssml),
            tenant=ANONYMOUS,
            protocol=PROTOCOL,
            task_id=self._task_id,
        )
        self._speaker = asyncio.create_task(self._speak(self._session, command.reply))

    async def _finish(self) -> None:
        if self._session is not None:
            self._session.finish()
        if self._speaker is not None:
            await asyncio.wait([self._speaker])

    async def _speak(self, session: SpeechSession, reply: wyoming.Reply) -> None:
        """Send what the session tells, until it ends."""
        try:
            async with contextlib.aclosing(session.events()) as events:
                async for event in events:
                    if isinstance(event, SessionFinished):
                        # The client may come again as soon as it knows.
                        self._release(session)
                    await self._send(*reply.send(event))
        except SpeechError as error:
            await self._tell_failure(session, error)
        except OSError:
            self._stream.abort()
        except Exception:  # noqa: BLE001 - a defect must reach the client
            _log.exception("task broke", protocol=PROTOCOL, task_id=self._task_id)
            await self._tell_failure(session, SpeechError(ErrorCode.INTERNAL, "Internal error!"))
        finally:
            self._release(session)
            if self._draining:
                self._close()

    async def _tell_failure(self, session: SpeechSession, error: SpeechError) -> None:
        session.fail(error)
        self._release(session)
        await self._tell(error)

    def _release(self, session: SpeechSession) -> None:
        session.close()
        if self._session is session:
            self._session = None
            self._idle_since_s = time.monotonic()

    async def _stop_speaking(self) -> None:
        session, speaker = self._session, self._speaker
        if session is not None:
            session.cancel()
        if speaker is not None:
            await _stop(speaker)
        if session is not None:
            # A speaker that was cancelled before its first step has released nothing.
            self._release(session)

    # --- Failing -----------------------------------------------------------------------------

    async def _fail(self, error: SpeechError) -> None:
        """End the current task; the connection goes on."""
        if self._session is not None:
            self._session.fail(error)
        else:
            # A task that was open has its summary line; this one has no other.
            _log.info(
                "task refused", protocol=PROTOCOL, code=error.code.value, reason=error.message
            )
            await self._tell(error)
        if self._speaker is not None:
            await asyncio.wait([self._speaker])

    async def _tell(self, error: SpeechError) -> None:
        if error.code is ErrorCode.CLIENT_TOO_SLOW:
            # Whatever we sent now would wait behind what it does not read.
            self._stream.abort()
            return
        with contextlib.suppress(OSError, SpeechError):
            await self._send(*self._protocol.fail(error))

    async def _end(self, error: SpeechError) -> None:
        """End the current task, if any, and the connection."""
        # A client that does not read would hold its connection for as long as we try to tell it.
        self._stream.abort_later(_CLOSE_TIMEOUT_S)
        at_fault = self._busy or error.code is not ErrorCode.IDLE_TIMEOUT
        self._hearing.fail(error)
        if at_fault:
            await self._fail(error)
        self._close()

    async def _send(self, *events: Event) -> None:
        if events:
            await self._stream.send(encode(*events))

    def _close(self) -> None:
        self._stream.close(_CLOSE_TIMEOUT_S)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
