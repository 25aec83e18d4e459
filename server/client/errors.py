"""Why a client's task cannot go on.

ClientError
|-- ConnectError          nobody answers at the URL, or not as a server of this protocol
|-- ConnectionLostError   the connection ended before `SynthesisCompleted` or `TaskFailed`
|-- ServerSilentError     something was due from the server and did not come in time
|-- ServerMessageError    a text frame that is no message of the protocol
`-- TaskFailed            the server said so
"""

from __future__ import annotations


class ClientError(Exception):
    """The task cannot go on; the message says why, for people."""


class ConnectError(ClientError):
    """Nobody answers at the URL, or not as a WebSocket server of this protocol.

    Args:
        message: for people.
        status: the HTTP status of a refused handshake, None if there was no HTTP answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ConnectionLostError(ClientError):
    """The connection ended before `SynthesisCompleted` or `TaskFailed`."""


class ServerSilentError(ClientError):
    """Something was due from the server and did not come in time."""


class ServerMessageError(ClientError):
    """The server sent a text frame that is no message of the protocol."""


class TaskFailed(ClientError):  # noqa: N818 - the protocol's own name
    """The server ended the task with an error.

    Args:
        status: NLS status code, for example 40000001.
        message: the server's text.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} (status {status})")
        self.status = status
        self.message = message
