"""The WebSocket endpoint of the Aliyun protocol: `/ws/v1/tts` and `/ws/v1`."""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket

from server.endpoints.conversation import SpeechConversation
from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.nls_connection import Connection
from server.protocols.nls_task import StartTask
from server.protocols.task import State
from server.speech.types import SessionEvent


async def flowing_speech(websocket: WebSocket) -> None:
    """Serve one connection from handshake to close."""
    services: Services = websocket.app.state.services
    if len(services.conversations) >= services.settings.max_connections:
        await websocket.send_denial_response(
            PlainTextResponse("Gateway:TOO_MANY_REQUESTS:Too many connections!", 503)
        )
        return
    refusal: SpeechError | None = None
    tenant = ""
    try:
        tenant = services.authenticator.identify(websocket.headers, websocket.query_params)
    except SpeechError as error:
        refusal = error
        if services.settings.token_refusal == "handshake":  # noqa: S105 - no secret
            body = f"Meta:ACCESS_DENIED:{error.message}"
            await websocket.send_denial_response(PlainTextResponse(body, 403))
            return
    await websocket.accept()
    await _NlsConversation(websocket, services, tenant, refusal).run()


class _NlsConversation(SpeechConversation[Connection]):
    """One accepted connection.

    Args:
        refusal: why no task may start; told as `TaskFailed` to the first message, because the
            Python SDK and browsers cannot read a refused handshake.
    """

    def __init__(
        self, websocket: WebSocket, services: Services, tenant: str, refusal: SpeechError | None
    ) -> None:
        settings = services.settings
        super().__init__(
            websocket,
            services,
            tenant,
            Connection(require_appkey=settings.require_appkey),
            idle_timeout_s=settings.idle_timeout_s,
        )
        self._refusal = refusal

    async def _handle(self, frame: str | bytes) -> None:
        if self._refusal is not None:
            self._protocol.task_id = nls.peek_task_id(frame)
            raise self._refusal
        command = self._protocol.receive(frame)
        if isinstance(command, StartTask):
            await self._start(command)
        elif command is not None:
            self._apply(command)

    async def _start(self, command: StartTask) -> None:
        if await self._ready():
            self._begin(
                command.options,
                protocol=self._protocol.task.protocol,
                text=command.text or "",
                whole=command.text is not None,
            )

    def _frames(self, event: SessionEvent) -> tuple[str | bytes, ...]:
        frame = self._protocol.send(event)
        return () if frame is None else (frame,)

    def _idle_error(self, _limit_s: float) -> SpeechError | None:
        if self._protocol.state is State.IDLE and self._protocol.tasks_completed:
            # Its tasks are done; a TaskFailed now would look like the failure of the last one.
            return None
        return SpeechError(
            ErrorCode.IDLE_TIMEOUT,
            "Websocket session is idle for too long time, the last directive is "
            f"'{nls.echo(self._protocol.last_directive)}'!",
        )
