"""Aliyun NLS over WebSocket: the state machine of one connection, without I/O.

`receive` turns a client's frame into what is to be done, `send` turns what a speech session tells
into the frame that goes out.

    idle --StartSynthesis--> running --StopSynthesis--> stopping --SynthesisCompleted--> idle
    idle --StartSynthesis with all of the text--------> stopping
      any --error--> failed (TaskFailed was sent, the endpoint closes)

Many tasks may follow one another on a connection, each with a task_id of its own (Java's and the
C++ SDK's long connections, xiaozhi), and each in a namespace of its own: what a namespace makes of
messages and events is a `SpeechTask`.
"""

from __future__ import annotations

from collections.abc import Mapping

from server.errors import ErrorCode, SpeechError
from server.protocols import nls, nls_flowing, nls_oneshot
from server.protocols.nls_task import START, STOP, SpeechTask, StartTask
from server.protocols.task import CancelTask, FinishTask, State, TaskCommand
from server.speech.types import SessionEvent, SessionFinished

NAMESPACES: Mapping[str, type[SpeechTask]] = {
    nls_flowing.NAMESPACE: nls_flowing.FlowingTask,
    nls_oneshot.NAMESPACE: nls_oneshot.OneShotTask,
    nls_oneshot.LONG_NAMESPACE: nls_oneshot.LongTask,
}


class Connection:
    """One client's connection.

    Args:
        require_appkey: refuse tasks without an appkey in the header.
    """

    def __init__(self, *, require_appkey: bool = False) -> None:
        self._require_appkey = require_appkey
        self.state = State.IDLE
        self.task_id = ""
        self.last_directive = "null"
        self.tasks_completed = 0
        self._task: SpeechTask | None = None
        self._completed_id = ""

    @property
    def task(self) -> SpeechTask:
        """The task of the last StartSynthesis that was taken."""
        if self._task is None:
            raise RuntimeError("no task has been started")
        return self._task

    # --- From the client -------------------------------------------------------------------

    def receive(self, frame: str | bytes) -> StartTask | TaskCommand | None:
        """Take a WebSocket message; None if nothing is to be done.

        Raises:
            SpeechError: the client made a mistake; `fail` tells it.
        """
        if self.state is State.IDLE:
            # An error below belongs to the task that this message is about.
            self.task_id = nls.peek_task_id(frame)
        message = nls.parse(frame)
        kind = NAMESPACES.get(message.namespace)
        if kind is None:
            raise SpeechError(
                ErrorCode.NAMESPACE_UNKNOWN, f"Unknown namespace '{nls.echo(message.namespace)}'!"
            )
        self.last_directive = message.name
        if message.name not in kind.directives:
            raise SpeechError(
                ErrorCode.MESSAGE_UNKNOWN,
                f"Unsupported directive '{nls.echo(message.name)}' in {message.namespace}!",
            )
        if message.name == START:
            return self._start(message, kind(message.namespace, message.task_id))
        if message.name == STOP:
            return self._stop(message)
        self._expect_running(message)
        return self.task.receive(message.name, message.payload)

    def _start(self, message: nls.ClientMessage, task: SpeechTask) -> StartTask:
        if self.state is not State.IDLE:
            raise SpeechError(
                ErrorCode.STATE_CONFLICT, f"Got start directive while task is {self.state}!"
            )
        if self._require_appkey and not message.appkey:
            raise SpeechError(ErrorCode.APPKEY_MISSING, "appkey not set")
        command = task.start(message.payload)
        self.state = State.RUNNING if command.text is None else State.STOPPING
        self._task = task
        return command

    def _stop(self, message: nls.ClientMessage) -> FinishTask | CancelTask | None:
        cancel = nls.boolean(message.payload, "cancel", default=False)
        if cancel and self.state is State.IDLE and message.task_id == self._completed_id:
            # It crossed with SynthesisCompleted on the wire, which the client could not know.
            return None
        if cancel and self.state is State.STOPPING:
            self._expect_own(message)
            return CancelTask()
        self._expect_running(message)
        self.state = State.STOPPING
        return CancelTask() if cancel else FinishTask()

    def _expect_running(self, message: nls.ClientMessage) -> None:
        if self.state is not State.RUNNING:
            verb = message.name.removesuffix("Synthesis").removesuffix("Text").lower()
            raise SpeechError(
                ErrorCode.STATE_CONFLICT, f"Got {verb} directive while task is {self.state}!"
            )
        self._expect_own(message)

    def _expect_own(self, message: nls.ClientMessage) -> None:
        if message.task_id != self.task_id:
            raise SpeechError(
                ErrorCode.TASK_MISMATCH, f"Task ID not match: '{nls.echo(message.task_id)}'!"
            )
        if message.namespace != self.task.namespace:
            raise SpeechError(
                ErrorCode.TASK_MISMATCH,
                f"Namespace not match: '{message.namespace}', the task's is "
                f"'{self.task.namespace}'!",
            )

    # --- To the client ---------------------------------------------------------------------

    def started(self) -> str:
        """The answer to StartSynthesis."""
        return self.task.started()

    def send(self, event: SessionEvent) -> str | bytes | None:
        """The frame for an event of the session; None if the client is told nothing."""
        frame = self.task.send(event)
        if isinstance(event, SessionFinished):
            self.state = State.IDLE
            self._completed_id = self.task_id
            self.tasks_completed += 1
        return frame

    def fail(self, error: SpeechError) -> str:
        """Tell the client of an error; the task is over, and the endpoint closes."""
        self.state = State.FAILED
        return nls.render_failure(error, task_id=self.task_id)
