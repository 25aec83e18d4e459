"""One WebSocket connection to a flowing synthesizer, message by message."""

from __future__ import annotations

import ipaddress
import os
import time
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any, Self

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection, connect

from server.client.errors import ConnectError, ConnectionLostError
from server.client.messages import Audio, Event, TaskOptions, parse_message

NAMESPACE = "FlowingSpeechSynthesizer"
APPKEY = "cosystream"
"""Every header needs one; a self-hosted server takes any."""
MAX_FRAME_BYTES = 16 << 20
"""More than any server sends: ours keeps to 64 KiB, others to a sentence."""

FrameListener = Callable[[float, str | bytes], None]

_encode = msgspec.json.Encoder().encode


class FlowingSocket:
    """One connection, one task after another; every call is one message.

    Args:
        websocket: an open connection; `open` makes one.
        heard: called with the time (s of `time.perf_counter`) and the content of every frame.
    """

    def __init__(self, websocket: ClientConnection, heard: FrameListener | None = None) -> None:
        self._websocket = websocket
        self._heard = heard
        self._task_id = ""

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        token: str = "",
        open_timeout_s: float = 10.0,
        heard: FrameListener | None = None,
        **websocket_options: Any,  # noqa: ANN401 - as `websockets.connect` has them
    ) -> Self:
        """Connect to `url` (`ws://` or `wss://`).

        `websocket_options` go to `websockets.connect`.

        Raises:
            ConnectError: no server, a refused handshake, or no answer within `open_timeout_s`.
        """
        try:
            websocket = await connect(
                url,
                additional_headers={"X-NLS-Token": token} if token else None,
                compression=None,
                open_timeout=open_timeout_s,
                max_size=MAX_FRAME_BYTES,
                proxy=None if _is_loopback(url) else True,
                **websocket_options,
            )
        except websockets.InvalidStatus as error:
            raise _refused(url, error) from error
        except TimeoutError as error:
            raise ConnectError(f"{url} did not answer within {open_timeout_s:g} s") from error
        except (OSError, websockets.WebSocketException, ValueError) as error:
            raise ConnectError(f"no connection to {url}: {_reason(error)}") from error
        return cls(websocket, heard)

    async def start(self, options: TaskOptions) -> None:
        """Send `StartSynthesis` for a new task."""
        self._task_id = uuid.uuid4().hex
        await self._say("StartSynthesis", options)

    async def send(self, text: str) -> None:
        """Send `RunSynthesis` with a piece of text."""
        await self._say("RunSynthesis", {"text": text})

    async def flush(self) -> None:
        """Send `FlushText`: speak what is there, the task goes on."""
        await self._say("FlushText", {})

    async def stop(self) -> None:
        """Send `StopSynthesis`: speak the rest, then complete."""
        await self._say("StopSynthesis", {})

    async def _say(self, name: str, payload: object) -> None:
        header = {
            "appkey": APPKEY,
            "message_id": uuid.uuid4().hex,
            "task_id": self._task_id,
            "namespace": NAMESPACE,
            "name": name,
        }
        message = _encode({"header": header, "payload": payload})
        try:
            await self._websocket.send(message, text=True)
        except websockets.ConnectionClosed as error:
            raise _lost(error) from error

    async def receive(self) -> Event:
        """Wait for the next event.

        Raises:
            TaskFailed, ServerMessageError, ConnectionLostError: nothing comes after these.
        """
        while True:
            try:
                message = await self._websocket.recv()
            except websockets.ConnectionClosed as error:
                raise _lost(error) from error
            at_s = time.perf_counter()
            if self._heard is not None:
                self._heard(at_s, message)
            if isinstance(message, bytes):
                return Audio(at_s, message)
            event = parse_message(message, at_s)
            if event is not None:
                return event

    async def close(self) -> None:
        """Say goodbye and close; the server stops what it still does for us."""
        await self._websocket.close()

    def abort(self) -> None:
        """Vanish without a word."""
        self._websocket.transport.abort()


def _refused(url: str, error: websockets.InvalidStatus) -> ConnectError:
    response = error.response
    body = (response.body or b"").decode(errors="replace").strip()
    reason = body.splitlines()[0][:200] if body else response.reason_phrase
    message = f"{url} refused the connection: HTTP {response.status_code} {reason}"
    return ConnectError(message, response.status_code)


def _reason(error: Exception) -> str:
    """The address stands in asyncio's words, too; the system's are enough."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number and number > 0 else str(error)


def _lost(error: websockets.ConnectionClosed) -> ConnectionLostError:
    """Whose close frame came first, if any, tells what happened."""
    if error.rcvd is not None and (error.rcvd_then_sent or error.sent is None):
        who, close = "the server closed the connection", error.rcvd
    elif error.sent is not None:
        who, close = "this client closed the connection", error.sent
    else:
        return ConnectionLostError("the connection broke before the task was completed")
    reason = f" {close.reason}" if close.reason else ""
    return ConnectionLostError(f"{who} before the task was completed: {close.code}{reason}")


def _is_loopback(url: str) -> bool:
    """An HTTP proxy set in the environment does not reach this machine's own loopback."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
