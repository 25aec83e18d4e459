"""A client of Aliyun's `FlowingSpeechSynthesizer` over WebSocket: text in pieces, audio back.

`FlowingSocket` says and hears single messages in the caller's own time; load generators use it.
`FlowingClient` adds a reader task, so that audio is taken and stamped while the caller is busy with
text or a player, and deadlines, so that it never waits for ever.

Message names, fields and the order of events: Aliyun's "streaming-text-tts-wss".
"""

from server.client.connection import FlowingSocket
from server.client.errors import (
    ClientError,
    ConnectError,
    ConnectionLostError,
    ServerMessageError,
    ServerSilentError,
    TaskFailed,
)
from server.client.flowing import FlowingClient
from server.client.messages import (
    Audio,
    Completed,
    Event,
    SentenceBegin,
    SentenceEnd,
    Started,
    Subtitle,
    Subtitles,
    TaskOptions,
)

__all__ = [
    "Audio",
    "ClientError",
    "Completed",
    "ConnectError",
    "ConnectionLostError",
    "Event",
    "FlowingClient",
    "FlowingSocket",
    "SentenceBegin",
    "SentenceEnd",
    "ServerMessageError",
    "ServerSilentError",
    "Started",
    "Subtitle",
    "Subtitles",
    "TaskFailed",
    "TaskOptions",
]
