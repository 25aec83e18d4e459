"""DashScope's voice enrollment, over the cloned voices of this server."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server import limits
from server.endpoints.cross_site import check_site
from server.endpoints.dashscope_refusal import refusal
from server.endpoints.presence import unless_gone
from server.endpoints.request_body import read_body
from server.endpoints.services import Services
from server.errors import ErrorCode, SpeechError
from server.fetching import RECORDING_TYPES, FetchError, Limits
from server.protocols import dashscope_enrollment as enrollment
from server.protocols.dashscope_enrollment import (
    CreateVoice,
    DeleteVoice,
    EnrollmentRequest,
    ListVoices,
    QueryVoice,
    Source,
    UpdateVoice,
    VoiceName,
)
from server.speech.clone_request import CloneRequest, RecordingRefusedError
from server.speech.cloned_voice import ClonedVoice
from server.speech.recording import UnreadableError

_CLIENT_CLOSED_REQUEST = 499
_FETCH_LIMITS = Limits(
    max_bytes=enrollment.MAX_RECORDING_BYTES,
    timeout_s=limits.FETCH_TIMEOUT_S,
    content_types=RECORDING_TYPES,
)
_log = structlog.get_logger(__name__)


async def customize(request: Request) -> Response:
    """`POST .../customization`: `input.action` says what is to be done with which voice."""
    request_id = str(uuid.uuid4())
    try:
        return await _customize(request, request_id)
    except SpeechError as error:
        return refusal(error, request_id)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    except Exception:  # noqa: BLE001 - a defect is told in the protocol's form, too
        _log.exception("voice request broke", task_id=request_id)
        return refusal(SpeechError(ErrorCode.INTERNAL, "Internal error!"), request_id)


async def _customize(request: Request, request_id: str) -> Response:
    services: Services = request.app.state.services
    tenant = services.authenticator.identify(request.headers, request.query_params)
    check_site(request, services)
    wanted = enrollment.read_request(await read_body(request))
    output = await unless_gone(request, _answer(services, tenant, wanted))
    body = enrollment.render(output, request_id=request_id)
    return Response(body, media_type="application/json")


async def _answer(services: Services, tenant: str, wanted: EnrollmentRequest) -> dict[str, Any]:
    match wanted:
        case CreateVoice(target_model, voice_id, source):
            async with _recorded(services, tenant, voice_id, target_model, source) as recorded:
                await services.cloning.add(recorded)
            return {"voice_id": voice_id}
        case UpdateVoice(voice_id, source):
            voice, name = _find(services, voice_id)
            async with _recorded(services, tenant, voice_id, name.target_model, source) as recorded:
                await services.cloning.replace(voice, recorded)
            return {}
        case DeleteVoice(voice_id):
            voice, _ = _find(services, voice_id)
            await services.cloning.remove(voice.facts.id)
            return {}
        case QueryVoice(voice_id):
            voice, name = _find(services, voice_id)
            # Recordings are for nobody but the server.
            return _state(services, voice) | {
                "resource_link": "",
                "target_model": name.target_model,
            }
        case ListVoices():
            return {"voice_list": _page(services, wanted)}


@contextlib.asynccontextmanager
async def _recorded(
    services: Services, tenant: str, voice_id: str, target_model: str, source: Source
) -> AsyncIterator[CloneRequest]:
    """What is asked for, with its recording; what goes wrong is told in the vendor's words."""
    if services.draining:
        raise SpeechError(ErrorCode.SHUTTING_DOWN, "Server is shutting down, connect again!")
    wanted = CloneRequest(
        name=voice_id,
        transcript=source.text,
        audio=b"",
        # The vendor's models stand for no particular one of ours.
        model=target_model if target_model in services.pool.models else "",
        language=source.language,
        tenant=tenant,
        mark=voice_id,
        longest_s=source.longest_s,
    )
    if not source.text.strip() and not services.recognition.dictates:
        raise enrollment.no_text()
    services.cloning.check(wanted)
    with services.cloning.place():
        try:
            audio = await services.fetcher.get(source.url, _FETCH_LIMITS)
            yield replace(wanted, audio=audio)
        except FetchError as error:
            raise enrollment.not_downloaded(error.reason) from error
        except UnreadableError as error:
            raise enrollment.not_decoded(error.message) from error
        except RecordingRefusedError as error:
            raise enrollment.refused(error.report.remarks[0].code, error.message) from error


def _find(services: Services, voice_id: str) -> tuple[ClonedVoice, VoiceName]:
    """A voice that was made here, and what its name says.

    Raises:
        SpeechError: there is none.
    """
    name = enrollment.parse_voice_id(voice_id)
    voice = services.speech.voice_store.find(voice_id)
    if name is None or voice is None or voice.facts.name != voice_id:
        raise enrollment.unknown_voice(voice_id)
    return voice, name


def _page(services: Services, wanted: ListVoices) -> list[dict[str, str]]:
    found = [
        voice
        for voice in services.speech.voice_store.voices
        if (name := enrollment.parse_voice_id(voice.facts.name)) is not None
        and wanted.prefix in {"", name.prefix}
    ]
    page = found[wanted.first : wanted.first + wanted.count]
    return [{"voice_id": voice.facts.name} | _state(services, voice) for voice in page]


def _state(services: Services, voice: ClonedVoice) -> dict[str, str]:
    speaks = voice not in services.speech.catalog.silent
    return enrollment.state(voice.facts.created_at, voice.facts.changed_at, speaks=speaks)
