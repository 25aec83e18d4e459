"""Aliyun NLS, namespace `FlowingSpeechSynthesizer`: text streams in, audio streams out.

The state machine of one WebSocket connection, without I/O. `receive` turns a client's frame into
what is to be done, `send` turns what a speech session tells into the frame that goes out.

    idle --StartSynthesis--> running --StopSynthesis--> stopping --SynthesisCompleted--> idle
      any --error--> failed (TaskFailed was sent, the endpoint closes)

Many tasks may follow one another on a connection, each with a task_id of its own (Java's and the
C++ SDK's long connections, xiaozhi). Sources: Aliyun's "streaming-text-tts-wss" page and the SDKs
that `docs/protocols/aliyun.md` names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from server import limits
from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.fields import Fields
from server.protocols.nls_parameters import SpeechParameters
from server.speech.types import (
    AudioFormat,
    AudioProduced,
    Prosody,
    SentenceFinished,
    SentenceStarted,
    SentenceSubtitle,
    SessionEvent,
    SessionFinished,
    SpeechOptions,
    SubtitleProduced,
)

NAMESPACE = "FlowingSpeechSynthesizer"
_FIELDS = Fields(SpeechParameters)
_HAN = re.compile("[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_RATE_STEPS = 500


class State(StrEnum):
    """Where the connection stands."""

    IDLE = "idle"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StartTask:
    """Open a speech session, then send `Connection.started()`."""

    options: SpeechOptions


@dataclass(frozen=True, slots=True)
class FeedText:
    """Give this text to the session."""

    text: str


@dataclass(frozen=True, slots=True)
class FlushText:
    """Speak what is buffered; the task goes on."""


@dataclass(frozen=True, slots=True)
class FinishTask:
    """No more text comes."""


@dataclass(frozen=True, slots=True)
class CancelTask:
    """Barge-in: stop at once, what has not left is thrown away."""


Command = StartTask | FeedText | FlushText | FinishTask | CancelTask


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
        self._completed_id = ""
        self._session_id = ""
        self._piece_limit = limits.MAX_PIECE_CHARACTERS
        self._characters = 0

    # --- From the client -------------------------------------------------------------------

    def receive(self, frame: str | bytes) -> Command | None:
        """Take a WebSocket message; None if nothing is to be done.

        Raises:
            SpeechError: the client made a mistake; `fail` tells it.
        """
        if self.state is State.IDLE:
            # An error below belongs to the task that this message is about.
            self.task_id = nls.peek_task_id(frame)
        message = nls.parse(frame)
        if message.namespace != NAMESPACE:
            raise SpeechError(
                ErrorCode.NAMESPACE_UNKNOWN, f"Unknown namespace '{nls.echo(message.namespace)}'!"
            )
        self.last_directive = message.name
        match message.name:
            case "StartSynthesis":
                return self._start(message)
            case "RunSynthesis":
                self._expect_running(message)
                return self._run(message.payload)
            case "FlushText":
                self._expect_running(message)
                return FlushText()
            case "StopSynthesis":
                return self._stop(message)
            case _:
                raise SpeechError(
                    ErrorCode.MESSAGE_UNKNOWN, f"Unsupported directive '{nls.echo(message.name)}'!"
                )

    def _start(self, message: nls.ClientMessage) -> StartTask:
        if self.state is not State.IDLE:
            raise SpeechError(
                ErrorCode.STATE_CONFLICT, f"Got start directive while task is {self.state}!"
            )
        if self._require_appkey and not message.appkey:
            raise SpeechError(ErrorCode.APPKEY_MISSING, "appkey not set")
        options = read_options(message.payload)
        self.state = State.RUNNING
        self._session_id = nls.new_id()
        self._characters = 0
        return StartTask(options)

    def _run(self, payload: dict[str, Any]) -> FeedText | None:
        text = payload.get("text")
        if not isinstance(text, str):
            raise SpeechError(ErrorCode.TEXT_MISSING, "No text specified!")
        characters = count_characters(text)
        if characters > self._piece_limit:
            raise SpeechError(
                ErrorCode.TEXT_TOO_LONG,
                f"Text of {characters} characters is over the {self._piece_limit} of one message!",
            )
        self._characters += characters
        if self._characters > limits.MAX_TASK_CHARACTERS:
            raise SpeechError(
                ErrorCode.TEXT_TOO_LONG,
                f"Text is over the {limits.MAX_TASK_CHARACTERS} characters of one task!",
            )
        if not text:
            return None
        return FeedText(text)

    def _stop(self, message: nls.ClientMessage) -> FinishTask | CancelTask | None:
        cancel = nls.boolean(message.payload, "cancel", default=False)
        if cancel and self.state is State.IDLE and message.task_id == self._completed_id:
            # It crossed with SynthesisCompleted on the wire, which the client could not know.
            return None
        if cancel and self.state is State.STOPPING and message.task_id == self.task_id:
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
        if message.task_id != self.task_id:
            raise SpeechError(
                ErrorCode.TASK_MISMATCH, f"Task ID not match: '{nls.echo(message.task_id)}'!"
            )

    # --- To the client ---------------------------------------------------------------------

    def started(self) -> str:
        """The answer to StartSynthesis; SDKs wait 10 s for it."""
        return self._render("SynthesisStarted", {"session_id": self._session_id, "index": 0})

    def send(self, event: SessionEvent) -> str | bytes:
        """The frame for an event of the session."""
        match event:
            case AudioProduced(data):
                return data
            case SentenceStarted(index):
                payload = {"session_id": self._session_id, "index": index}
                return self._render("SentenceBegin", payload)
            case SubtitleProduced(index, subtitle):
                return self._render("SentenceSynthesis", _subtitles(index, subtitle))
            case SentenceFinished(index, subtitle):
                return self._render("SentenceEnd", _subtitles(index, subtitle))
            case SessionFinished(summary):
                self.state = State.IDLE
                self._completed_id = self.task_id
                self.tasks_completed += 1
                payload = {
                    "session_id": self._session_id,
                    "index": summary.sentences,
                    "measureType": "TextLengthHD",
                    "measureLength": self._characters,
                }
                return self._render("SynthesisCompleted", payload)

    def fail(self, error: SpeechError) -> str:
        """Tell the client of an error; the task is over, and the endpoint closes."""
        self.state = State.FAILED
        return nls.render_failure(error, task_id=self.task_id)

    def _render(self, name: str, payload: dict[str, Any]) -> str:
        return nls.render(name, task_id=self.task_id, namespace=NAMESPACE, payload=payload)


def read_options(payload: dict[str, Any]) -> SpeechOptions:
    """The parameters of StartSynthesis; all are optional, unknown ones are ignored.

    Raises:
        SpeechError: a value has the wrong type or is out of range.
    """
    # The Python SDK spells it "volumn".
    volume = _FIELDS.integer(payload, "volume" if payload.get("volume") is not None else "volumn")
    speech_rate = _FIELDS.integer(payload, "speech_rate")
    pitch_rate = _FIELDS.integer(payload, "pitch_rate")
    seed = _FIELDS.integer(payload, "seed")
    return SpeechOptions(
        voice=_FIELDS.string(payload, "voice"),
        audio_format=_audio_format(payload),
        sample_rate_hz=_sample_rate_hz(payload),
        prosody=Prosody(
            speed=rate_factor(speech_rate or 0),
            pitch=rate_factor(pitch_rate or 0),
            gain=(50 if volume is None else volume) / 50,
        ),
        subtitles=_FIELDS.boolean(payload, "enable_subtitle"),
        ssml=_FIELDS.boolean(payload, "enable_ssml"),
        clean_markup=_FIELDS.boolean(payload, "enable_markdown_filter"),
        expand_text=_FIELDS.boolean(payload, "enable_text_normalization"),
        instruction=_FIELDS.string(payload, "instruction"),
        seed=seed,
    )


def rate_factor(rate: int) -> float:
    """NLS' -500..0..500 as a factor 0.5..1..2, equal steps sounding equal: 2^(rate/500)."""
    return 1.0 if rate == 0 else float(2.0 ** (rate / _RATE_STEPS))


