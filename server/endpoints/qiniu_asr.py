"""Qiniu's recognition of recordings: `POST /voice/asr`; live audio is `qiniu_asr_live`'s."""

from __future__ import annotations

import asyncio

import soxr
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from models.base import Samples
from models.recognition import RecognitionRequest
from server import limits
from server.endpoints.presence import unless_gone
from server.endpoints.qiniu_asr_live import PROTOCOL, stream_recognition
from server.endpoints.qiniu_refusal import refusal
from server.endpoints.request_body import read_body
from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.fetching import RECORDING_TYPES, Limits
from server.protocols import qiniu, qiniu_asr
from server.speech import recording
from server.speech.pcm_input import PcmInput
from server.speech.recognition import Recognition

__all__ = ["recognize", "stream_recognition"]

_CLIENT_CLOSED_REQUEST = 499
_FETCH_LIMITS = Limits(
    max_bytes=limits.MAX_RECORDING_BYTES,
    timeout_s=limits.FETCH_TIMEOUT_S,
    content_types=RECORDING_TYPES,
)
_log = structlog.get_logger(__name__)


async def recognize(request: Request) -> Response:
    """`POST /voice/asr`: one recording in, its text out."""
    reqid = qiniu.new_reqid()
    try:
        return await _recognize(request, reqid)
    except SpeechError as error:
        return refusal(error, reqid)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    except Exception:  # noqa: BLE001 - a defect is told in the protocol's form, too
        _log.exception("task broke", task_id=reqid)
        return refusal(SpeechError(ErrorCode.INTERNAL, "Internal error!"), reqid)


async def _recognize(request: Request, reqid: str) -> Response:
    services: Services = request.app.state.services
    tenant = services.authenticator.identify(request.headers, request.query_params)
    body = await read_body(
        request, max_bytes=qiniu_asr.MAX_INLINE_BYTES, timeout_s=limits.UPLOAD_TIMEOUT_S
    )
    wanted = qiniu_asr.read_request(body)
    # Admitted before anything is fetched: who may run two tasks may not have a hundred fetched.
    recognition = services.recognition.open(
        wanted.model,
        RecognitionRequest(language=wanted.language),
        tenant=tenant,
        protocol=PROTOCOL,
        task_id=reqid,
    )
    try:
        return await unless_gone(request, _answer(services, recognition, wanted, reqid))
    except SpeechError as error:
        recognition.fail(error)
        raise
    finally:
        recognition.close()


async def _answer(
    services: Services, recognition: Recognition, wanted: qiniu_asr.AsrRequest, reqid: str
) -> Response:
    data = wanted.data or await services.fetcher.get(wanted.url, _FETCH_LIMITS)
    samples = await asyncio.to_thread(_samples, data, wanted, recognition.sample_rate_hz)
    text = await recognition.transcribe(samples)
    audio_s = samples.size / recognition.sample_rate_hz
    result = qiniu_asr.render_result(text, audio_s=audio_s, reqid=reqid)
    return JSONResponse(result, headers={qiniu.REQID_HEADER: reqid})


def _samples(data: bytes, wanted: qiniu_asr.AsrRequest, rate_hz: int) -> Samples:
    """The audio at the recogniser's rate.

    Raises:
        SpeechError: PARAMETER_INVALID, it cannot be read, or is too long.
    """
    if wanted.container is not qiniu_asr.AudioContainer.RAW:
        decoded = recording.decode(data, max_s=limits.MAX_HEARD_S)
        if decoded.sample_rate_hz == rate_hz:
            return decoded.samples
        resampled: Samples = soxr.resample(decoded.samples, decoded.sample_rate_hz, rate_hz)
        return resampled
    if len(data) > limits.MAX_HEARD_S * wanted.sample_rate_hz * wanted.channels * 2:
        message = f"The recording is longer than {limits.MAX_HEARD_S:g} s!"
        raise SpeechError(ErrorCode.PARAMETER_INVALID, message)
    pcm = PcmInput(
        sample_rate_hz=wanted.sample_rate_hz, channels=wanted.channels, target_rate_hz=rate_hz
    )
    return pcm.convert(data, last=True)
