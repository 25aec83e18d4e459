"""DashScope's WebSocket: `/api-ws/v1/inference`, with and without a slash at its end."""

from __future__ import annotations

import uuid
from dataclasses import replace

from starlette.websockets import WebSocket

from server.endpoints.conversation import SpeechConversation
from server.endpoints.dashscope_refusal import refusal
from server.endpoints.dashscope_voices import find_voice
from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.protocols.dashscope_messages import StartTask
from server.protocols.dashscope_socket import IDLE_TIMEOUT_S, Connection
from server.protocols.task import State
from server.speech.types import SessionEvent

PROTOCOL = "dashscope"


async def stream_speech(websocket: WebSocket) -> None:
    """Serve one connection from handshake to close; a wrong key is refused at the handshake."""
    services: Services = websocket.app.state.services
    try:
        if len(services.conversations) >= services.settings.max_connections:
            raise SpeechError(ErrorCode.CAPACITY_EXCEEDED, "Too many connections!")
        tenant = services.authenticator.identify(
            websocket.headers, websocket.query_params, websocket.query_params.get("api_key", "")
        )
    except SpeechError as error:
        await websocket.send_denial_response(refusal(error, str(uuid.uuid4())))
        return
    await websocket.accept()
    await _DashscopeConversation(websocket, services, tenant).run()


class _DashscopeConversation(SpeechConversation[Connection]):
    """One accepted connection."""

    def __init__(self, websocket: WebSocket, services: Services, tenant: str) -> None:
        idle_timeout_s = services.settings.idle_timeout_s
        super().__init__(
            websocket,
            services,
            tenant,
            Connection(),
            idle_timeout_s=max(idle_timeout_s, IDLE_TIMEOUT_S) if idle_timeout_s else 0.0,
        )

    async def _handle(self, frame: str | bytes) -> None:
        command = self._protocol.receive(frame)
        if isinstance(command, StartTask):
            await self._start(command)
        elif command is not None:
            self._apply(command)

    async def _start(self, task: StartTask) -> None:
        if self._session is not None:
            # A new task ends the one that runs, which is told as its end.
            self._protocol.cancel()
            self._session.cancel()
        if not await self._ready():
            return
        self._protocol.begin(task)
        voice = find_voice(self._services, task.options.voice, model=task.model)
        self._begin(
            replace(task.options, voice=voice),
            protocol=PROTOCOL,
            text=task.text,
            whole=not task.streamed,
        )

    def _frames(self, event: SessionEvent) -> tuple[str | bytes, ...]:
        return self._protocol.send(event)

    def _idle_error(self, limit_s: float) -> SpeechError | None:
        if self._protocol.state is State.IDLE:
            # No task is there that could fail.
            return None
        return SpeechError(ErrorCode.IDLE_TIMEOUT, f"request timeout after {limit_s:g} seconds.")