def count_characters(text: str) -> int:
    """Length as NLS bills and limits it: a Han character is 2, everything else 1."""
    if text.isascii():
        return len(text)
    return len(text) + len(_HAN.findall(text))


def _audio_format(payload: dict[str, Any]) -> AudioFormat:
    value = payload.get("format")
    if value is None or value == "":
        return AudioFormat(_FIELDS.default("format"))
    if isinstance(value, str) and value.lower() in set(AudioFormat):
        return AudioFormat(value.lower())
    raise SpeechError(ErrorCode.FORMAT_UNSUPPORTED, f"Invalid format '{nls.echo(value)}'!")


def _sample_rate_hz(payload: dict[str, Any]) -> int:
    value = payload.get("sample_rate")
    if value is None:
        return int(_FIELDS.default("sample_rate"))
    if isinstance(value, bool) or value not in limits.SAMPLE_RATES_HZ:
        allowed = ", ".join(str(rate) for rate in limits.SAMPLE_RATES_HZ)
        raise SpeechError(
            ErrorCode.SAMPLE_RATE_UNSUPPORTED,
            f"Unsupported sample_rate '{nls.echo(value)}', use one of {allowed}!",
        )
    return int(value)


def _subtitles(index: int, subtitle: SentenceSubtitle | None) -> dict[str, Any]:
    """Timestamps in the gateway's form: the sentence first, then its words, times in ms."""
    if subtitle is None:
        return {"index": index, "subtitles": []}
    sentence = _subtitle(subtitle, sentence=True)
    if subtitle.words:
        # As in Aliyun's messages: clients join the texts of all items to a transcript.
        sentence["text"] = ""
    words = [_subtitle(word, sentence=False) for word in subtitle.words]
    return {"index": index, "subtitles": [sentence, *words]}


def _subtitle(item: Any, *, sentence: bool) -> dict[str, Any]:  # noqa: ANN401 - both subtitle types
    fields: dict[str, Any] = {
        "text": item.text,
        "begin_time": round(item.begin_s * 1000),
        "end_time": round(item.end_s * 1000),
        "begin_index": item.text_begin,
        "end_index": item.text_end,
        "sentence": sentence,
        "phoneme_list": [],
    }
    if not sentence and item.estimated:
        fields["estimated"] = True
    return fields
