"""`GET` and `POST /stream/v1/tts`: Aliyun's HTTP synthesis, streamed."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server.endpoints.header_spelling import spell_content_type
from server.endpoints.refusal_headers import refusal_headers
from server.endpoints.request_body import read_body
from server.endpoints.services import Services
from server.endpoints.speech_response import HttpSpeech, SpeechResponse
from server.errors import ErrorCode, SpeechError
from server.protocols import nls, nls_rest

PROTOCOL = "nls-rest"
_CLIENT_CLOSED_REQUEST = 499
"""nginx's status for it; nobody reads it."""
_log = structlog.get_logger(__name__)


async def synthesize(request: Request) -> Response:
    """Speak the `text` parameter; errors come as JSON before the first byte of audio."""
    if request.method == "HEAD":
        # Starlette lets it in beside GET; only speaking would tell what the head says.
        return Response(status_code=405, headers={"Allow": "GET, POST"})
    task_id = nls.new_id()
    try:
        return spell_content_type(await _speak(request, task_id))
    except SpeechError as error:
        return _failed(error, task_id)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    except Exception:  # noqa: BLE001 - a defect is told in the protocol's form, too
        _log.exception("task broke", task_id=task_id)
        return _failed(SpeechError(ErrorCode.INTERNAL, "Internal error!"), task_id)


async def _speak(request: Request, task_id: str) -> Response:
    services: Services = request.app.state.services
    parameters = await _parameters(request)
    tenant = _identify(services, request, parameters)
    wanted = nls_rest.read_request(parameters, require_appkey=services.settings.require_appkey)
    session = services.speech.open(
        wanted.options, tenant=tenant, protocol=PROTOCOL, task_id=task_id
    )
    speech = HttpSpeech(session, wanted.text)
    if not await speech.begin(request.receive):
        raise SpeechError(ErrorCode.TEXT_MISSING, "No text specified that can be spoken!")
    return SpeechResponse(
        speech,
        send_timeout_s=services.settings.send_timeout_s,
        media_type=nls_rest.CONTENT_TYPE,
        headers={"X-NLS-RequestId": task_id},
    )


def _failed(error: SpeechError, task_id: str) -> Response:
    headers = {"X-NLS-RequestId": task_id, **refusal_headers(error)}
    status, body = nls_rest.render_failure(error, task_id=task_id)
    return Response(body, status, headers, media_type="application/json")


async def _parameters(request: Request) -> dict[str, Any]:
    """The parameters of a GET, of a JSON body, or of a form, which some clients post."""
    if request.method == "GET":
        return nls_rest.parse_text_fields(dict(request.query_params))
    body = await read_body(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/x-www-form-urlencoded":
        return nls_rest.parse_text_fields(dict(parse_qsl(body.decode("utf-8", "replace"))))
    return nls_rest.parse_json(body)


def _identify(services: Services, request: Request, parameters: dict[str, Any]) -> str:
    token = parameters.get("token")
    others = [token] if isinstance(token, str) else []
    return services.authenticator.identify(request.headers, request.query_params, *others)
