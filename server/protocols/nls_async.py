"""Aliyun NLS over HTTP, `/rest/v1/tts/async`: a long text in, later a file's address.

Source: Aliyun's "restful-api" page of long text synthesis and its samples, which index the keys of
a reply without asking whether they are there, and wait until `audio_address` is not null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from server.errors import ErrorCode, SpeechError
from server.protocols import nls, nls_rest
from server.protocols.fields import Fields
from server.protocols.nls_async_messages import (
    AsyncParameters,
    TextFailure,
    TextNotice,
    TextProgress,
    TextProgressReply,
    TextSentence,
    TextTaken,
    TextTakenReply,
)
from server.protocols.nls_options import read_options, read_text
from server.speech.jobs.types import Job, JobState
from server.speech.types import AudioFormat, SpeechOptions

PATH = "/rest/v1/tts/async"
FILES_PATH = PATH + "/files/"
CONTENT_TYPES = {
    AudioFormat.PCM: "audio/pcm",
    AudioFormat.WAV: "audio/wav",
    AudioFormat.MP3: "audio/mpeg",
    AudioFormat.OPUS: "audio/ogg",
    AudioFormat.AAC: "audio/aac",
    AudioFormat.FLAC: "audio/flac",
}
SUCCESS = nls.SUCCESS
_OK = 200
_BAD_REQUEST = 400
_STATE_TEXTS = {
    JobState.QUEUED: "QUEUEING",
    JobState.RUNNING: "RUNNING",
    JobState.DONE: "SUCCESS",
}


_FIELDS = Fields(AsyncParameters)


@dataclass(frozen=True, slots=True)
class TextRequest:
    """A checked request."""

    options: SpeechOptions
    text: str
    notify_url: str
    """Empty: nobody is to be told."""


def offered_token(message: dict[str, Any]) -> list[str]:
    """The token in a body, if there is any."""
    header = message.get("header")
    token = header.get("token") if isinstance(header, dict) else None
    return [token] if isinstance(token, str) else []


def read_request(message: dict[str, Any], *, require_appkey: bool) -> TextRequest:
    """Check a body.

    Raises:
        SpeechError: something is missing, has the wrong type or is out of range.
    """
    check_appkey(_part(message, "header"), require_appkey=require_appkey)
    payload = _part(message, "payload")
    parameters = _part(payload, "tts_request")
    text = read_text(parameters)
    options = read_options(parameters, _FIELDS)
    notify = nls.boolean(payload, "enable_notify", default=False)
    # The samples bring an address of nobody, and say that it is not to be used.
    notify_url = nls.string(payload, "notify_url", "") if notify else ""
    if notify and not notify_url:
        raise SpeechError(ErrorCode.PARAMETER_INVALID, "Invalid notify_url '': it is empty!")
    return TextRequest(options, text, notify_url)


def read_question(query: dict[str, str], *, require_appkey: bool) -> str:
    """Check a query.

    Returns:
        Which task it is about.

    Raises:
        SpeechError: APPKEY_MISSING or PARAMETER_INVALID.
    """
    check_appkey(query, require_appkey=require_appkey)
    task_id = query.get("task_id", "")
    if not task_id:
        raise SpeechError(ErrorCode.PARAMETER_INVALID, "Invalid task_id '': it is empty!")
    return task_id


def check_appkey(parameters: dict[str, Any], *, require_appkey: bool) -> None:
    """Refuse a request without an appkey where one is needed.

    Raises:
        SpeechError: APPKEY_MISSING.
    """
    if require_appkey and not nls.string(parameters, "appkey", ""):
        raise SpeechError(ErrorCode.APPKEY_MISSING, "appkey not set")


def render_taken(task_id: str, request_id: str) -> bytes:
    """The reply to a text that was taken on."""
    return msgspec.json.encode(
        TextTakenReply(
            status=_OK,
            error_code=SUCCESS,
            error_message="SUCCESS",
            request_id=request_id,
            data=TextTaken(task_id=task_id),
        )
    )


def render_job(job: Job, *, base_url: str) -> tuple[int, bytes]:
    """HTTP status and body of the reply to a question.

    A task that failed is told as an error: a client that waits for `audio_address` would wait for
    ever, if it did not stop at that.
    """
    if job.state is JobState.FAILED:
        code, text = _failed(job)
        failure = TextFailure(
            error_message=text,
            error_code=code,
            request_id=job.order.request_id,
            url=PATH,
            status=_BAD_REQUEST,
            data=_progress(job, base_url),
        )
        return _BAD_REQUEST, msgspec.json.encode(failure)
    reply = TextProgressReply(
        status=_OK,
        error_code=SUCCESS,
        error_message=_STATE_TEXTS[job.state],
        request_id=job.order.request_id,
        data=_progress(job, base_url),
    )
    return _OK, msgspec.json.encode(reply)


def render_notice(job: Job) -> bytes:
    """What `notify_url` is told."""
    code, text = _failed(job) if job.state is JobState.FAILED else (SUCCESS, "SUCCESS")
    progress = _progress(job, job.order.base_url)
    notice = TextNotice(
        data=progress,
        request_id=job.order.request_id,
        status=code,
        error_code=code,
        error_message=text,
    )
    return msgspec.json.encode(notice)


def _progress(job: Job, base_url: str) -> TextProgress:
    if job.state is not JobState.DONE:
        return TextProgress(task_id=job.id, audio_address=None, notify_custom=None)
    return TextProgress(
        task_id=job.id,
        audio_address=f"{base_url}{FILES_PATH}{job.file_name}",
        notify_custom="",
        sentences=[
            TextSentence(text=one.text, begin_time=str(one.begin_ms), end_time=str(one.end_ms))
            for one in job.sentences
        ],
    )


def _failed(job: Job) -> tuple[int, str]:
    code = job.error_code or ErrorCode.INTERNAL
    return told(SpeechError(code, job.error_message))


def told(error: SpeechError) -> tuple[int, str]:
    """The vendor's code and text of an error."""
    code, prefix = nls.STATUS_BY_CODE[error.code]
    if error.code is ErrorCode.MESSAGE_INVALID:
        code, prefix = 40_000_000, "Gateway:CLIENT_ERROR:"
    elif error.code is ErrorCode.TOKEN_INVALID:
        prefix = "Meta:ACCESS_DENIED:"
    return code, prefix + error.message


def http_status(code: ErrorCode) -> int:
    """The HTTP status that goes with an error; here a wrong token gets 400, too."""
    return _BAD_REQUEST if code is ErrorCode.TOKEN_INVALID else nls_rest.http_status(code)


def render_failure(error: SpeechError, *, request_id: str) -> tuple[int, bytes]:
    """HTTP status and body of an error."""
    code, text = told(error)
    status = http_status(error.code)
    failure = TextFailure(
        error_message=text, error_code=code, request_id=request_id, url=PATH, status=status
    )
    return status, msgspec.json.encode(failure)


def _part(message: dict[str, Any], name: str) -> dict[str, Any]:
    """An object within an object; absent and null are as good as empty.

    Raises:
        SpeechError: PARAMETER_INVALID.
    """
    part = message.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID, f"Invalid {name} '{nls.echo(part)}': not a JSON object!"
        )
    return part
