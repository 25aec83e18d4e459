"""DashScope's WebSocket: what a client's messages say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from server.errors import ErrorCode, SpeechError
from server.protocols import dashscope, nls
from server.protocols.dashscope import invalid, missing
from server.speech.types import AudioFormat, SentenceSubtitle, SpeechOptions, WordSubtitle

_MAX_ID_CHARACTERS = 128
_SAMBERT = re.compile(r"^sambert-(.+)-v\d+$")
_SERVICE = {"task_group": "audio", "task": "tts", "function": "SpeechSynthesizer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTask:
    """End the task that runs, then `Connection.begin`, open a session, send `started()`."""

    task_id: str
    model: str
    options: SpeechOptions
    text: str
    """What is to be spoken first; all of it, if the task is not `streamed`."""
    streamed: bool
    """More text comes until finish-task."""


def parse(frame: str | bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and payload of a frame.

    Raises:
        SpeechError: MESSAGE_INVALID, with what is wrong.
    """
    if isinstance(frame, bytes):
        raise _malformed("Binary messages are not part of this protocol!")
    try:
        message = nls.parse_json(frame)
    except ValueError:
        raise _malformed("Message is not JSON!") from None
    if not isinstance(message, dict):
        raise _malformed("Message is not a JSON object!")
    header, payload = message.get("header"), message.get("payload")
    if not isinstance(header, dict):
        raise _malformed("Missing required parameter 'header'! Please follow the protocol!")
    if payload is not None and not isinstance(payload, dict):
        raise _malformed("Invalid payload: not a JSON object!")
    return header, payload or {}


def _malformed(message: str) -> SpeechError:
    return SpeechError(ErrorCode.MESSAGE_INVALID, message)


def read_task_id(header: dict[str, Any]) -> str:
    """The id of the task that a message is for.

    Raises:
        SpeechError: there is none, or it cannot be one.
    """
    value = header.get("task_id")
    if value is None or value == "":
        raise missing("header.task_id")
    if not isinstance(value, str) or len(value) > _MAX_ID_CHARACTERS or not value.isprintable():
        raise _malformed(f"Invalid task_id '{nls.echo(value)}'!")
    return value


def read_input(payload: dict[str, Any]) -> dict[str, Any]:
    """The input of continue-task and finish-task, which must have one.

    Raises:
        SpeechError: it is missing, or no object.
    """
    if payload.get("input") is None:
        raise missing("payload.input")
    return _object(payload, "input")


def _object(payload: dict[str, Any], name: str) -> dict[str, Any]:
    value = payload.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"Invalid {name}: not a JSON object!")
    return value


def read_run_task(task_id: str, header: dict[str, Any], payload: dict[str, Any]) -> StartTask:
    """What a run-task asks for.

    Raises:
        SpeechError: something is missing, has the wrong type or is out of range.
    """
    model = nls.string(payload, "model", "")
    if not model:
        raise missing("payload.model")
    for name, known in _SERVICE.items():
        if (value := nls.string(payload, name, known)) != known:
            raise SpeechError(
                ErrorCode.NAMESPACE_UNKNOWN, f"Unknown {name} '{nls.echo(value)}', use {known}!"
            )
    streaming = nls.string(header, "streaming", "duplex")
    if streaming not in {"duplex", "in", "out", "none"}:
        raise invalid(f"Invalid streaming '{nls.echo(streaming)}'!")
    streamed = streaming in {"duplex", "in"}
    parameters = _object(payload, "parameters")
    options = _duplex_options(parameters) if streamed else _plain_options(parameters, model)
    text = _object(payload, "input").get("text")
    if text is not None and not isinstance(text, str):
        raise invalid("Invalid payload.input.text: not a string!")
    if not streamed and not text:
        raise dashscope.nothing_to_say()
    return StartTask(
        task_id=task_id, model=model, options=options, text=text or "", streamed=streamed
    )


def _duplex_options(parameters: dict[str, Any]) -> SpeechOptions:
    return dashscope.read_options(parameters, voice="")


def _plain_options(parameters: dict[str, Any], model: str) -> SpeechOptions:
    """The older module names no voice: its models are voices, `sambert-zhichu-v1`."""
    sambert = _SAMBERT.match(model)
    return dashscope.read_options(
        parameters,
        voice=sambert.group(1) if sambert else model,
        audio_format=AudioFormat.WAV,
        sample_rate_hz=None,
    )


def words_of(subtitle: SentenceSubtitle) -> list[dict[str, Any]]:
    """A sentence's words: places are in the sentence's text, times in the task's audio."""
    return [_word(word, subtitle.text_begin) for word in subtitle.words]


def _word(word: WordSubtitle, sentence_begin: int) -> dict[str, Any]:
    return {
        "text": word.text,
        "begin_index": word.text_begin - sentence_begin,
        "end_index": word.text_end - sentence_begin,
        "begin_time": milliseconds(word.begin_s),
        "end_time": milliseconds(word.end_s),
    }


def milliseconds(seconds: float) -> int:
    """A time as it is written in messages."""
    return round(seconds * 1000)
