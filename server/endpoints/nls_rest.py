"""`GET` and `POST /stream/v1/tts`: Aliyun's HTTP synthesis, streamed."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server import limits
from server.endpoints.services import Services
from server.endpoints.speech_response import HttpSpeech, SpeechResponse
from server.errors import ErrorCode, SpeechError
from server.protocols import nls, nls_rest

PROTOCOL = "nls-rest"


async def synthesize(request: Request) -> Response:
    """Speak the `text` parameter; errors come as JSON before the first byte of audio."""
    services: Services = request.app.state.services
    task_id = nls.new_id()
    headers = {"X-NLS-RequestId": task_id}
    try:
        parameters = await _parameters(request)
        tenant = _identify(services, request, parameters)
        wanted = nls_rest.read_request(parameters, require_appkey=services.settings.require_appkey)
        session = services.speech.open(
            wanted.options, tenant=tenant, protocol=PROTOCOL, task_id=task_id
        )
        speech = HttpSpeech(session, wanted.text)
        if not await speech.begin():
            raise SpeechError(ErrorCode.TEXT_MISSING, "No text specified that can be spoken!")
    except SpeechError as error:
        status, body = nls_rest.render_failure(error, task_id=task_id)
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
        return Response(body, status, headers, media_type="application/json")
    return SpeechResponse(
        speech,
        send_timeout_s=services.settings.send_timeout_s,
        media_type=nls_rest.CONTENT_TYPE,
        headers=headers,
    )


async def _parameters(request: Request) -> dict[str, Any]:
    """The parameters of a GET, of a JSON body, or of a form, which some clients post."""
    if request.method == "GET":
        return nls_rest.parse_text_fields(dict(request.query_params))
    body = await _body(request)
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return nls_rest.parse_text_fields(dict(parse_qsl(body.decode("utf-8", "replace"))))
    return nls_rest.parse_json(body)


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > limits.MAX_MESSAGE_BYTES:
                raise SpeechError(ErrorCode.TEXT_TOO_LONG, "Request body is too large!")
    except ClientDisconnect:
        raise SpeechError(ErrorCode.MESSAGE_INVALID, "in post data, json format illegal") from None
    return bytes(body)


def _identify(services: Services, request: Request, parameters: dict[str, Any]) -> str:
    token = parameters.get("token")
    query = dict(request.query_params)
    if isinstance(token, str):
        query.setdefault("token", token)
    return services.authenticator.identify(request.headers, query)
