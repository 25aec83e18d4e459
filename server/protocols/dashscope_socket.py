"""DashScope's `/api-ws/v1/inference`: the state machine of one WebSocket, without I/O.

    idle --run-task--> running --finish-task--> stopping --task-finished--> idle
      any --error--> failed (task-failed was sent, the endpoint closes)

`receive` turns a client's frame into what is to be done, `send` turns what a speech session tells
into frames. Tasks follow one another on a connection, each with a task_id of its own; a run-task
while one runs ends that one first. A task whose header says `streaming: out` (the package's older
module `dashscope.audio.tts`) brings its whole text in run-task and is never finished by the client.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from server import limits
from server.errors import ErrorCode, SpeechError
from server.protocols import dashscope, nls
from server.protocols.dashscope import count, invalid, missing
from server.protocols.dashscope_messages import (
    StartTask,
    milliseconds,
    parse,
    read_input,
    read_run_task,
    read_task_id,
    words_of,
)
from server.protocols.task import (
    CancelTask,
    FeedText,
    FinishTask,
    FlushText,
    State,
    TaskCommand,
)
from server.speech.types import (
    AudioProduced,
    SentenceFinished,
    SentenceStarted,
    SentenceSubtitle,
    SessionEvent,
    SessionFinished,
    SpeechOptions,
)

IDLE_TIMEOUT_S = 60.0
"""For which a connection without a task stays open at least: the package opens them in advance."""
_NO_TASK = "task can not be null"


class Connection:
    """One client's connection."""

    def __init__(self) -> None:
        self.state = State.IDLE
        self.task_id = ""
        self._streamed = True
        self._options: SpeechOptions | None = None
        self._pieces = 0
        self._characters = 0
        self._cancelled = False
        self._sentence = 0
        self._sentence_text = ""
        self._completed_id = ""

    # --- From the client -------------------------------------------------------------------

    def receive(self, frame: str | bytes) -> StartTask | TaskCommand | None:
        """Take a WebSocket message; None if nothing is to be done.

        Raises:
            SpeechError: the client made a mistake; `fail` tells it.
        """
        if self.state is State.IDLE:
            # An error below belongs to no task before, but to this message's.
            self.task_id = ""
        header, payload = parse(frame)
        task_id = read_task_id(header)
        if self.state is State.IDLE:
            self.task_id = task_id
        match header.get("action"):
            case "run-task":
                return read_run_task(task_id, header, payload)
            case "continue-task":
                return self._continue(task_id, read_input(payload))
            case "finish-task":
                return self._finish(task_id, payload)
            case action:
                raise SpeechError(
                    ErrorCode.MESSAGE_UNKNOWN, f"Unknown action '{nls.echo(action)}'!"
                )

    def begin(self, task: StartTask) -> None:
        """The task starts; the one before has ended.

        Raises:
            SpeechError: its text is too long.
        """
        self.task_id = task.task_id
        self.state = State.RUNNING if task.streamed else State.STOPPING
        self._streamed, self._options = task.streamed, task.options
        self._pieces = self._characters = self._sentence = 0
        self._sentence_text = ""
        self._cancelled = False
        if task.text:
            self._count(task.text)

    def cancel(self) -> None:
        """The running task is to end without the rest of its audio."""
        self._cancelled = True
        self.state = State.STOPPING

    def _continue(self, task_id: str, given: dict[str, Any]) -> FeedText | FlushText | None:
        if self.state is not State.RUNNING or task_id != self.task_id:
            raise SpeechError(ErrorCode.STATE_CONFLICT, _NO_TASK)
        text = given.get("text")
        flush = nls.boolean(given, "flush", default=False)
        if text is None and flush:
            return FlushText()
        if not isinstance(text, str):
            raise missing("payload.input.text")
        if not text:
            return FlushText() if flush else None
        self._count(text)
        return FeedText(text)

    def _count(self, text: str) -> None:
        ssml = self._options is not None and self._options.ssml
        characters = count(text, ssml=ssml)
        self._pieces += 1
        if ssml and self._pieces > 1:
            raise invalid("A task with enable_ssml takes its text in one continue-task!")
        self._characters += characters
        for name, size, most in (
            ("message", characters, limits.MAX_PIECE_CHARACTERS),
            ("task", self._characters, limits.MAX_TASK_CHARACTERS),
        ):
            if size > most:
                raise SpeechError(
                    ErrorCode.TEXT_TOO_LONG, f"Text is over the {most} characters of one {name}!"
                )

    def _finish(self, task_id: str, payload: dict[str, Any]) -> FinishTask | CancelTask | None:
        directive = nls.string(read_input(payload), "directive", "")
        if directive not in {"", "cancel"}:
            raise invalid(f"Invalid directive '{nls.echo(directive)}'!")
        if self.state is State.IDLE and task_id and task_id == self._completed_id:
            # It crossed with task-finished on the wire, which the client could not know.
            return None
        if self.state not in {State.RUNNING, State.STOPPING} or task_id != self.task_id:
            raise SpeechError(ErrorCode.STATE_CONFLICT, _NO_TASK)
        if directive == "cancel":
            self.cancel()
            return CancelTask()
        self.state = State.STOPPING
        return FinishTask()

    # --- To the client ---------------------------------------------------------------------

    def started(self) -> str:
        """The answer to run-task; the package waits 10 s for it."""
        return self._render("task-started", {})

    def send(self, event: SessionEvent) -> tuple[str | bytes, ...]:
        """The frames for an event of the session.

        Raises:
            SpeechError: TEXT_MISSING, the task ends without anything spoken.
        """
        if not self._streamed:
            return self._send_plain(event)
        match event:
            case SentenceStarted(index, text):
                self._sentence, self._sentence_text = index, text
                return (self._result("sentence-begin", original_text=text),)
            case AudioProduced(data):
                # Each is followed by exactly one binary frame.
                return (self._result("sentence-synthesis"), data)
            case SentenceFinished(_, subtitle):
                return (self._sentence_end(subtitle),)
            case SessionFinished():
                output: dict[str, Any] = {"sentence": {"words": []}}
                return (self._finished(event, output),)
            case _:
                return ()

    def _send_plain(self, event: SessionEvent) -> tuple[str | bytes, ...]:
        """For `dashscope.audio.tts`: to it, each result is the times of a sentence."""
        match event:
            case AudioProduced(data):
                return (data,)
            case SentenceFinished(_, SentenceSubtitle() as subtitle):
                sentence = {
                    "begin_time": milliseconds(subtitle.begin_s),
                    "end_time": milliseconds(subtitle.end_s),
                    "words": words_of(subtitle),
                }
                return (self._render("result-generated", {"output": {"sentence": sentence}}),)
            case SessionFinished():
                return (self._finished(event, None),)
            case _:
                return ()

    def fail(self, error: SpeechError) -> str:
        """Tell the client of an error; the task is over, and the endpoint closes."""
        self.state = State.FAILED
        header = {
            "error_code": dashscope.error_code(error),
            "error_message": dashscope.error_message(error),
        }
        return self._render("task-failed", {}, header)

    def _sentence_end(self, subtitle: SentenceSubtitle | None) -> str:
        words = [] if subtitle is None else words_of(subtitle)
        text = self._sentence_text if subtitle is None else subtitle.text
        return self._result(
            "sentence-end", words, {"characters": self._characters}, original_text=text
        )

    def _result(
        self,
        kind: str,
        words: list[dict[str, Any]] | None = None,
        usage: dict[str, Any] | None = None,
        **output: str,
    ) -> str:
        sentence = {"index": max(0, self._sentence - 1), "words": words or []}
        payload: dict[str, Any] = {"output": {"type": kind, "sentence": sentence, **output}}
        if usage is not None:
            payload["usage"] = usage
        return self._render("result-generated", payload)

    def _finished(self, event: SessionFinished, output: dict[str, Any] | None) -> str:
        if not event.summary.audio_bytes and not self._cancelled:
            raise dashscope.nothing_to_say()
        self.state = State.IDLE
        self._completed_id = self.task_id
        payload = {"output": output, "usage": {"characters": self._characters}}
        return self._render(
            "task-finished", payload, {"attributes": {"request_uuid": str(uuid.uuid4())}}
        )

    def _render(
        self, event: str, payload: dict[str, Any], more: dict[str, Any] | None = None
    ) -> str:
        header = {"task_id": self.task_id, "event": event, "attributes": {}, **(more or {})}
        return msgspec.json.encode({"header": header, "payload": payload}).decode()
