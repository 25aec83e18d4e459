"""`/rest/v1/tts/async`: Aliyun's long texts, spoken into files while nobody listens."""

from __future__ import annotations

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response

from server.endpoints.refusal_headers import refusal_headers
from server.endpoints.request_body import read_body
from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.fetching import FetchError
from server.protocols import nls, nls_async, nls_rest
from server.protocols.nls_async import CONTENT_TYPES, FILES_PATH, PATH
from server.speech.jobs.store import JobStoreError
from server.speech.jobs.types import JobRequest
from server.speech.types import AudioFormat

__all__ = ["CONTENT_TYPES", "FILES_PATH", "PATH", "PROTOCOL", "long_text", "long_text_file"]

PROTOCOL = "nls-async"
_METHODS = {"GET", "POST", "DELETE"}
_CLIENT_CLOSED_REQUEST = 499
_log = structlog.get_logger(__name__)


async def long_text(request: Request) -> Response:
    """`POST` takes a text on, `GET` tells how far it is, `DELETE` (ours) stops and forgets it."""
    if request.method not in _METHODS:
        # Starlette lets HEAD in beside GET.
        return Response(status_code=405, headers={"Allow": ", ".join(sorted(_METHODS))})
    request_id = nls.new_id()
    try:
        return await _answer(request, request_id)
    except SpeechError as error:
        return _failed(error, request_id)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    except JobStoreError as error:
        _log.error("store of jobs cannot be used", reason=str(error))
        message = "The task cannot be stored, or found; the server's log says why!"
        return _failed(SpeechError(ErrorCode.INTERNAL, message), request_id)
    except Exception:  # noqa: BLE001 - a defect is told in the protocol's form, too
        _log.exception("request broke", request_id=request_id)
        return _failed(SpeechError(ErrorCode.INTERNAL, "Internal error!"), request_id)


async def _answer(request: Request, request_id: str) -> Response:
    services: Services = request.app.state.services
    if request.method == "POST":
        return await _submit(request, services, request_id)
    tenant = services.authenticator.identify(request.headers, request.query_params)
    task_id = nls_async.read_question(
        dict(request.query_params), require_appkey=services.settings.require_appkey
    )
    job = await services.long_texts.find(task_id, tenant)
    if request.method == "DELETE":
        await services.long_texts.remove(job)
        return _json(200, nls_async.render_taken(task_id, request_id))
    return _json(*nls_async.render_job(job, base_url=_base_url(request)))


async def _submit(request: Request, services: Services, request_id: str) -> Response:
    message = nls_rest.parse_json(await read_body(request))
    tenant = services.authenticator.identify(
        request.headers, request.query_params, *nls_async.offered_token(message)
    )
    wanted = nls_async.read_request(message, require_appkey=services.settings.require_appkey)
    if wanted.notify_url:
        _check_address(services, wanted.notify_url)
    task_id = nls.new_id()
    job = JobRequest(
        id=task_id,
        request_id=request_id,
        tenant=tenant,
        options=wanted.options,
        base_url=_base_url(request),
        notify_url=wanted.notify_url,
    )
    await services.long_texts.submit(job, wanted.text)
    return _json(200, nls_async.render_taken(task_id, request_id))


async def long_text_file(request: Request) -> Response:
    """A result; its name is its key.

    Raises:
        HTTPException: 404, there is none, or no more.
    """
    services: Services = request.app.state.services
    path = await services.long_texts.file(request.path_params["name"])
    if path is None:
        raise HTTPException(404)
    audio_format = AudioFormat(path.suffix.removeprefix("."))
    return FileResponse(path, media_type=CONTENT_TYPES[audio_format])


def _check_address(services: Services, url: str) -> None:
    try:
        services.fetcher.check(url)
    except FetchError as error:
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID, f"Invalid notify_url '{nls.echo(url)}': it {error.reason}!"
        ) from None


def _base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _failed(error: SpeechError, request_id: str) -> Response:
    status, body = nls_async.render_failure(error, request_id=request_id)
    response = _json(status, body)
    response.headers.update(refusal_headers(error))
    return response


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")
